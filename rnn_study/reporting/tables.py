"""The tables that compare cells and count seeds, as text for people; `files` writes them.

Each is a frame of strings, with a note on what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import pandas as pd

from rnn_study import aggregate
from rnn_study.phrases import setting, words
from rnn_study.tasks import Metric

GAP: Final = "n/a"
"""Where there is no number."""

SHARE_WIDTH: Final = 0.2
"""The interval of a share solved that `seeds_needed` is asked for."""


Columns = dict[str, Callable[[Mapping[Any, Any]], str]]
"""Titles, and what a row shows there."""


class Shown(NamedTuple):
    """A table of `aggregate`, and how it reads."""

    table: pd.DataFrame
    text: pd.DataFrame
    note: str


def tables(runs: pd.DataFrame) -> dict[str, Shown]:
    """The tables of `runs` by name; that of variances only for a crossed design."""
    metric = aggregate.metric_of(runs)
    rates = "learning_rate" in aggregate.distinguishing(runs)
    found = {
        "cell_summary": cell_summary(aggregate.cell_summary(runs), metric),
        "cell_comparison": cell_comparison(aggregate.cell_comparison(runs), metric, rates),
        "seeds_needed": seeds_needed(runs, metric),
    }
    if aggregate.crossed(runs):
        found["variance_split"] = variance_split(aggregate.variance_split(runs), metric)
    return found


def attractors(table: pd.DataFrame) -> Shown:
    """What attractors did, over the seeds of each condition."""
    columns: Columns = {
        "seeds": lambda row: str(row["seeds"]),
        "one fixed point": lambda row: str(row["single"]),
        "its 95% interval": lambda row: interval(row["single_low"], row["single_high"]),
        "Neimark-Sacker": lambda row: str(row["neimark_sacker"]),
        "and its 95% interval": lambda row: interval(
            row["neimark_sacker_low"], row["neimark_sacker_high"]
        ),
        "at the end": lambda row: f"{row['final']} {row['final_count']}/{row['seeds']}",
    }
    note = (
        "One fixed point: seeds that had no other attractor, whatever the input and epoch. "
        "Neimark-Sacker: seeds in which a fixed point lost its stability to an oscillation. At the "
        "end: the most common attractor. Intervals are exact (Clopper-Pearson)."
    )
    return Shown(table, as_text(table, columns), note)


def cell_summary(table: pd.DataFrame, metric: Metric) -> Shown:
    """Cells over all lengths."""
    solved = {"solved": lambda row: f"{row['solved']}/{row['seeds']}"}
    columns: Columns = {
        "lengths": lambda row: str(row["lengths"]),
        **(solved if metric.goal is not None else {"seeds": lambda row: str(row["seeds"])}),
        "IQM": lambda row: number(row["iqm"], metric),
        "95% interval": lambda row: interval(row["iqm_low"], row["iqm_high"], metric),
    }
    note = (
        f"IQM: interquartile mean of the validation {metric.title} over the seeds of all lengths, "
        "which count alike, with a 95% interval by bootstrap, stratified by length. Missing where "
        "a cell has no finished seed at a length; the interval, where it has fewer than six."
    )
    return Shown(table, as_text(table, columns), note)


def cell_comparison(table: pd.DataFrame, metric: Metric, rates: bool) -> Shown:
    """Pairs of cells; with their learning rates where `rates`."""
    columns: Columns = {
        "better": lambda row: fraction(row["probability"]),
        "95% interval": lambda row: interval(row["low"], row["high"]),
    }
    note = (
        f"Better: probability that a seed of the first cell has a better validation {metric.title} "
        "than one of the other, ties counted half, with a 95% interval (Mann-Whitney, Newcombe)."
    )
    if metric.goal is not None:
        columns["log-rank p"] = lambda row: p_value(row["log_rank"])
        columns["adjusted p"] = lambda row: p_value(row["log_rank_holm"])
        note += (
            " Log-rank p: that both solve at the same pace, n/a where no seed solved; adjusted for "
            "the number of rows (Holm)."
        )
    text = as_text(table, columns)
    hidden = [] if rates else ["learning rate", "other learning rate"]
    return Shown(table, text.drop(columns=hidden), note)


def seeds_needed(runs: pd.DataFrame, metric: Metric) -> Shown:
    """How many seeds the intervals need."""
    wanted = f"{metric.width:.0%}" if metric.relative else f"{metric.width:g}"
    table = aggregate.seeds_needed(runs, share_width=SHARE_WIDTH)
    share: Columns = {
        "share width": lambda row: fraction(row["share_width"]),
        f"seeds for {SHARE_WIDTH:g}": lambda row: _count(row["share_seeds"]),
    }
    columns: Columns = {
        "seeds": lambda row: str(row["seeds"]),
        **(share if metric.goal is not None else {}),
        "IQM width": lambda row: number(row["iqm_width"], metric),
        f"IQM seeds for {wanted}": lambda row: _count(row["iqm_seeds"]),
    }
    note = (
        "Widths of the 95% intervals, and about how many seeds would make them as narrow as "
        f"wanted: that of the interquartile mean (IQM) of the validation {metric.title}"
        + (", in % of it" if metric.relative else "")
        + (", and that of the share solved" if metric.goal is not None else "")
        + ". N/a: these seeds do not differ, or are too few to tell; or a million would not do."
    )
    return Shown(table, as_text(table, columns), note)


def variance_split(table: pd.DataFrame, metric: Metric) -> Shown:
    """Whose the variance is, as standard deviations."""

    def deviation(part: str) -> Callable[[Mapping[Any, Any]], str]:
        return lambda row: number(math.sqrt(row[part]), metric)

    def limits(part: str) -> Callable[[Mapping[Any, Any]], str]:
        ends = (f"{part}_low", f"{part}_high")
        return lambda row: interval(math.sqrt(row[ends[0]]), math.sqrt(row[ends[1]]), metric)

    def share(part: str) -> Callable[[Mapping[Any, Any]], str]:
        return lambda row: GAP if math.isnan(row[part]) else f"{row[part]:.0%}"

    columns: Columns = {
        "data seeds": lambda row: str(row["data_seeds"]),
        "weight seeds": lambda row: str(row["weight_seeds"]),
        "left out": lambda row: str(row["left_out"]),
    }
    for part in ("data", "weights", "rest"):
        columns |= {
            part: deviation(part),
            f"{part} 95%": limits(part),
            f"{part} share": share(f"{part}_share"),
        }
    note = (
        f"Standard deviations of the validation {metric.title} that are due to the data, to the "
        "weights, and to neither alone, with 95% intervals, and shares of the variance. Left out: "
        "finished runs that are not in the full grid of seeds."
    )
    return Shown(table, as_text(table, columns), note)


def as_text(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The index, as columns, and `columns` of each row."""
    levels = table.index.to_frame(index=False).map(setting).rename(columns=words)
    rows = table.to_dict("records")
    shown = {title: [show(row) for row in rows] for title, show in columns.items()}
    return pd.concat([levels, pd.DataFrame(shown)], axis="columns")


def number(value: float, metric: Metric) -> str:
    """A value of the metric."""
    return metric.text(value) if math.isfinite(value) else GAP


def fraction(value: float) -> str:
    """A share or a probability."""
    return f"{value:.2f}" if math.isfinite(value) else GAP


def interval(low: float, high: float, metric: Metric | None = None) -> str:
    """An interval of shares, or of values of the metric."""
    if not math.isfinite(low):
        return GAP
    ends = (f"{end:.2f}" if metric is None else metric.text(end) for end in (low, high))
    return f"[{', '.join(ends)}]"


def p_value(value: float) -> str:
    """A p-value with two significant digits."""
    return f"{value:.2g}" if math.isfinite(value) else GAP


def _count(value: Any) -> str:
    return GAP if pd.isna(value) else str(value)
