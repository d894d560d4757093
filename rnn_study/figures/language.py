"""Albums of language models to pictures: the paper's Figure 8 and Supplementary Figures 5 to 7.

Orbits under a word held, and of texts that are fed back, against the epoch. Flat: the outputs that
are visited; deep: also their change in a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnn_study.cells import CELLS
from rnn_study.config import Trial
from rnn_study.figures.looks import SMALL, TEXT, look
from rnn_study.figures.orbits import EPOCHS, INK, orbit_diagram_3d
from rnn_study.figures.portraits import LAST, bar, chosen, limits, scale
from rnn_study.phrases import label, named
from rnn_study.training import Album
from rnn_study.training.text_watch import FED_BACK, MEAN, answers

Panel = tuple[str, Trial, Album, int, int]
"""What is over it, and which input and output of whose album it shows."""


def of_run(trial: Trial, album: Album) -> Figure:
    """Every input with every output that is watched: a run's own diagram."""
    outputs = answers(trial.words)
    rows = [
        [(f"{_read(trial, b)}\n{_shown(o)}", trial, album, b, k) for k, o in enumerate(outputs)]
        for b in range(len(album.probes))
    ]
    figure = _flat(rows, (1.75, 1.4))
    figure.suptitle(named(trial), fontsize=TEXT, x=0.01, ha="left")
    return figure


def compared(albums: Mapping[str, tuple[Trial, Album]], deep: bool) -> Figure:
    """The mean of the outputs, a row a network, the first word held and fed back: Figure 8."""
    rows = []
    for title, (trial, album) in albums.items():
        seats = (0, len(trial.words))
        names = [_read(trial, b) for b in seats]
        rows.append(
            [(f"{title}\n{n}", trial, album, b, 0) for n, b in zip(names, seats, strict=True)]
        )
    return _deep(rows, (3.2, 2.3)) if deep else _flat(rows, (3.4, 1.9))


def of_cell(title: str, trial: Trial, album: Album, deep: bool) -> Figure:
    """The first two words held and fed back, every output: Supplementary Figures 5 to 7."""
    count = len(trial.words)
    seats = [b for place in range(min(2, count)) for b in (place, count + place)]
    rows = [
        [
            (f"{_read(trial, b)}\n{_shown(o)}", trial, album, b, k)
            for k, o in enumerate(answers(trial.words))
        ]
        for b in seats
    ]
    figure = _deep(rows, (2.3, 1.9)) if deep else _flat(rows, (1.9, 1.5))
    words = ": epoch (along), $y_t$ (across), $y_t - y_{t-1}$ (up)" if deep else ""
    figure.suptitle(title + words, fontsize=TEXT)
    return figure


def repetition(rows: Any, ax: Axes) -> Axes:
    """Words until fed-back text repeats itself, against the epoch: every seed and word a dot.

    `rows`: as `reporting.language.repetitions` makes them. Texts that do not repeat lie on top.
    """
    top = float(rows["watched"].max()) if len(rows) else 1.0
    cells = [cell for cell in CELLS if (rows["cell"] == cell).any()]
    epochs = np.unique(rows["epoch"]) if len(rows) else np.array([1])
    apart = 0.08 * np.diff(epochs).min(initial=epochs[-1])
    for place, cell in enumerate(cells):
        texts = rows[rows["cell"] == cell]
        at = texts["epoch"] + (place - (len(cells) - 1) / 2) * apart
        after = texts["repeats_after"].fillna(top) + 1
        ax.plot(
            at, after, linestyle="", markersize=3, alpha=0.5, markeredgewidth=0,
            color=look(cell).colour, marker=look(cell).marker, label=label(cell),
        )  # fmt: skip
    ax.set_yscale("log")
    ax.axhline(top + 1, color=INK, linewidth=0.6, linestyle=":")
    ax.annotate(
        "does not repeat", (1, top + 1), (-2, 2), textcoords="offset points", fontsize=SMALL,
        xycoords=("axes fraction", "data"), ha="right",
    )  # fmt: skip
    ax.set_xlabel("epoch", fontsize=TEXT)
    ax.set_ylabel("words until the text repeats, + 1", fontsize=TEXT)
    ax.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _read(trial: Trial, probe: int) -> str:
    """What the network reads: `"is" held` or `"is" fed back`."""
    fed_back, place = divmod(probe, len(trial.words))
    return f'"{trial.words[place]}"{FED_BACK if fed_back else " held"}'


def _shown(output: str) -> str:
    return "mean of outputs" if output == MEAN else f"output {output}"


def _flat(rows: Sequence[Sequence[Panel]], size: tuple[float, float]) -> Figure:
    """One-dimensional: strong from the zero state, pale from the random ones."""
    figure, panels = _grid(rows, size, {})
    for ax, (title, _, album, b, output) in zip(panels.flat, chain(*rows), strict=True):
        shown = chosen(album)
        for starts, dot, strength in ((slice(1, None), 2.0, 0.15), (slice(0, 1), 2.5, 0.6)):
            visited = album.portraits.orbits[shown, b, starts, -LAST:, output]
            at = album.epochs[shown].repeat(visited[0].size)
            ax.scatter(
                at, visited.ravel(), s=dot, c=at, cmap=EPOCHS, alpha=strength, linewidths=0,
                rasterized=True,
            )  # fmt: skip
        ax.set_ylim(*limits(album.portraits.orbits[shown, b, 0, -LAST:, output]))
        ax.set_title(title, fontsize=SMALL)
        ax.tick_params(labelsize=SMALL)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("epoch", fontsize=TEXT)
    figure.supylabel("outputs visited", fontsize=TEXT)
    return figure


def _deep(rows: Sequence[Sequence[Panel]], size: tuple[float, float]) -> Figure:
    """Two-dimensional, against the epoch: axes epoch, y_t and y_t - y_(t-1)."""
    figure, panels = _grid(rows, size, {"projection": "3d"})
    every = [album for row in rows for _, _, album, _, _ in row]
    for ax, (title, _, album, b, output) in zip(panels.flat, chain(*rows), strict=True):
        shown = chosen(album)
        visited = album.portraits.orbits[shown, b, :, -LAST:, output]
        drawn = orbit_diagram_3d(album.epochs[shown], visited, ax)
        drawn.set_norm(scale(every))
        ax.patch.set_visible(False)
        ax.set_xlim(0, scale(every).vmax)
        ax.set_ylim(*limits(visited[:, 0]))
        ax.set_zlim(*limits(np.diff(visited[:, 0], axis=-1)))
        if size[0] < 3:
            ax.set(xlabel="", ylabel="", zlabel="")
        ax.yaxis.set_major_locator(MaxNLocator(2))
        ax.set_title(title, fontsize=SMALL, y=0.97)
    bar(figure, panels.ravel().tolist(), scale(every))
    figure.set_layout_engine("constrained", wspace=0.12, rect=(0.03, 0, 0.97, 0.96))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # found once, not again for every file
    return figure


def _grid(
    rows: Sequence[Sequence[Panel]], size: tuple[float, float], kind: dict[str, str]
) -> tuple[Figure, Any]:
    wide, high = len(rows[0]), len(rows)
    figure = Figure(figsize=(size[0] * wide + 0.7, size[1] * high + 0.6), layout="constrained")
    return figure, figure.subplots(high, wide, squeeze=False, subplot_kw=kind)
