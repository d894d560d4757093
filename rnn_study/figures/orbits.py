"""Orbits, exponents and cost functions to pictures. Each function draws on an Axes.

No computing, no `pyplot`. Thousands of points are rasterised, so that a PDF stays small; axes and
words stay vectors.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnn_study.chaotic_lstm import Line, Plane
from rnn_study.figures.looks import SMALL, TEXT

INK: Final = "#1A1A1A"
CHAOS: Final = "#D55E00"
ORDER: Final = "#0072B2"
"""Okabe and Ito's vermilion and blue: told apart under every common colour blindness."""
EPOCHS: Final = "viridis"
"""The one colour scale of epochs: even to the eye, and in grey."""


def orbit_diagram(
    values: np.ndarray, visited: np.ndarray, ax: Axes, strength: float = 0.2, **style: Any
) -> Axes:
    """The values (V, T) that orbits visit against a parameter (V,): the paper's Figure 1a.

    Places visited often are darker; a cycle, visited over and over, is black.
    """
    at = np.repeat(values, visited.shape[1])
    plain: dict[str, Any] = {"color": INK, "alpha": strength, "linestyle": "", "marker": ","}
    ax.plot(at, visited.ravel(), rasterized=True, **plain | style)
    ax.margins(x=0)
    return _plain(ax)


def orbit_diagram_3d(
    epochs: np.ndarray, visited: np.ndarray, ax: Any, zoom: float = 1.0
) -> PathCollection:
    """Axes epoch, y_t and y_t - y_(t-1), coloured by epoch: the paper's Figures 4, 7 and 8.

    `visited` is (E, T) or (E, P, T), and `ax` an axes with `projection="3d"`, beyond whose limits
    nothing is drawn. Returns what a colour bar needs.
    """
    value, change = visited[..., 1:], np.diff(visited, axis=-1)
    at = np.repeat(epochs, value[0].size)
    look: dict[str, Any] = {"s": 2.5, "linewidths": 0, "cmap": EPOCHS, "rasterized": True}
    drawn: PathCollection = ax.scatter(
        at, value.ravel(), change.ravel(), c=at, depthshade=False, axlim_clip=True, **look
    )
    for name, axis in (("epoch", ax.xaxis), ("$y_t$", ax.yaxis), ("$y_t - y_{t-1}$", ax.zaxis)):
        axis.set_label_text(name, fontsize=TEXT)
        axis.set_major_locator(MaxNLocator(4, integer=name == "epoch"))
        axis.set_pane_color((1, 1, 1, 1))
        axis.set_tick_params(labelsize=SMALL)
    ax.set_box_aspect((1.9, 1, 1), zoom=zoom)
    ax.xaxis.labelpad = 8
    return drawn


def exponents(values: np.ndarray, largest: np.ndarray, ax: Axes, floor: float = -0.6) -> Axes:
    """Largest Lyapunov exponents, the positive ones (chaos) set apart; cut off at `floor`."""
    shown = np.clip(largest, floor, None)
    for colour, where in ((CHAOS, shown > 0), (ORDER, shown <= 0)):
        top, bottom = np.where(where, shown, 0).clip(0), np.where(where, shown, 0).clip(None, 0)
        ax.fill_between(values, bottom, top, color=colour, linewidth=0.2, rasterized=True)
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.set_ylim(bottom=floor)
    ax.set_ylabel("Lyapunov exponent\n(nats per step)", fontsize=TEXT)
    ax.margins(x=0)
    return _plain(ax)


def loss_along(values: np.ndarray, loss: np.ndarray, ax: Axes) -> Axes:
    """A cost function along a line: the paper's Figure 1b."""
    ax.plot(values, loss, color=INK, linewidth=0.5, rasterized=True)
    ax.set_ylabel("mean square error", fontsize=TEXT)
    ax.set_ylim(bottom=0)
    ax.margins(x=0)
    return _plain(ax)


def loss_plane(plane: Plane, ax: Axes) -> Axes:
    """A cost function on a plane: the paper's Supplementary Figure 1. Adds a colour bar."""
    low = float(np.quantile(plane.loss, 0.005))
    scale = LogNorm(low, float(plane.loss.max()))
    mesh = ax.pcolormesh(
        plane.s1, plane.s2, plane.loss, norm=scale, cmap="cividis", shading="nearest",
        rasterized=True,
    )  # fmt: skip
    owner = ax.figure
    bar = owner.colorbar(mesh, ax=ax, pad=0.02, extend="min")
    bar.set_label("mean square error", fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL)
    ax.set_xlabel(r"$s_1$ (along $\theta_{\mathrm{true}}$)", fontsize=TEXT)
    ax.set_ylabel(r"$s_2$ (along $\theta_{\mathrm{random}}$)", fontsize=TEXT)
    ax.tick_params(labelsize=SMALL)
    return ax


def chaotic_line(line: Line, window: tuple[float, float] | None = None) -> Figure:
    """Figure 1 of the paper, the exponents between its panels; `window` is shaded."""
    figure = Figure(figsize=(6.6, 6.4), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.7, 1, 1))
    s = line.table["s"].to_numpy()
    orbit_diagram(s, line.orbits[..., 0], top)
    top.set_ylabel("first output $y_t$", fontsize=TEXT)
    exponents(s, line.table["lyapunov"].to_numpy(), middle)
    loss_along(s, line.table["loss"].to_numpy(), bottom)
    bottom.set_xlabel(r"$s$, the scale of the weights $s\,\theta_{\mathrm{true}}$", fontsize=TEXT)
    for name, ax in zip("abc", (top, middle, bottom), strict=True):
        ax.set_title(name, loc="left", fontsize=TEXT, fontweight="bold")
        if window:
            ax.axvspan(*window, color="#F0E442", alpha=0.18, linewidth=0, zorder=0)
    if window:
        text = f"chaotic window, {window[0]:.3f} to {window[1]:.3f}"
        top.set_title(text, fontsize=SMALL, color=CHAOS)
    bottom.plot(1, 0, "^", color=CHAOS, markersize=5, clip_on=False, zorder=4)
    bottom.annotate(
        r"$\theta_{\mathrm{true}}$", (1, 0), (5, 3), textcoords="offset points", fontsize=SMALL,
        color=CHAOS, bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "linewidth": 0},
    )  # fmt: skip
    figure.align_ylabels()
    return figure


def chaotic_plane(plane: Plane, table: pd.DataFrame) -> Figure:
    """Supplementary Figure 1: the plane, theta_true in it, and where the line of Figure 1 runs."""
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    ax = figure.subplots()
    loss_plane(plane, ax)
    ends = table["s"].iloc[[0, -1]].clip(*plane.s1[[0, -1]])
    ax.plot(ends, [0, 0], color="white", linewidth=0.8, linestyle=(0, (4, 2)))
    ax.plot(1, 0, "o", color="white", markeredgecolor=INK, markersize=5)
    words: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL}
    boxed = {"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0, "alpha": 0.85}
    ax.annotate(r"$\theta_{\mathrm{true}}$", (1, 0), (4, 6), bbox=boxed, **words)
    ax.annotate("Figure 1", (ends.iloc[0], 0), (2, 5), bbox=boxed, **words)
    return figure


def _plain(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=SMALL)
    return ax
