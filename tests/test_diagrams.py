"""Orbit diagrams and cost functions as pictures: what they show, and that nothing is cut off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maps import F64
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from rnn_study import chaotic_lstm, figures


@pytest.fixture(scope="module")
def line():
    return chaotic_lstm.line(torch.linspace(0.8, 1, 7, dtype=F64), 50, 40, 50)


@pytest.fixture(scope="module")
def plane():
    s1, s2 = torch.linspace(0, 2, 5, dtype=F64), torch.linspace(-1, 1, 3, dtype=F64)
    return chaotic_lstm.plane(s1, s2, chaotic_lstm.theta_random())


def assert_all_is_inside(figure: Figure) -> None:
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert box.x0 >= -1 and box.y0 >= -1
    assert box.x1 <= width + 1 and box.y1 <= height + 1


def test_orbit_diagram_shows_every_point_where_it_belongs() -> None:
    visited = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
    ax = figures.orbits.orbit_diagram(np.array([7.0, 11.0]), visited, Figure().subplots())
    (drawn,) = ax.get_lines()
    assert np.asarray(drawn.get_xdata()).tolist() == [7, 7, 7, 11, 11, 11]
    assert np.asarray(drawn.get_ydata())[:5].tolist() == [1, 2, 3, 4, 5]
    assert drawn.get_rasterized()


def test_orbit_diagram_in_three_dimensions_is_coloured_by_epoch() -> None:
    figure = Figure(figsize=(5, 4))
    ax = figure.add_subplot(projection="3d")
    visited = np.array([[1.0, 2.0, 4.0], [4.0, 4.0, 3.0]])
    drawn = figures.orbits.orbit_diagram_3d(np.array([10, 20]), visited, ax)
    at, value, change = drawn._offsets3d
    assert (list(at), list(value)) == ([10, 10, 20, 20], [2, 4, 4, 3])
    assert list(change) == [1, 2, 0, -1]
    assert drawn.get_array().tolist() == [10, 10, 20, 20]
    assert drawn.get_cmap().name == figures.orbits.EPOCHS


def test_exponents_above_zero_are_set_apart() -> None:
    ax = figures.orbits.exponents(np.arange(3.0), np.array([-9.0, -0.1, 0.2]), Figure().subplots())
    colours = [to_hex(area.get_facecolor()[0]) for area in ax.collections]
    assert colours == [figures.orbits.CHAOS.lower(), figures.orbits.ORDER.lower()]
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in ax.collections]
    assert tops == pytest.approx([0.2, 0])
    assert ax.get_ylim()[0] == -0.6


def test_figures_of_the_chaotic_lstm_have_nothing_cut_off(line, plane) -> None:
    for window in (None, (0.9, 1.0)):
        figure = figures.orbits.chaotic_line(line, window)
        assert_all_is_inside(figure)
        assert all(ax.get_ylabel() for ax in figure.axes)
    figure = figures.orbits.chaotic_plane(plane, line.table)
    assert_all_is_inside(figure)
    mesh = figure.axes[0].collections[0]
    assert mesh.get_array().shape == plane.loss.shape
    assert figure.axes[0].get_xlabel().startswith("$s_1$")
