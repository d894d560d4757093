"""The figure of learning rates: every finished seed a dot at its rate, medians as bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from example_runs import grid, run

from rnn_study import aggregate
from rnn_study.figures import metric_by_rate


def test_dots_are_seeds_and_bars_their_medians():
    rows = [
        run("lstm", 50, seed, 0.1 * seed + rate, learning_rate=rate)
        for rate in (0.001, 0.01, 0.1, 0.3)
        for seed in range(3)
    ]
    rows.append(run("lstm", 50, 7, 0.9, learning_rate=0.1, status="KILLED"))
    (ax,) = metric_by_rate(pd.DataFrame(rows)).axes
    dots = np.sort(ax.collections[0].get_offsets().data, axis=0)
    assert len(dots) == 12
    assert sorted(set(dots[:, 0])) == [0.001, 0.01, 0.1, 0.3]
    bars = ax.lines[0]
    assert bars.get_xdata().tolist() == [0.001, 0.01, 0.1, 0.3]
    np.testing.assert_allclose(bars.get_ydata(), [0.101, 0.11, 0.2, 0.4])
    assert ax.get_xscale() == "log"


def test_what_a_search_tried_is_hollow():
    runs = pd.DataFrame(
        [run(seed=s, learning_rate=r) for s in range(2) for r in (0.01, 0.02, 0.03)]
    )
    runs["purpose"] = ["search", "search", "confirmation"] * 2
    figure = metric_by_rate(runs)
    filled, hollow = figure.axes[0].collections
    assert set(filled.get_offsets()[:, 0]) == {0.03}
    assert set(hollow.get_offsets()[:, 0]) == {0.01, 0.02}
    assert len(hollow.get_facecolors()) == 0 and len(filled.get_facecolors()) == 1
    (legend,) = figure.legends
    assert "a seed of the search" in [text.get_text() for text in legend.get_texts()]


def test_there_is_a_panel_for_each_cell_and_length():
    runs = grid()
    figure = metric_by_rate(runs)
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 9 and titles[0] == "LSTM, length 50"
    drawn = sum(len(ax.collections[0].get_offsets()) for ax in figure.axes)
    assert drawn == len(aggregate.finished(runs))


def test_without_runs_it_says_so():
    (ax,) = metric_by_rate(grid().iloc[:0]).axes
    assert [text.get_text() for text in ax.texts if text.get_text() == "no data"] == ["no data"]
