"""Tables and figures of a study as files, in a folder.

Each file appears whole or not at all. Equal runs and histories give equal bytes, and the tables
hold no times: those of an interrupted study equal those of an undisturbed one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure

from rnn_study import aggregate, figures
from rnn_study.phrases import setting, words
from rnn_study.reporting import tables
from rnn_study.reporting.layout import WORDS
from rnn_study.reporting.tables import GAP, Columns, Shown, as_text, interval, number
from rnn_study.tasks import Metric
from rnn_study.training.files import write_atomically

Written = dict[Path, str]
"""Files that were written, and what is to be seen on those that are figures."""


def notes(metric: Metric) -> dict[str, str]:
    """What the tables show, for those who read them elsewhere."""
    value, goal = f"validation {metric.title}", metric.goal is not None
    solved = f"seeds that reached {value} {'one' if metric.goal == 1 else metric.goal}"
    return {
        "length_table": (
            f"Median and best {value} over the seeds, each at its last epoch, and "
            + ("seeds solved." if goal else "their number.")
        ),
        "seed_sensitivity": (
            f"Solved: {solved}, with the exact 95% interval of their share (Clopper-Pearson). "
            * goal
            + f"Min to max: {value} over the seeds, each at its last epoch; q1 and q3: quartiles; "
            + "IQM: interquartile mean, with its 95% interval (bootstrap) from six seeds on. "
            + "Epochs to solve: median and, from six seeds on, 95% interval, unsolved seeds "
            "counted as censored (Kaplan-Meier); "
            "\N{GREATER-THAN SIGN} where fewer than half had solved by then. "
            * goal
            + "Missing: runs that failed or have not finished."
        ),
    }


def write(runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame], folder: Path | str) -> Written:
    """Write the tables, the runs and both figures into `folder`, and return their paths.

    length_table, seed_sensitivity and those of `tables` as CSV (for machines, in full),
    Markdown and LaTeX (for people); runs.csv, one row a run; accuracy_by_length (after the task's
    metric) and training_histories as PNG and PDF.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metric, made = aggregate.metric_of(runs), shown(runs)
    paths = {write_text(folder / "runs.csv", _csv(runs)): ""}
    for name, table in made.items():
        paths |= write_table(folder / name, table)
    with own_style():
        series = [*aggregate.conditions(runs, ["cell", *aggregate.distinguishing(runs)])]
        # each has an entry in the legend
        by_length = Figure(figsize=(6.5, 3.3 + 0.1 * len(series)), layout="constrained")
        figures.metric_by_length(runs, by_length.subplots())
        paths |= write_figure(
            folder / f"{metric.title.replace(' ', '_')}_by_length",
            by_length,
            "By sequence length: every seed a dot, a cell's medians as bars.",
        )
        paths |= write_figure(
            folder / "training_histories",
            figures.training_histories(histories, runs),
            "Every seed a line: validation solid, training dashed.",
        )
    return paths


def shown(runs: pd.DataFrame) -> dict[str, Shown]:
    """Every table of `runs` by name."""
    lengths, seeds = aggregate.length_table(runs), aggregate.seed_sensitivity(runs)
    metric = aggregate.metric_of(runs)
    note = notes(metric)
    return {
        "length_table": Shown(_numbers(lengths), _by_length(lengths, metric), note["length_table"]),
        "seed_sensitivity": Shown(seeds, _by_condition(seeds, metric), note["seed_sensitivity"]),
        **tables.tables(runs),
    }


def markdown(shown: Shown) -> str:
    """A table as Markdown, with its note."""
    return _markdown(_flat(shown.text), shown.note)


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults, not the user's own, which differ between machines."""
    with matplotlib.style.context("default"), matplotlib.rc_context({"pdf.fonttype": 42}):
        yield


def write_text(path: Path, text: str) -> Path:
    """Writes a text file, whole or not at all."""
    write_atomically(path, text.encode())
    return path


def write_table(path: Path, shown: Shown) -> Written:
    """Writes `path`.csv, `path`.md and `path`.tex."""
    texts = {
        "csv": _csv(shown.table.reset_index()),
        "md": markdown(shown),
        "tex": _latex(shown.text, shown.note),
    }
    names = {kind: path.with_name(f"{path.name}.{kind}") for kind in texts}
    return {write_text(names[kind], text): "" for kind, text in texts.items()}


def write_figure(path: Path, figure: Figure, caption: str) -> Written:
    """Writes `path`.png and `path`.pdf; equal figures are equal files."""
    return {
        _draw(path.with_name(f"{path.name}.{kind}"), figure, kind): caption
        for kind in ("png", "pdf")
    }


def _draw(path: Path, figure: Figure, kind: str) -> Path:
    drawn = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else None
    figure.savefig(drawn, format=kind, dpi=200, metadata=metadata)
    write_atomically(path, drawn.getvalue())
    return path


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """A length table with the counts in columns of their own: "5/6" is a date to a spreadsheet."""
    columns: dict[str, pd.Series] = {}
    for column in table.columns:
        cell, statistic = map(str, column)
        values = table[cell, statistic]
        if statistic != "solved":
            columns[f"{cell} {statistic}"] = values
            continue
        counts = values.astype("string").str.split("/", expand=True).reindex(columns=[0, 1])
        columns[f"{cell} solved"] = counts[0].astype("Int64")
        columns[f"{cell} seeds"] = counts[1].astype("Int64")
    return pd.DataFrame(columns, index=table.index)


def _by_length(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """A length table as text, its row levels as columns."""
    shown = table.map(lambda value: number(value, metric) if isinstance(value, float) else value)
    shown = shown.map(str, na_action="ignore").fillna(GAP)
    levels = table.index.to_frame(index=False).map(setting)
    levels.columns = pd.MultiIndex.from_product([[""], [words(n) for n in table.index.names]])
    return pd.concat([levels, shown.reset_index(drop=True)], axis="columns")


def _by_condition(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """A table of seed sensitivity as text, with the columns that people compare."""
    count: Columns = {"seeds": lambda row: str(row["seeds"])}
    speed: Columns = {}
    if metric.goal is not None:
        count = {
            "solved": lambda row: f"{row['solved']}/{row['seeds']}",
            "95% interval": lambda row: interval(row["share_low"], row["share_high"]),
        }
        speed = {"epochs to solve": _epochs}
    columns: Columns = {
        **count,
        "min": lambda row: number(row["min"], metric),
        "q1": lambda row: number(row["q1"], metric),
        "IQM": lambda row: number(row["iqm"], metric),
        "IQM 95%": lambda row: interval(row["iqm_low"], row["iqm_high"], metric),
        "median": lambda row: number(row["median"], metric),
        "q3": lambda row: number(row["q3"], metric),
        "max": lambda row: number(row["max"], metric),
        **speed,
        "diverged": lambda row: str(row["diverged"]),
        "missing": lambda row: str(row["failed"] + row["unfinished"]),
    }
    return as_text(table, columns)


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """One line of titles instead of two."""
    if table.columns.nlevels == 1:
        return table
    titles = [" ".join(filter(None, column)) for column in table.columns]
    return table.set_axis(titles, axis="columns")


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _markdown(table: pd.DataFrame, note: str) -> str:
    plain = table.map(lambda value: value.replace("$>$", ">"))
    sides = [_side(column) for column in table.columns]
    text = plain.to_markdown(
        index=False, disable_numparse=True, colalign=sides if len(table) else None
    )
    return f"{text}\n\n{note}\n"


def _latex(table: pd.DataFrame, note: str) -> str:
    """A `tabular` for the package booktabs, its note as a comment before it."""
    style = table.style.hide(axis="index").format(escape="latex-math")
    style = style.format_index(escape="latex", axis="columns")
    sides = "".join(_side(column)[0] for column in table.columns)
    lines = style.to_latex(hrules=True, column_format=sides, multicol_align="c").splitlines()
    if table.columns.nlevels > 1 and len(table):
        lines.insert(3, _rules(table))
    head = f"% {note}\n% \\usepackage{{booktabs}}\n"
    return head + "\n".join(lines) + "\n"


def _rules(table: pd.DataFrame) -> str:
    """A rule under each cell's name, over its columns."""
    cells = [str(column[0]) for column in table.columns]
    spans = [(cells.index(cell) + 1, cells.count(cell)) for cell in dict.fromkeys(cells) if cell]
    return " ".join(f"\\cmidrule(lr){{{first}-{first + n - 1}}}" for first, n in spans)


def _side(column: Any) -> str:
    return "left" if column in WORDS else "right"


def _epochs(row: Mapping[Any, Any]) -> str:
    """The median with its interval, or that it lies beyond the last epoch observed."""
    median, low, high, observed = (
        row[f"epochs_{name}"] for name in ("to_solve", "low", "high", "observed")
    )
    beyond = f"$>$ {observed:.0f}" if math.isfinite(observed) else GAP
    if not math.isfinite(median):
        return beyond
    if not math.isfinite(low):  # too few seeds
        return f"{median:.0f}"
    return f"{median:.0f} [{low:.0f}, {f'{high:.0f}' if math.isfinite(high) else beyond}]"
