"""Albums to pictures: a run's orbit diagrams, and the paper's Figures 4 and 7 and its supplement's.

Colours tell the epoch, on one scale for all panels of a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnn_study.config import Trial
from rnn_study.figures.looks import LOOKS, SMALL, TEXT, whole_epochs
from rnn_study.figures.orbits import EPOCHS, orbit_diagram_3d
from rnn_study.phrases import named
from rnn_study.tasks import sequence_task
from rnn_study.training import Album

LAST: Final = 100
"""States that are drawn of each orbit, its last."""
MOST: Final = 60
"""Epochs that are drawn of an album, evenly chosen."""
ANSWERS: Final = tuple(look.colour for look in LOOKS.values())
"""Colours of a run's outputs in its own diagram."""


def of_run(trial: Trial, album: Album) -> Figure:
    """The outputs that orbits visit against the epoch, a panel an input: a run's own diagram.

    Strong: from the zero state; pale: from the random ones. Outputs stand side by side.
    """
    names = sequence_task(trial.task).answers
    columns = min(len(album.probes), 5 if len(names) == 1 else 3)
    rows = -(-len(album.probes) // columns)
    wide, high = 2.3 * columns + 0.6, 1.7 * rows + 0.8
    figure = Figure(figsize=(wide, high))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    # "constrained" would find these in twice the time, and every run is drawn
    figure.subplots_adjust(0.7 / wide, 0.5 / high, 1 - 0.1 / wide, 1 - 0.5 / high, 0.06, 0.28)
    shown = chosen(album)
    gap = np.diff(album.epochs[shown]).min(initial=album.epochs[-1])
    beside = (np.arange(len(names)) - (len(names) - 1) / 2) * 0.18 * gap
    for b, (ax, probe) in enumerate(zip(panels.flat, album.probes, strict=False)):
        for o, name in enumerate(names):
            style: dict[str, Any] = {"color": ANSWERS[o % len(ANSWERS)], "markeredgewidth": 0}
            for starts, size, strength in ((slice(1, None), 1.2, 0.25), (slice(0, 1), 2.5, 0.7)):
                visited = album.portraits.orbits[shown, b, starts, -LAST:, o]
                at = (album.epochs[shown] + beside[o]).repeat(visited[0].size)
                ax.plot(
                    at, visited.ravel(), ".", markersize=size, alpha=strength, rasterized=True,
                    label=name, **style,
                )  # fmt: skip
        ax.set_title(f"input {probe}", fontsize=TEXT)
        ax.tick_params(labelsize=SMALL)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylim(*limits(album.portraits.orbits[shown, :, 0, -LAST:]))
    if len(names) > 1:
        handles = panels[0, 0].get_lines()[1::2]
        figure.legend(
            handles, [f"output {name}" for name in names], loc="upper right",
            fontsize=SMALL, ncols=len(names), markerscale=4, frameon=False,
        )  # fmt: skip
    figure.supxlabel("epoch", fontsize=TEXT)
    figure.supylabel("outputs visited", fontsize=TEXT, x=0.1 / wide, ha="left")
    figure.suptitle(named(trial), fontsize=TEXT, x=0.01, ha="left")
    return figure


def compared(albums: Mapping[str, tuple[Trial, Album]]) -> Figure:
    """Orbits against the epoch, a row a network, a column an input or output that is shown.

    The paper's Figure 4 (sine: one input, one output) and Figure 7 (symbol: two inputs, one
    output). `albums`: by title.
    """
    trials = [trial for trial, _ in albums.values()]
    task = sequence_task(trials[0].task)
    wide = len(task.shown) > 1
    rows, columns = (len(albums), len(task.shown)) if wide else (1, len(albums))
    figure = Figure(figsize=(3.1 * columns + 0.9, 2.5 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "3d"})
    norm = scale([album for _, album in albums.values()])
    for place, (title, (_, album)) in enumerate(albums.items()):
        for column, probe in enumerate(task.shown):
            ax = panels[place, column] if wide else panels[0, place]
            _draw(album, probe, 0, ax, norm)
            words = f"{title}\ninput {probe}" + f", output {task.answers[0]}" * wide
            ax.set_title(words, fontsize=SMALL, y=0.97)
    bar(figure, panels.ravel().tolist(), norm)
    figure.set_layout_engine("constrained", wspace=0.16)
    return figure


def all_pairs(title: str, trial: Trial, album: Album) -> Figure:
    """Every input with every output, a row an input: the paper's Supplementary Figures 3 and 4."""
    task = sequence_task(trial.task)
    rows, columns = len(album.probes), len(task.answers)
    figure = Figure(figsize=(2.4 * columns + 0.9, 1.9 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "3d"})
    norm = scale([album])
    for row, probe in enumerate(album.probes):
        for column, name in enumerate(task.answers):
            ax = panels[row, column]
            _draw(album, probe, column, ax, norm)
            ax.set(xlabel="", ylabel="", zlabel="")
            ax.yaxis.set_major_locator(MaxNLocator(2))
            ax.set_title(f"input {probe}, output {name}", fontsize=SMALL, y=0.97)
    figure.suptitle(
        f"{title}: epoch (along), $y_t$ (across), $y_t - y_{{t-1}}$ (up)", fontsize=TEXT
    )
    bar(figure, panels.ravel().tolist(), norm)
    figure.set_layout_engine("constrained", rect=(0.01, 0, 0.99, 1))
    return figure


def _draw(album: Album, probe: str, output: int, ax: Any, norm: Normalize) -> None:
    """One panel: the last states from all starts, as far as they are on the scale of the first."""
    shown, b = chosen(album), album.probes.index(probe)
    visited = album.portraits.orbits[shown, b, :, -LAST:, output]  # (E, P, T)
    drawn = orbit_diagram_3d(album.epochs[shown], visited, ax)
    drawn.set_norm(norm)
    ax.patch.set_visible(False)  # or it hides its neighbour's label
    ax.set_xlim(0, norm.vmax)
    ax.set_ylim(*limits(visited[:, 0]))
    ax.set_zlim(*limits(np.diff(visited[:, 0], axis=-1)))


def chosen(album: Album) -> np.ndarray:
    """Which epochs are drawn."""
    count = len(album.epochs)
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))


def limits(values: np.ndarray) -> tuple[float, float]:
    """What holds nearly all values, with a margin."""
    if not np.isfinite(values).any():
        return -1.0, 1.0
    low, high = np.nanquantile(values, (0.005, 0.995)).tolist()
    margin = max(0.15 * (high - low), 0.02)
    return low - margin, high + margin


def scale(albums: Sequence[Album]) -> Normalize:
    """One scale of colours for the epochs of all."""
    return Normalize(0, max(int(album.epochs[-1]) for album in albums))


def bar(figure: Figure, panels: list[Axes], norm: Normalize) -> None:
    """Adds a colour bar of epochs, as far away as labels of the panels reach, in inches."""
    away = 0.9 / figure.get_figwidth()
    place: dict[str, Any] = {"shrink": 0.6, "aspect": 25, "pad": away, "ticks": whole_epochs()}
    made = figure.colorbar(ScalarMappable(norm, EPOCHS), ax=panels, **place)
    made.set_label("epoch", fontsize=TEXT)
    made.ax.tick_params(labelsize=SMALL)
