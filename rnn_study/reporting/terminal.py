"""Plans and tables as text for a terminal or a job's log, 80 columns wide.

`aggregate` has the numbers and `files` the files; here they are only laid out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rnn_study.config import Pack, Study, Trial
from rnn_study.execution import Execution
from rnn_study.phrases import about, count, duration, seed_range, seeds, words
from rnn_study.reporting import layout
from rnn_study.tasks import Metric
from rnn_study.training import bytes_per_member

WIDTH = 80
"""Columns of characters."""


def plan(
    study: Study,
    execution: Execution,
    packs: Sequence[Pack],
    finished: int,
    resources: str,
    seconds: float | None,
    searches: Group | None = None,
) -> Group:
    """What would train, on what and for how long, and where its results would go.

    `searches`: what would be searched first; the packs of its first rounds are among `packs`.
    """
    members: dict[str, list[Trial]] = defaultdict(list)
    sizes: dict[str, list[int]] = defaultdict(list)
    for pack in packs:
        for trial in pack.trials:
            members[trial.condition].append(trial)
        for condition in {trial.condition for trial in pack.trials}:
            sizes[condition].append(len(pack.trials))
    table = layout.table("cell", "length", "rate", "seeds", "packs", "MB each", "work")
    cost = sum(pack.cost for pack in packs)
    for condition in dict.fromkeys(trial.condition for trial in study.trials()):
        if trials := members[condition]:
            table.add_row(
                trials[0].cell,
                str(trials[0].length),
                f"{trials[0].learning_rate:g}",
                seed_range(trials),
                f"{len(sizes[condition])} x {max(sizes[condition])}",
                _megabytes(bytes_per_member(trials[0])),
                _percent(sum(trial.cost for trial in trials) / cost),
            )
    waiting = sum(len(pack.trials) for pack in packs)
    todo = f"{waiting} to train in {count(len(packs), 'pack')}" if packs else "nothing to train"
    every = count(study.size + study.searching, "trial")
    every += f" ({study.searching} to search learning rates)" * bool(study.searching)
    todo += " first" * bool(study.searching and packs)
    head = f"{study.name}: {every}, {finished} finished, {todo}"
    facts = {
        "a trial": f"at most {study.epochs:,} epochs, hidden {study.hidden}, batch {study.batch}",
        "resources": resources,
        "time": "not known here" if seconds is None else f"about {about(seconds)} at most to train",
        "results": execution.published(study),
        "tracking": without_password(execution.resolved_tracking_uri),
    }
    body: list[Any] = [
        *([layout.indented(table)] if table.row_count else []),
        *([searches] if searches else []),
    ]
    return Group(Text(head, style="bold"), *body, layout.facts(facts))


def length_table(table: pd.DataFrame, metric: Metric) -> Group:
    """`aggregate.length_table` of a task's metric, with a block of columns a cell."""
    titles, widths = list(table.columns.unique(1)), (6, 6, 5) if metric.logarithmic else (6, 5, 6)
    head = "  ".join(f"{title:>{wide}}" for title, wide in zip(titles, widths, strict=False))
    cells = list(table.columns.get_level_values(0).unique())
    names = _titles(table.index.names)
    keys = [[*map(_plain, key if isinstance(key, tuple) else (key,))] for key in table.index]
    taken = 2 + sum(2 + max(map(len, column)) for column in zip(names, *keys, strict=True))
    fitting = max(1, (WIDTH - taken) // (2 + max(map(len, (head, *cells)))))
    blocks = []
    for start in range(0, len(cells), fitting):
        abreast = cells[start : start + fitting]
        block = layout.table(*names)
        for cell in abreast:
            block.add_column(f"{cell}\n{head}", justify="right", no_wrap=True)
        for key, row in zip(keys, table.to_dict("records"), strict=True):
            values = (
                "  ".join(
                    f"{_statistic(title, row[cell, title], metric):>{wide}}"
                    for title, wide in zip(titles, widths, strict=True)
                )
                for cell in abreast
            )
            block.add_row(*key, *values)
        blocks.append(layout.indented(block))
    title = layout.title(f"Validation {metric.title} over the seeds, by sequence length")
    note = "\n  Of every seed at its last epoch; best: of the seeds."
    return Group(title, *blocks, Text(note, style="dim"))


def seed_sensitivity(table: pd.DataFrame, metric: Metric) -> Group:
    """`aggregate.seed_sensitivity`: a section a cell and learning rate, a row a length."""
    sections: dict[str, Table] = {}
    for key, row in zip(table.index, table.to_dict("records"), strict=True):
        section, length = place_of(table.index.names, key)
        rows = sections.setdefault(section, _sensitivity_rows(metric))
        missing = ("diverged", "failed", "unfinished")
        absent = ",\n".join(f"{row[what]} {what}" for what in missing if row[what])
        values = (show({"length": length, **row}, metric) for _, show in _columns(metric).values())
        rows.add_row(*values, Text(absent, style="yellow"))
    note = "  IQM: interquartile mean."
    if metric.goal is not None:
        note = (
            "  95%: exact interval of the share solved. IQM: interquartile mean.\n"
            "  epochs: median to solve, by Kaplan and Meier; > where under half had by then."
        )
    body = [part for section, rows in sections.items() for part in (Text(f"  {section}"), rows)]
    title = layout.title(f"Sensitivity of the validation {metric.title} to the seed")
    head = _sensitivity_rows(metric, header=True)
    return Group(title, Text(), head, *body, Text(f"\n{note}", style="dim"))


def place_of(names: Iterable[Any], key: Iterable[Any]) -> tuple[str, Any]:
    """Where a row of a table belongs: its section, "lstm, rate 0.01", and its length."""
    place = dict(zip(names, key, strict=True))
    cell, length = place.pop("cell"), place.pop("length")
    settings = map("{} {}".format, _titles(place), map(_plain, place.values()))
    return ", ".join((cell, *settings)), length


def _titles(levels: Iterable[Any]) -> list[str]:
    """What tells rows apart, for people."""
    return ["rate" if name == "learning_rate" else words(name) for name in levels]


_Column = tuple[int, Callable[[Mapping[Any, Any], Metric], str]]
"""A width, and what a row of `aggregate.seed_sensitivity` shows there."""


def _columns(metric: Metric) -> dict[str, _Column]:
    """The columns of the seed sensitivity by title."""
    wide = 14 if metric.logarithmic else 9
    values: dict[str, _Column] = {
        "IQM": (6 if metric.logarithmic else 5, lambda row, m: _value(row["iqm"], m)),
        "quartiles": (wide, lambda row, m: _range(row["q1"], row["q3"], m)),
        "range": (wide, lambda row, m: _range(row["min"], row["max"], m)),
    }
    length: dict[str, _Column] = {"length": (8, lambda row, _: str(row["length"]))}
    if metric.goal is None:
        return length | {"seeds": (6, lambda row, _: str(row["seeds"]))} | values
    return (
        length
        | {
            "solved": (6, lambda row, _: f"{row['solved']}/{row['seeds']}"),
            "95%": (9, lambda row, _: _range(row["share_low"], row["share_high"])),
        }
        | values
        | {"epochs": (6, lambda row, _: _epochs(row["epochs_to_solve"], row["epochs_observed"]))}
    )


def _sensitivity_rows(metric: Metric, header: bool = False) -> Table:
    """A table for one section, of the columns that all have; the first shows their titles."""
    gap = 1 if metric.logarithmic and metric.goal is not None else 2  # all fit in 80 columns
    rows = Table(
        box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim", show_header=header
    )
    for title, (width, _) in _columns(metric).items():
        rows.add_column(title, justify="right", no_wrap=True, width=width)
    rows.add_column()
    return rows


def cell_comparison(table: pd.DataFrame, metric: Metric) -> Group:
    """`aggregate.cell_comparison`: a row a pair."""
    goal, sides = metric.goal is not None, 4  # the index ends in cell and rate, of either side
    levels = _titles(table.index.names[:-sides])
    rows = layout.table(*levels, "cell", "better", "95%", *(["p"] * goal))
    several_rates = any(key[-sides] == key[-2] for key in table.index)  # of one cell
    for key, row in zip(table.index, table.to_dict("records"), strict=True):
        first, rate, other, other_rate = key[-sides:]
        pair = f"{first} over {other}"
        if several_rates:
            pair = f"{first}, rate {rate:g}\n  over {other}, rate {other_rate:g}"
        better = "-" if math.isnan(row["probability"]) else f"{row['probability']:.2f}"
        values = [pair, better, _range(row["low"], row["high"])]
        if goal:
            p = row["log_rank_holm"]
            values.append("-" if math.isnan(p) else f"{p:.2g}")
        rows.add_row(*map(_plain, key[:-sides]), *values)
    note = "  better: the probability, ties counted half, with its 95% interval."
    if goal:
        note += "\n  p: that both solve as fast (log-rank, adjusted by Holm); -: no seed solved."
    title = layout.title("How often a seed of one cell does better than a seed of another")
    return Group(title, layout.indented(rows), Text(f"\n{note}", style="dim"))


def variance_split(table: pd.DataFrame, metric: Metric) -> Group:
    """`aggregate.variance_split`: a row a condition."""
    parts = ("data", "weights", "rest")
    rows = layout.table(*_titles(table.index.names), "design", *parts)
    for (cell, *place), row in zip(table.index, table.to_dict("records"), strict=True):
        shares = (row[f"{part}_share"] for part in parts)
        rows.add_row(
            cell,
            *map(_plain, place),
            f"{row['data_seeds']} x {row['weight_seeds']}",
            *("-" if math.isnan(share) else _percent(share) for share in shares),
        )
    title = layout.title(f"Whose the variance of the validation {metric.title} is")
    note = "  design: data seeds x weight seeds. rest: of neither alone, but of the pair."
    return Group(title, layout.indented(rows), Text(f"\n{note}", style="dim"))


def failures(trials: Sequence[Trial], reasons: Mapping[str, str]) -> Group:
    """The failed trials, those of one reason together."""
    by_reason: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.id in reasons:
            by_reason[" ".join(reasons[trial.id].split())].append(trial)
    lines = []
    for reason, failed in by_reason.items():
        for condition in dict.fromkeys(trial.condition for trial in failed):
            members = [trial for trial in failed if trial.condition == condition]
            lines.append(f"  {condition}, {seeds(members)}")
        lines.append(f"    {reason}")
    return Group(
        Text(f"{count(len(reasons), 'trial')} failed", style="bold red"), Text("\n".join(lines))
    )


def times(seconds: Mapping[str, float], failed: int = 0) -> str:
    """Where the wall time went: `Report.seconds`, and `figures`; `failed` trials took some too."""
    names = ("wall", "ray", "train", "log", "figures")
    wall, ray, train, log, figures = (_seconds(seconds[name]) for name in names)
    if not seconds["train"] and not failed:
        return f"Took {wall}; every trial had finished earlier."
    parts = f"Ray started within {ray}, packs trained {train}, logging {log}, figures {figures}"
    return f"Took {wall}: {parts}."


def without_password(uri: str) -> str:
    """`uri`, fit for a log that others may read."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 60 else duration(value)


def _value(value: float, metric: Metric) -> str:
    return "-" if math.isnan(value) else metric.text(value)


def _statistic(title: str, value: Any, metric: Metric) -> str:
    """A cell of the length table: a value, or a count of seeds, where there are such runs."""
    if title in ("median", "best"):
        return _value(value, metric)
    return "-" if pd.isna(value) else str(value)


def _epochs(to_solve: float, observed: float) -> str:
    """The median, or that it lies beyond the last epoch observed."""
    if not math.isnan(to_solve):
        return f"{to_solve:.0f}"
    return ">-" if math.isnan(observed) else f">{observed:.0f}"


def _megabytes(size: int) -> str:
    shown = size / 1e6
    return f"{shown:.3g}" if shown < 999.5 else f"{shown:,.0f}"


def _percent(share: float) -> str:
    return "<1%" if share < 0.005 else f"{share:.0%}"


def _range(low: float, high: float, metric: Metric | None = None) -> str:
    if math.isnan(low):
        return "-"
    if metric is not None and metric.logarithmic:
        return f"{metric.text(low)}..{metric.text(high)}"  # 4.8e-3 has a minus of its own
    return f"{low:.2f}-{high:.2f}"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
