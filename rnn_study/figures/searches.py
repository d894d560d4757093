"""The objective of a search against the learning rate, every seed a dot."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnn_study.cells import CELLS
from rnn_study.figures.looks import (
    DOTTED,
    GREY,
    TEXT,
    dot,
    look,
    metric_axis,
    put_legend,
    rate_axis,
    shade,
)
from rnn_study.phrases import label
from rnn_study.tasks import Metric

WORDS = {
    "iqm": "interquartile mean",
    "mean": "mean",
    "median": "median",
    "worst": "worst seed",
    "solved": "share solved",
}
"""The objectives, for people."""


def objective_by_rate(
    proposals: pd.DataFrame, seeds: pd.DataFrame, ax: Axes, metric: Metric, legend: bool = True
) -> Axes:
    """One condition's search: a proposal's seeds are dots above its rate, the objective a bar.

    Grey and hollow: a proposal that was stopped, at its values there. The line marks the winner.
    """
    mark = look(str(proposals["cell"].iloc[0]))
    stopped = proposals["stopped_at"].notna().to_numpy()
    given_up = set(proposals.loc[stopped, "proposal"])
    of_stopped = seeds["proposal"].isin(given_up).to_numpy()
    size: dict[str, Any] = {"s": 12, "marker": mark.marker, "linewidths": 0.6}
    x, y = seeds["learning_rate"].to_numpy(), seeds["value"].to_numpy()
    ax.scatter(x[of_stopped], y[of_stopped], facecolors="white", edgecolors=GREY, **size)
    ax.scatter(x[~of_stopped], y[~of_stopped], color=mark.colour, alpha=0.6, zorder=3, **size)
    bar: dict[str, Any] = {"markersize": 7, "markeredgewidth": 1.6}
    for which, colour, over in ((stopped, GREY, 2), (~stopped, shade(mark.colour), 4)):
        rates, values = proposals["learning_rate"][which], proposals["value"][which]
        ax.plot(rates, values, "_", color=colour, zorder=over, **bar)
    for rate in proposals.loc[proposals["winner"], "learning_rate"]:
        ax.axvline(rate, color=mark.colour, linewidth=0.9, zorder=1)
        ax.annotate(
            f"{rate:g}", (rate, 1), (2, 1), xycoords=("data", "axes fraction"), color=mark.colour,
            textcoords="offset points", fontsize=TEXT - 2,
        )  # fmt: skip
    metric_axis(ax, metric, f"validation {metric.title}", seeds.empty, name_it=legend)
    rate_axis(ax)
    ax.set_xlabel("learning rate", fontsize=TEXT)
    if legend:
        put_legend(ax, _legend(proposals))
    return ax


def searches(proposals: pd.DataFrame, seeds: pd.DataFrame, metric: Metric) -> Figure:
    """`objective_by_rate` of every condition: a row a cell, a column a length."""
    cells = [cell for cell in CELLS if cell in set(proposals["cell"])]
    lengths = sorted(set(proposals["length"]))
    rows, columns = max(len(cells), 1), max(len(lengths), 1)
    size = (max(1.5 + 1.9 * columns, 5.4), 1.1 + 1.6 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    if metric.logarithmic:
        panels[0, 0].set_yscale("log")  # of all at once, while they are empty
    for row, cell in zip(panels, cells, strict=False):
        for ax, length in zip(row, lengths, strict=True):
            here = [
                frame[(frame["cell"] == cell) & (frame["length"] == length)]
                for frame in (proposals, seeds)
            ]
            if len(here[0]):
                objective_by_rate(here[0], here[1], ax, metric, legend=False)
        row[-1].annotate(
            label(cell), (1, 0.5), (6, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", fontsize=TEXT,
        )  # fmt: skip
    for ax, length in zip(panels[0], lengths, strict=False):
        ax.set_title(f"length {length}", fontsize=TEXT, pad=12)
    for ax in panels.flat:
        ax.set(xlabel="", ylabel="")
        ax.label_outer()
    figure.supxlabel("learning rate", fontsize=TEXT)
    figure.supylabel(f"validation {metric.title}", fontsize=TEXT)
    line = Line2D([], [], color="black", **DOTTED)
    baseline = {metric.baseline_name: line} if metric.baseline_name else {}
    put_legend(figure, _legend(proposals) | baseline)
    return figure


def _legend(proposals: pd.DataFrame) -> dict[str, Any]:
    """Entries for what is drawn."""
    colours = [look(str(cell)).colour for cell in dict.fromkeys(proposals["cell"])]
    colour = colours[0] if len(colours) == 1 else "black"
    entries: dict[str, Any] = {"a seed": dot("o", colour)}
    bar: dict[str, Any] = {"markersize": 7, "markeredgewidth": 1.6}
    for objective in dict.fromkeys(proposals["objective"]):
        entries[WORDS[objective]] = dot("_", "black", **bar)
    if bool(proposals["stopped_at"].notna().any()):
        entries["stopped early"] = dot("o", GREY, markerfacecolor="white")
    if bool(proposals["winner"].any()):
        entries["the rate found"] = Line2D([], [], color=colour, linewidth=0.9)
    return entries
