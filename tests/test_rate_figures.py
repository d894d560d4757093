"""The figure of learning rates: every finished seed a dot at its rate, medians as bars."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from example_runs import grid, run

from rnn_study import aggregate
from rnn_study.errors import InvalidInput
from rnn_study.figures import metric_by_rate


def dots(ax) -> np.ndarray:
    """Places of all seeds, dots and crosses, (seeds, 2)."""
    return np.concatenate([np.asarray(each.get_offsets()) for each in ax.collections])


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_dots_are_seeds_and_bars_their_medians():
    rows = [
        run("lstm", 50, seed, 0.1 * seed + rate, learning_rate=rate)
        for rate in (0.001, 0.01, 0.1, 0.3)
        for seed in range(3)
    ]
    rows.append(run("lstm", 50, 7, 0.9, learning_rate=0.1, status="KILLED"))
    (ax,) = metric_by_rate(pd.DataFrame(rows)).axes
    places = dots(ax)
    assert len(places) == 12
    assert sorted(set(places[:, 0])) == pytest.approx([0.001, 0.01, 0.1, 0.3])
    bars = ax.lines[0]
    assert bars.get_xdata().tolist() == [0.001, 0.01, 0.1, 0.3]
    np.testing.assert_allclose(bars.get_ydata(), [0.101, 0.11, 0.2, 0.4])
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize(("low", "high"), [(2e-4, 3e-3), (1e-3, 9e-3), (2.1e-3, 9e-3), (1e-5, 1.0)])
def test_an_axis_of_many_rates_names_some_and_no_two_names_touch(low, high):
    rows = [
        run("lstm", length, 0, 0.5, learning_rate=rate)
        for length in (50, 60, 70)
        for rate in np.geomspace(low, high, 8).tolist()
    ]
    figure = metric_by_rate(pd.DataFrame(rows))
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    shown = [label for label in axis.get_ticklabels(which="both") if label.get_text()]
    boxes = sorted(label.get_window_extent().extents[[0, 2]].tolist() for label in shown)
    left, right = figure.axes[0].get_window_extent().extents[[0, 2]]
    inside = [box for box in boxes if left <= sum(box) / 2 <= right]
    assert 2 <= len(inside) <= 6
    assert all(end < start for (_, end), (start, _) in pairwise(boxes))
    for label in shown:
        assert label.get_text() == f"{float(label.get_text()):g}"


def test_seeds_that_agree_stand_side_by_side_and_diverged_ones_are_crosses():
    rows = [run(seed=s, accuracy=0.9, learning_rate=r) for r in (0.01, 0.1) for s in range(5)]
    rows.append(run(seed=5, accuracy=0.9, learning_rate=0.1, diverged_at=4))
    figure = metric_by_rate(pd.DataFrame(rows))
    (ax,) = figure.axes
    assert len(np.unique(dots(ax), axis=0)) == 11
    assert (np.abs(np.log10(dots(ax)[:, 0]) - np.repeat([-2, -1], [5, 6])) < 0.5).all()
    crosses = [each for each in ax.collections if len(each.get_offsets())][-1]
    assert len(crosses.get_offsets()) == 1 and len(crosses.get_paths()[0].vertices) == 4
    assert legend(figure) == ["a seed", "median", "diverged"]


def test_what_a_search_tried_is_hollow_and_has_a_median_of_its_own():
    rows = [run(seed=s, accuracy=0.9) | {"purpose": "search"} for s in range(4)]
    rows += [run(seed=9 + s, accuracy=0.3) | {"purpose": "confirmation"} for s in range(3)]
    figure = metric_by_rate(pd.DataFrame(rows))
    (ax,) = figure.axes
    filled, hollow = (each for each in ax.collections if len(each.get_offsets()))
    assert set(filled.get_offsets()[:, 1]) == {0.3} and set(hollow.get_offsets()[:, 1]) == {0.9}
    assert len(hollow.get_facecolors()) == 0 and len(filled.get_facecolors()) == 1
    fresh, searched = ax.lines[:2]
    assert (fresh.get_ydata().tolist(), searched.get_ydata().tolist()) == ([0.3], [0.9])
    assert fresh.get_markeredgewidth() > searched.get_markeredgewidth()
    assert legend(figure) == ["a seed", "median", "a seed of the search", "median of the search"]


def test_unlike_runs_have_no_common_median():
    runs = pd.DataFrame([run(seed=s, hidden=h) for s in range(3) for h in (50, 200)])
    with pytest.raises(InvalidInput, match="hidden"):
        metric_by_rate(runs)


def test_the_axis_names_the_metric_that_is_drawn():
    assert metric_by_rate(grid(), "best_val_accuracy").get_supylabel() == "best validation accuracy"


def test_there_is_a_panel_for_each_cell_and_length():
    runs = grid()
    figure = metric_by_rate(runs)
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 9 and titles[0] == "LSTM, length 50"
    drawn = sum(len(dots(ax)) for ax in figure.axes)
    assert drawn == len(aggregate.finished(runs))


def test_without_runs_it_says_so():
    (ax,) = metric_by_rate(grid().iloc[:0]).axes
    assert [text.get_text() for text in ax.texts if text.get_text() == "no data"] == ["no data"]
