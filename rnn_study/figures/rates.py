"""Runs against their learning rate: what a comparison of rates, or a search, looks like."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rnn_study import aggregate
from rnn_study.figures.looks import (
    SMALL,
    TEXT,
    dot,
    label,
    look,
    metric_axis,
    put_legend,
    shade,
)

SEARCH: Final = "search"
"""The `purpose` of runs that a search tried."""
MOST_NAMED: Final = 3
"""Up to as many rates have a tick each; more have an axis of powers of ten."""


def metric_by_rate(runs: pd.DataFrame, metric: str | None = None) -> Figure:
    """The task's own metric against the learning rate: a row a cell, a column a length.

    Every finished seed is a dot, hollow where a search tried it; the median of a rate is a bar.
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
            for searched, group in here.groupby(here["purpose"] == SEARCH):
                panel.scatter(
                    group["learning_rate"], group[column], s=14, marker=mark.marker,
                    color="none" if searched else mark.colour, edgecolors=mark.colour,
                    linewidths=0.7, alpha=0.6,
                )  # fmt: skip
            medians = here.groupby("learning_rate")[column].median()
            panel.plot(
                medians.index, medians, "_", color=shade(mark.colour), markersize=13,
                markeredgewidth=1.6,
            )  # fmt: skip
            panel.set_title(f"{label(cell)}, length {length}", fontsize=TEXT)
        metric_axis(panel, known, "", empty, name_it=row[1] == columns - 1)
        panel.tick_params(labelsize=SMALL)
        panel.xaxis.set_minor_formatter(NullFormatter())
    if len(ended):
        entries = {"a seed": dot("o", "black"), "median": dot("_", "black", markersize=11)}
    if bool((ended["purpose"] == SEARCH).any()):
        entries["a seed of the search"] = dot("o", "black", markerfacecolor="none")
    figure.supxlabel("learning rate", fontsize=TEXT)
    figure.supylabel(f"validation {known.title}", fontsize=TEXT)
    put_legend(figure, entries)
    return figure
