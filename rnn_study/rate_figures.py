"""Runs against their learning rate: what a comparison of rates, or a search for one, looks like."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rnn_study import aggregate
from rnn_study.looks import SMALL, TEXT, dot, label, look, metric_axis, put_legend, shade

MOST_NAMED: Final = 3
"""Up to as many rates have a tick each; more have an axis of powers of ten."""


def metric_by_rate(runs: pd.DataFrame, metric: str | None = None) -> Figure:
    """The task's own metric against the learning rate: a row a cell, a column a length.

    Every finished seed is a dot, the median of a rate a bar.
    """
    column, known = aggregate.column_of(runs, metric), aggregate.metric_of(runs)
    ended = aggregate.finished(runs)
    cells = [key[0] for key, _ in aggregate.conditions(ended, ["cell"])]
    lengths = sorted(set(ended["length"]))
    rows, columns = max(len(cells), 1), max(len(lengths), 1)
    size = (max(1.5 + 1.9 * columns, 5.4), 1.1 + 1.6 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels[0, 0].set_xscale("log")  # of all at once, while they are empty
    if known.logarithmic:
        panels[0, 0].set_yscale("log")
    rates = sorted(set(ended["learning_rate"]))
    if 0 < len(rates) <= MOST_NAMED:
        panels[0, 0].set_xticks(rates, [f"{rate:g}" for rate in rates])
    entries: dict[str, Any] = {}
    for row, panel in np.ndenumerate(panels):
        empty = True
        if cells:
            cell, length = cells[row[0]], lengths[row[1]]
            here = ended[(ended["cell"] == cell) & (ended["length"] == length)]
            empty = here.empty
            mark = look(cell)
            panel.scatter(
                here["learning_rate"], here[column], s=14, marker=mark.marker,
                color=mark.colour, alpha=0.6, linewidths=0,
            )  # fmt: skip
            medians = here.groupby("learning_rate")[column].median()
            panel.plot(
                medians.index, medians, "_", color=shade(mark.colour), markersize=13,
                markeredgewidth=1.6,
            )  # fmt: skip
            panel.set_title(f"{label(cell)}, length {length}", fontsize=TEXT)
            entries = {"a seed": dot("o", "black"), "median": dot("_", "black", markersize=11)}
        metric_axis(panel, known, "", empty, name_it=row[1] == columns - 1)
        panel.tick_params(labelsize=SMALL)
        panel.xaxis.set_minor_formatter(NullFormatter())
    figure.supxlabel("learning rate", fontsize=TEXT)
    figure.supylabel(f"validation {known.title}", fontsize=TEXT)
    put_legend(figure, entries)
    return figure
