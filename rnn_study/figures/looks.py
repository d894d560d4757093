"""How figures look: the cells' colours and markers, sizes, axes and legends."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from rnn_study.tasks import Metric

TEXT: Final = 9.0
SMALL: Final = 8.0
"""Sizes of labels, and of ticks and legends, in points at the figure's own size."""

GREY: Final = "#767676"
DASHES: Final = (0, (3, 1.5))
DOTTED: Final[dict[str, Any]] = {"linestyle": ":", "linewidth": 0.8}
BAR: Final[dict[str, Any]] = {"markersize": 15, "markeredgewidth": 1.6}


class Look(NamedTuple):
    """How a cell is drawn."""

    colour: str
    marker: str


# Okabe and Ito's palette: told apart under every common colour blindness.
LOOKS: Final = {
    "lstm": Look("#0072B2", "o"),
    "stable_lstm": Look("#D55E00", "s"),
    "stable_lstm_provable": Look("#CC79A7", "D"),
    "orthogonal": Look("#009E73", "^"),
}
SPARE: Final = (Look("#E69F00", "v"), Look("#56B4E9", "P"), Look("#000000", "p"))


def look(cell: str) -> Look:
    """The colour and marker of a cell; a cell without its own has a spare one, by its name."""
    return LOOKS.get(cell) or SPARE[zlib.crc32(cell.encode()) % len(SPARE)]


def kinds(seeds: Sequence[Any], metric: Metric) -> dict[str, Any]:
    """Legend entries for the kinds of lines. A cell's colour tells nothing more without a goal."""
    entries = {
        "validation": Line2D([], [], color="black", linewidth=1),
        "training": Line2D([], [], color=tint("black"), linewidth=1, linestyle=DASHES),
    }
    if metric.goal is not None and not all(run.solved for run in seeds):
        entries["unsolved"] = Line2D([], [], color=GREY, linewidth=1)
    return entries


def ends(seeds: Sequence[Any]) -> dict[str, Any]:
    """Legend entries for the ends of lines, as far as there are such seeds."""
    solved = dict.fromkeys(look(run.cell).colour for run in seeds if run.solved)
    entries: dict[str, Any] = {}
    if solved:
        entries["solved"] = tuple(dot("o", colour) for colour in solved)
    if any(run.diverged for run in seeds):
        entries["diverged"] = dot("x", "black")
    return entries


def dot(marker: str, colour: str, **style: Any) -> Line2D:
    """A legend's dot."""
    plain: dict[str, Any] = {"marker": marker, "color": colour, "linestyle": "", "markersize": 4}
    return Line2D([], [], **plain | style)


def beside(values: np.ndarray, width: float, metric: Metric) -> np.ndarray:
    """How far from their common place seeds are drawn, so that none hides another: (S,).

    Values within `close` of each other stand side by side, in `width` at most, in the order given:
    in the order of size they would look like a slope.
    """
    close = 0.015
    height = np.log10(values) / 3 if metric.logarithmic else values  # an axis of three decades
    offsets = np.zeros(len(values))
    order = np.argsort(height, kind="stable")  # NaN last
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or not height[order[end]] - height[order[start]] <= close:
            count = end - start
            step = min(0.14, 0.9 / count) * width
            offsets[np.sort(order[start:end])] = (np.arange(count) - (count - 1) / 2) * step
            start = end
    return offsets


def draw_seeds(
    ax: Axes, x: np.ndarray, y: np.ndarray, diverged: np.ndarray, mark: Look, face: Any
) -> None:
    """Seeds as dots with this face, those that diverged as crosses. Without what is NaN."""
    dots: dict[str, Any] = {"facecolors": face, "edgecolors": mark.colour, "alpha": 0.6}
    cross: dict[str, Any] = {"marker": "x", "color": shade(mark.colour), "linewidths": 1}
    ax.scatter(x[~diverged], y[~diverged], 13, marker=mark.marker, linewidths=0.5, zorder=3, **dots)
    ax.scatter(x[diverged], y[diverged], 16, zorder=4, **cross)


def tint(colour: str) -> Any:
    """Half as strong on white. Not transparent, which many overlapping lines would undo."""
    return tuple(0.5 + 0.5 * part for part in to_rgb(colour))


def shade(colour: str) -> Any:
    """Half as bright, to be seen on dots of the colour."""
    return tuple(0.5 * part for part in to_rgb(colour))


def metric_axis(
    ax: Axes, metric: Metric, name: str, empty: bool, baseline: bool = True, name_it: bool = True
) -> None:
    """The vertical axis, the line of the baseline with its name, and a word if there are no data.

    Shares have the whole of 0 to 1; errors are logarithmic, the baseline among them.
    """
    if metric.logarithmic:
        if ax.get_yscale() != "log":  # again, it would rescale panels that share the axis
            ax.set_yscale("log")
        ax.tick_params("y", which="minor", labelsize=SMALL)  # named where decades are few
        ax.yaxis.set_major_formatter(_FewDecades())
        ax.yaxis.set_minor_formatter(_FewDecades())
    else:
        ax.set_ylim(0, 1.04)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_ylabel(name, fontsize=TEXT)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    at = metric.baseline if baseline else None
    if at is not None:
        ax.axhline(at, color="black", zorder=1, **DOTTED)
    if at is not None and name_it:
        ax.annotate(
            metric.baseline_name, (1, at), (3, 0), annotation_clip=False,
            xycoords=("axes fraction", "data"), va="center", textcoords="offset points",
            fontsize=SMALL,
        )  # fmt: skip
    if empty:
        place: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.6, "no data", fontsize=SMALL, color=GREY, **place)


class _FewDecades(LogFormatterSciNotation):
    """Powers of ten, as Matplotlib has them; plain numbers on an axis of less than two decades."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = str(super().__call__(x, pos))
        assert self.axis is not None
        low, high = sorted(self.axis.get_view_interval())
        plain = high < 100 * low and 1e-3 <= x < 1e6
        return f"{x:g}" if text and plain else text


def epoch_axis(ax: Axes, metric: Metric) -> None:
    """The horizontal axis of histories, logarithmic if they are long and end apart."""
    ax.set_xlabel("epoch", fontsize=TEXT)
    if metric.goal is not None and 1000 < ax.dataLim.xmax < math.inf:
        ax.set_xscale("log")  # a seed may solve in 20 epochs, another be followed for 15,000
    else:
        ax.xaxis.set_major_locator(whole_epochs())


def whole_epochs() -> MaxNLocator:
    """Ticks where Matplotlib puts them by default, but never between two epochs."""
    return MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10])


def rate_axis(ax: Axes) -> None:
    """The horizontal axis of learning rates, logarithmic, with a few plain numbers."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(_FewRates())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params("x", labelsize=SMALL)


class _FewRates(LogLocator):
    """Powers of ten; with more between them where fewer than two decades are shown."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        decades = math.log10(vmax / vmin) if vmin > 0 else math.inf
        self.set_params(subs=(1, 2, 5) if decades < 1 else (1, 3) if decades < 2 else (1,))
        return super().tick_values(vmin, vmax)


def put_legend(owner: Axes | Figure, entries: Mapping[str, Any]) -> None:
    """Above the axes, where there are no data, in as many columns as the figure is wide."""
    if not entries:
        return
    wide = owner.figure.bbox.width / owner.figure.dpi  # inches
    column = 0.6 + 0.062 * max(map(len, entries))  # a handle with its gaps, and characters
    place: dict[str, Any] = {"loc": "outside upper center"}
    if isinstance(owner, Axes):
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    owner.legend(
        list(entries.values()), list(entries), ncols=max(1, int(wide / column)),
        fontsize=SMALL, frameon=False, columnspacing=1.2, handler_map={tuple: HandlerTuple(None)},
        **place,
    )  # fmt: skip
