"""Runs and histories to pictures. Each function draws on an Axes, or lays several out in a Figure.

No queries, no statistics (medians come from `aggregate`), no `pyplot`: nothing global is touched.
A cell has the same colour and marker in every figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from rnn_study import aggregate
from rnn_study.figures.looks import (
    BAR,
    DASHES,
    DOTTED,
    GREY,
    TEXT,
    beside,
    dot,
    draw_seeds,
    ends,
    epoch_axis,
    kinds,
    look,
    metric_axis,
    put_legend,
    shade,
    tint,
)
from rnn_study.phrases import label, setting
from rnn_study.tasks import Metric


def metric_by_length(
    runs: pd.DataFrame, ax: Axes, metric: str | None = None, baseline: bool = True
) -> Axes:
    """Accuracy, or the task's own metric, against length.

    Every finished seed is a dot, each cell's medians are bars on a line. Cells stand side by side
    at a length, and near-equal values side by side within a cell. The axis of length is
    logarithmic. A diverged seed is a cross at its last finite value. A cell with several settings
    has a line for each, in the order of the legend, the first twelve told apart by their dashes and
    the faces of their dots.
    """
    column, known = aggregate.column_of(runs, metric), aggregate.metric_of(runs)
    levels = ["cell", *aggregate.distinguishing(runs)]
    series = list(aggregate.conditions(runs, levels))
    lengths = _lengths(runs)
    gap = min(np.diff(np.log(lengths)), default=0.5)
    width = 0.8 * gap / max(len(series), 1)
    entries: dict[str, Any] = {}
    for place, (key, group) in enumerate(series):
        mark = look(key[0])
        variant = [other[0] for other, _ in series[:place]].count(key[0])
        shift = (place - (len(series) - 1) / 2) * width
        table = aggregate.seed_sensitivity(group, metric)
        at = table.index.get_level_values("length").to_numpy(dtype=float) * math.exp(shift)
        dashes = ("-", "--", "-.", ":")[variant % 4]
        face = (mark.colour, "white", tint(mark.colour))[(variant + 3) // 4 % 3]
        median = table["median"].to_numpy()
        ax.plot(at, median, dashes, color=mark.colour, linewidth=0.9, zorder=2)
        ax.plot(at, median, "_", color=shade(mark.colour), zorder=5, **BAR)
        for _, seeds in aggregate.conditions(_seeds(group), ["length"]):
            y = seeds[column].to_numpy(dtype=float, na_value=math.nan)
            offsets = shift + beside(y, width, known)
            x = seeds["length"].to_numpy(dtype=float) * np.exp(offsets)
            draw_seeds(ax, x, y, seeds["diverged"].to_numpy(dtype=bool), mark, face)
        style = {"markerfacecolor": face, "linestyle": dashes, "linewidth": 0.9}
        entries[_name(key, levels)] = dot(mark.marker, mark.colour, **style)
    seeds = _seeds(runs)
    if len(seeds):
        entries["median"] = dot("_", "black", **BAR | {"markersize": 10})
    if len(seeds) and seeds["diverged"].any():
        entries["diverged"] = dot("x", "black")
    metric_axis(ax, known, known.words(column), seeds.empty, baseline)
    ax.set_xscale("log")
    ax.set_xticks(lengths, [str(length) for length in lengths])
    ax.xaxis.set_minor_locator(NullLocator())
    if lengths:
        ax.set_xlim(lengths[0] * math.exp(-0.6 * gap), lengths[-1] * math.exp(0.6 * gap))
    ax.set_xlabel("sequence length (time steps)", fontsize=TEXT)
    put_legend(ax, entries)
    return ax


def validation_histories(
    histories: Mapping[str, pd.DataFrame], runs: pd.DataFrame, ax: Axes, baseline: bool = True
) -> Axes:
    """Validation metric against epoch, every finished seed a thin line in its cell's colour.

    Give it the runs of one length: the paper's Figures 5 and 6. A dot ends the line of a solved
    seed, a cross that of a diverged one.
    """
    seeds, metric = list(_seeds(runs).itertuples()), aggregate.metric_of(runs)
    drawn = [_seed(ax, histories, run, look(str(run.cell)).colour, metric) for run in seeds]
    metric_axis(ax, metric, f"validation {metric.title}", not any(drawn), baseline)
    epoch_axis(ax, metric)
    cells = dict.fromkeys(str(run.cell) for run in seeds)
    lines = {label(cell): Line2D([], [], color=look(cell).colour) for cell in cells}
    put_legend(ax, lines | ends(seeds))
    return ax


def seed_histories(
    histories: Mapping[str, pd.DataFrame],
    runs: pd.DataFrame,
    ax: Axes,
    baseline: bool = True,
    legend: bool = True,
    metric: Metric | None = None,
) -> Axes:
    """Validation (solid) and training (dashed) metric against epoch of every finished seed.

    Give it the runs of one condition: the paper's Supplementary Figure 2. Solved seeds have their
    cell's colour and end in a dot; unsolved ones are grey, and end in a cross if they diverged.
    Without a goal to solve, all have their cell's colour. `metric`: that of the task, for runs
    that may be none.
    """
    seeds, metric = list(_seeds(runs).itertuples()), metric or aggregate.metric_of(runs)
    drawn = []
    for run in seeds:
        plain = run.solved or metric.goal is None
        colour = look(str(run.cell)).colour if plain else GREY
        drawn.append(_seed(ax, histories, run, colour, metric, training=True))
    metric_axis(ax, metric, metric.title, not any(drawn), baseline, name_it=legend)
    epoch_axis(ax, metric)
    if legend:
        put_legend(ax, kinds(seeds, metric) | ends(seeds))
    return ax


def training_histories(
    histories: Mapping[str, pd.DataFrame], runs: pd.DataFrame, baseline: bool = True
) -> Figure:
    """`seed_histories` of every condition: a row a cell (and setting), a column a length."""
    levels = ["cell", *aggregate.distinguishing(runs)]
    series = list(aggregate.conditions(runs, levels))
    lengths = _lengths(runs)
    names = [_name(key, levels, between="\n") for key, _ in series]
    rows, columns = max(len(series), 1), max(len(lengths), 1)
    beside = 0.07 * max((len(line) for name in names for line in name.split("\n")), default=0)
    size = (max(0.7 + 1.65 * columns + beside, 5.4), 0.9 + 1.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    metric = aggregate.metric_of(runs)
    if metric.logarithmic:
        panels[0, 0].set_yscale("log")  # of all at once, while they are empty
    for row, name, (_, group) in zip(panels, names, series, strict=False):
        for ax, length in zip(row, lengths, strict=True):
            seeds = group[group["length"] == length]
            seed_histories(histories, seeds, ax, baseline, legend=False, metric=metric)
        row[-1].annotate(
            name, (1, 0.5), (6, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", fontsize=TEXT,
        )  # fmt: skip
    if not series:
        seed_histories(histories, runs, panels[0, 0], baseline, legend=False)
    for ax, length in zip(panels[0], lengths, strict=False):
        ax.set_title(f"length {length}", fontsize=TEXT)
    for ax in panels.flat:
        ax.set(xlabel="", ylabel="")
        ax.label_outer()
    figure.supxlabel("epoch", fontsize=TEXT)
    figure.supylabel(metric.title, fontsize=TEXT)
    drawn = list(_seeds(runs).itertuples())
    line = {metric.baseline_name: Line2D([], [], color="black", **DOTTED)}
    line = line if baseline and metric.baseline_name else {}
    put_legend(figure, kinds(drawn, metric) | ends(drawn) | line)
    return figure


def _seed(
    ax: Axes,
    histories: Mapping[str, pd.DataFrame],
    run: Any,
    colour: str,
    metric: Metric,
    training: bool = False,
) -> bool:
    """Draw the history of one seed, if there is one."""
    history = histories.get(run.trial_id)
    if history is None or history.empty:
        return False
    epoch = history["epoch"].to_numpy()
    validation = history[metric.column].to_numpy(dtype=float)
    over = 2.1 if run.solved else 2.0  # solved seeds above unsolved ones
    if training:
        style = {"color": tint(colour), "linestyle": DASHES, "linewidth": 0.6}
        ax.plot(epoch, history[f"train_{metric.name}"].to_numpy(dtype=float), zorder=over, **style)
    ax.plot(epoch, validation, color=colour, linewidth=0.7, zorder=over + 0.5)
    finite = np.flatnonzero(np.isfinite(validation))
    if len(finite) and (run.solved or run.diverged):
        last = finite[-1]
        marker, colour = ("o", colour) if run.solved else ("x", "black")
        ax.plot(epoch[last], validation[last], marker, color=colour, markersize=3, zorder=3)
    return True


def _seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Finished runs in the order of drawing, which does not depend on the order of rows."""
    levels = ["cell", "length", *aggregate.distinguishing(runs), "seed", "data_seed"]
    groups = [group for _, group in aggregate.conditions(aggregate.finished(runs), levels)]
    if not groups:
        return runs.iloc[:0]
    seeds = pd.concat(groups)
    flags = {name: aggregate.flags(seeds[name]) for name in ("solved", "diverged")}
    return seeds.assign(**flags)


def _lengths(runs: pd.DataFrame) -> list[int]:
    return sorted({int(length) for length in runs["length"]}) if len(runs) else []


def _name(key: Sequence[Any], levels: Sequence[str], between: str = ", ") -> str:
    """A series for people: its cell, and its settings if they differ within a cell."""
    pairs = list(zip(levels, key, strict=True))[1:]
    settings = [f"{name.replace('_', ' ')} {setting(value)}" for name, value in pairs]
    return between.join([label(key[0]), *settings])
