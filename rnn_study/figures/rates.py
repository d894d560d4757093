"""Runs against their learning rate: what a comparison of rates, or a search, looks like."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnn_study import aggregate
from rnn_study.errors import require
from rnn_study.figures.looks import (
    SMALL,
    TEXT,
    beside,
    dot,
    draw_seeds,
    look,
    metric_axis,
    put_legend,
    rate_axis,
    shade,
)
from rnn_study.phrases import label

SEARCH: Final = "search"
"""The `purpose` of runs that a search tried."""
MOST_NAMED: Final = 3
"""Up to as many rates have a tick each; more have an axis of few plain numbers."""
THICK: Final[dict[str, Any]] = {"markersize": 13, "markeredgewidth": 1.6}
THIN: Final[dict[str, Any]] = {"markersize": 13, "markeredgewidth": 0.7}
"""The bars of medians: those of a search's seeds are thin."""


def metric_by_rate(runs: pd.DataFrame, metric: str | None = None) -> Figure:
    """The task's own metric against the learning rate: a row a cell, a column a length.

    Every finished seed is a dot, hollow where a search tried it, and a cross if it diverged;
    near-equal values stand side by side at their rate. The median of a rate is a bar, a thin one
    that of the search's seeds. Raises InvalidInput where runs differ in other settings too.
    """
    column, known = aggregate.column_of(runs, metric), aggregate.metric_of(runs)
    ended = aggregate.finished(runs)
    other = ", ".join(aggregate.varying(ended))
    require(not other, "runs", f"of several {other}", "draw those of one setting at a time")
    cells = [key[0] for key, _ in aggregate.conditions(ended, ["cell"])]
    lengths = sorted(set(ended["length"]))
    rows, columns = max(len(cells), 1), max(len(lengths), 1)
    size = (max(1.5 + 1.9 * columns, 5.4), 1.1 + 1.6 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    rate_axis(panels[0, 0])  # of all at once, while they are empty
    if known.logarithmic:
        panels[0, 0].set_yscale("log")
    rates = sorted(set(ended["learning_rate"]))
    if 0 < len(rates) <= MOST_NAMED:
        panels[0, 0].set_xticks(rates, [f"{rate:g}" for rate in rates])
    apart = np.diff(np.log(rates))
    width = max(0.8 * min(apart, default=0.5), 0.2 * sum(apart))  # where many lie close, not less
    entries: dict[str, Any] = {}
    for row, panel in np.ndenumerate(panels):
        empty = True
        if cells:
            cell, length = cells[row[0]], lengths[row[1]]
            here = ended[(ended["cell"] == cell) & (ended["length"] == length)]
            empty = here.empty
            _draw_seeds(panel, here, column, width)
            _draw_medians(panel, here, metric)
            panel.set_title(f"{label(cell)}, length {length}", fontsize=TEXT)
        metric_axis(panel, known, "", empty, name_it=row[1] == columns - 1)
        panel.tick_params(labelsize=SMALL)
    searched = (ended["purpose"] == SEARCH).to_numpy()
    if not searched.all():
        entries |= {"a seed": dot("o", "black"), "median": dot("_", "black", **THICK)}
    if searched.any():
        entries["a seed of the search"] = dot("o", "black", markerfacecolor="none")
        entries["median of the search"] = dot("_", "black", **THIN)
    if aggregate.flags(ended["diverged"]).any():
        entries["diverged"] = dot("x", "black")
    figure.supxlabel("learning rate", fontsize=TEXT)
    figure.supylabel(known.words(column), fontsize=TEXT)
    put_legend(figure, entries)
    return figure


def _draw_seeds(panel: Axes, runs: pd.DataFrame, column: str, width: float) -> None:
    """The seeds of one cell and length."""
    for (cell, rate), seeds in aggregate.conditions(runs, ["cell", "learning_rate"]):
        seeds = seeds.sort_values(["seed", "data_seed"], kind="stable")
        y = seeds[column].to_numpy(dtype=float, na_value=math.nan)
        x = rate * np.exp(beside(y, width, aggregate.metric_of(runs)))
        searched = (seeds["purpose"] == SEARCH).to_numpy()
        diverged, mark = aggregate.flags(seeds["diverged"]), look(cell)
        for which, face in ((~searched, mark.colour), (searched, "none")):
            draw_seeds(panel, x[which], y[which], diverged[which], mark, face)


def _draw_medians(panel: Axes, runs: pd.DataFrame, metric: str | None) -> None:
    """The medians of one cell and length, those of the search's seeds apart."""
    for searched, group in runs.groupby(runs["purpose"] == SEARCH):
        medians = aggregate.seed_sensitivity(group, metric)["median"]
        rates = medians.index.get_level_values("learning_rate")
        bar = THIN if searched else THICK
        colour = shade(look(group["cell"].iloc[0]).colour)
        panel.plot(rates, medians, "_", color=colour, zorder=5, **bar)
