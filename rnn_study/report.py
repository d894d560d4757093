"""Tables and figures of a study as files, in a folder.

Each file appears whole or not at all. Equal runs and histories give equal bytes, and the tables
hold no times: those of an interrupted study equal those of an undisturbed one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure

from rnn_study import aggregate, figures
from rnn_study.looks import setting

GAP: Final = "n/a"
"""Where there is no number."""

NOTES: Final = {
    "length_table": "Median and best validation accuracy over the seeds, and seeds solved.",
    "seed_sensitivity": (
        "Solved: seeds that reached validation accuracy one, with the exact 95% interval of their "
        "share (Clopper-Pearson). Min to max: validation accuracy over the seeds; q1 and q3: "
        "quartiles; IQM: interquartile mean. Epochs to solve: median, unsolved seeds counted as "
        "censored (Kaplan-Meier); \N{GREATER-THAN SIGN} where fewer than half had solved by then. "
        "Missing: runs that failed or have not finished."
    ),
}
"""What the tables show, for those who read them elsewhere."""


def write(
    runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame], folder: Path | str
) -> list[Path]:
    """Write both tables, the runs and both figures into `folder`, and return their paths.

    length_table and seed_sensitivity as CSV (for machines, in full), Markdown and LaTeX (for
    people); runs.csv, one row a run; accuracy_by_length and training_histories as PNG and PDF.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lengths, seeds = aggregate.length_table(runs), aggregate.seed_sensitivity(runs)
    texts = {
        "length_table.csv": _csv(_numbers(lengths).reset_index()),
        "length_table.md": _markdown(_flat(_by_length(lengths)), "length_table"),
        "length_table.tex": _latex(_by_length(lengths), "length_table"),
        "seed_sensitivity.csv": _csv(seeds.reset_index()),
        "seed_sensitivity.md": _markdown(_by_condition(seeds), "seed_sensitivity"),
        "seed_sensitivity.tex": _latex(_by_condition(seeds), "seed_sensitivity"),
        "runs.csv": _csv(runs),
    }
    paths = [_replace(folder / name, _text_writer(text)) for name, text in texts.items()]
    # not the user's own defaults, which differ between machines
    with matplotlib.style.context("default"), matplotlib.rc_context({"pdf.fonttype": 42}):
        series = seeds.reset_index("length").index.nunique()  # each has an entry in the legend
        accuracy = Figure(figsize=(6.5, 3.3 + 0.1 * series), layout="constrained")
        figures.accuracy_by_length(runs, accuracy.subplots())
        drawn = {
            "accuracy_by_length": accuracy,
            "training_histories": figures.training_histories(histories, runs),
        }
        for name, figure in drawn.items():
            paths.append(_replace(folder / f"{name}.png", _png_writer(figure)))
            paths.append(_replace(folder / f"{name}.pdf", _pdf_writer(figure)))
    return paths


def _replace(path: Path, write_to: Callable[[Path], object]) -> Path:
    """Write a file beside `path`, then put it in the place of `path` at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_to(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _text_writer(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8", newline="\n")


def _png_writer(figure: Figure) -> Callable[[Path], object]:
    return lambda path: figure.savefig(path, format="png", dpi=200)


def _pdf_writer(figure: Figure) -> Callable[[Path], object]:
    # without a date: equal figures are equal files
    return lambda path: figure.savefig(path, format="pdf", metadata={"CreationDate": None})


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


def _by_length(table: pd.DataFrame) -> pd.DataFrame:
    """A length table as text, its row levels as columns."""
    shown = table.map(lambda value: value if isinstance(value, str) else _number(value))
    levels = table.index.to_frame(index=False).map(setting)
    levels.columns = pd.MultiIndex.from_product([[""], [_words(n) for n in table.index.names]])
    return pd.concat([levels, shown.reset_index(drop=True)], axis="columns")


def _by_condition(table: pd.DataFrame) -> pd.DataFrame:
    """A table of seed sensitivity as text, with the columns that people compare."""
    levels = table.index.to_frame(index=False).map(setting).rename(columns=_words)
    rows = table.to_dict("records")
    shown: dict[str, Callable[[Mapping[Any, Any]], str]] = {
        "solved": lambda row: f"{row['solved']}/{row['seeds']}",
        "95% interval": lambda row: _interval(row["share_low"], row["share_high"]),
        "min": lambda row: _number(row["min"]),
        "q1": lambda row: _number(row["q1"]),
        "IQM": lambda row: _number(row["iqm"]),
        "median": lambda row: _number(row["median"]),
        "q3": lambda row: _number(row["q3"]),
        "max": lambda row: _number(row["max"]),
        "epochs to solve": lambda row: _epochs(row["epochs_to_solve"], row["epochs_observed"]),
        "diverged": lambda row: str(row["diverged"]),
        "missing": lambda row: str(row["failed"] + row["unfinished"]),
    }
    columns = {title: [show(row) for row in rows] for title, show in shown.items()}
    return pd.concat([levels, pd.DataFrame(columns)], axis="columns")


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """One line of titles instead of two."""
    titles = [" ".join(filter(None, column)) for column in table.columns]
    return table.set_axis(titles, axis="columns")


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _markdown(table: pd.DataFrame, name: str) -> str:
    plain = table.map(lambda value: value.replace("$>$", ">"))
    sides = [_side(column) for column in table.columns]
    text = plain.to_markdown(
        index=False, disable_numparse=True, colalign=sides if len(table) else None
    )
    return f"{text}\n\n{NOTES[name]}\n"


def _latex(table: pd.DataFrame, name: str) -> str:
    """A `tabular` for the package booktabs, its note as a comment before it."""
    style = table.style.hide(axis="index").format(escape="latex-math")
    style = style.format_index(escape="latex", axis="columns")
    sides = "".join(_side(column)[0] for column in table.columns)
    lines = style.to_latex(hrules=True, column_format=sides, multicol_align="c").splitlines()
    if table.columns.nlevels > 1 and len(table):
        lines.insert(3, _rules(table))
    note = f"% {NOTES[name]}\n% \\usepackage{{booktabs}}\n"
    return note + "\n".join(lines) + "\n"


def _rules(table: pd.DataFrame) -> str:
    """A rule under each cell's name, over its columns."""
    cells = [str(column[0]) for column in table.columns]
    spans = [(cells.index(cell) + 1, cells.count(cell)) for cell in dict.fromkeys(cells) if cell]
    return " ".join(f"\\cmidrule(lr){{{first}-{first + n - 1}}}" for first, n in spans)


def _side(column: Any) -> str:
    return "left" if column == "cell" else "right"


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else GAP


def _interval(low: float, high: float) -> str:
    return f"[{low:.2f}, {high:.2f}]" if math.isfinite(low) else GAP


def _epochs(to_solve: float, observed: float) -> str:
    """The median, or that it lies beyond the last epoch observed."""
    if math.isfinite(to_solve):
        return f"{to_solve:.0f}"
    return f"$>$ {observed:.0f}" if math.isfinite(observed) else GAP
