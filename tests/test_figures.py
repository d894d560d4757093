"""Figures: what is drawn is what the runs say, and all of it is inside the figure."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from example_runs import LIMIT, grid, histories_of, run, searched
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnn_study import aggregate, figures
from rnn_study.figures import looks
from rnn_study.phrases import setting
from rnn_study.tasks import TASKS

CELLS = ("lstm", "stable_lstm", "orthogonal")


@pytest.fixture
def ax() -> Axes:
    return Figure(figsize=(6.5, 3.6), layout="constrained").subplots()


def dots(ax: Axes, cell: str) -> np.ndarray:
    """Places of all seeds of a cell, dots and crosses, (seeds, 2)."""
    colour = looks.look(cell).colour
    of_cell = [
        np.asarray(seeds.get_offsets())
        for seeds in ax.collections
        if any(
            same_color(edge[:3], c)
            for edge in seeds.get_edgecolor()
            for c in (colour, looks.shade(colour))
        )
    ]
    return np.concatenate(of_cell)


def lines(ax: Axes, style: str = "-", marker: str = "None") -> list[Line2D]:
    """Lines of a style, but for that of chance."""
    return [
        line
        for line in ax.lines
        if line.get_linestyle() == style and line.get_marker() == marker and len(line.get_xdata())
    ]


def chance_lines(ax: Axes) -> list[float]:
    return [float(line.get_ydata()[0]) for line in lines(ax, ":")]


def legend(owner: Axes | Figure) -> list[str]:
    box = owner.get_legend() if isinstance(owner, Axes) else owner.legends[0]
    return [text.get_text() for text in box.get_texts()] if box else []


def assert_all_is_inside(figure: Figure) -> None:
    """Nothing is cut off, and no legend lies on data."""
    figure.draw_without_rendering()
    inside = figure.get_tightbbox()
    assert inside.x0 >= 0
    assert inside.y0 >= 0
    assert inside.x1 <= figure.get_figwidth() + 1e-9
    assert inside.y1 <= figure.get_figheight() + 1e-9
    boxes = [*figure.legends, *(box for ax in figure.axes if (box := ax.get_legend()))]
    for box in boxes:
        for ax in figure.axes:
            below = box.get_window_extent().y0 - ax.get_window_extent().y1
            assert below >= -1  # a pixel


class TestAccuracyByLength:
    def test_every_finished_seed_is_a_dot_at_its_accuracy_and_length(self, ax: Axes) -> None:
        runs = grid()
        assert figures.metric_by_length(runs, ax) is ax
        finished = runs[runs["status"] == "FINISHED"]
        lengths = np.array([50, 75, 100])
        for cell in CELLS:
            drawn = dots(ax, cell)
            near = lengths[np.abs(np.log(drawn[:, [0]] / lengths)).argmin(axis=1)]
            found = sorted(zip(near, drawn[:, 1], strict=True))
            of_cell = finished[finished["cell"] == cell]
            assert found == sorted(zip(of_cell["length"], of_cell["val_accuracy"], strict=True))

    def test_cells_stand_side_by_side_and_no_two_seeds_on_one_place(self, ax: Axes) -> None:
        figures.metric_by_length(grid(seeds=32), ax)
        reach = [(min(x), max(x)) for x in (dots(ax, cell)[:31, 0] for cell in CELLS)]
        assert all(left[1] < right[0] for left, right in pairwise(reach))
        for cell in CELLS:
            assert len(np.unique(dots(ax, cell), axis=0)) == len(dots(ax, cell))

    def test_near_equal_accuracies_stand_in_the_order_of_seeds(self, ax: Axes) -> None:
        values = [0.252, 0.25, 0.9, 0.251]  # in the order of size they would look like a slope
        rows = [run(seed=seed, accuracy=value) for seed, value in enumerate(values)]
        figures.metric_by_length(pd.DataFrame(rows), ax)
        at = {y: x for x, y in dots(ax, "lstm")}
        assert at[0.252] < at[0.25] < at[0.251]
        assert at[0.25] == at[0.9] == 50  # in the middle

    def test_medians_are_those_of_the_table(self, ax: Axes) -> None:
        runs = grid()
        figures.metric_by_length(runs, ax)
        table = aggregate.seed_sensitivity(runs)
        joined, bars = lines(ax), lines(ax, "None", "_")
        assert len(joined) == len(bars) == len(CELLS)
        for cell, line, bar in zip(CELLS, joined, bars, strict=True):
            assert line.get_ydata().tolist() == table.xs(cell)["median"].tolist()
            assert bar.get_ydata().tolist() == line.get_ydata().tolist()
            assert same_color(line.get_color(), looks.look(cell).colour)

    def test_chance_is_a_line_with_its_name(self, ax: Axes) -> None:
        figures.metric_by_length(grid(), ax)
        assert chance_lines(ax) == [0.25]
        assert "chance" in [text.get_text() for text in ax.texts]

    def test_chance_can_be_another_or_none(self, ax: Axes) -> None:
        figures.metric_by_length(grid(), ax, baseline=False)
        assert chance_lines(ax) == []
        assert [text.get_text() for text in ax.texts] == []

    def test_diverged_seeds_are_crosses(self, ax: Axes) -> None:
        figures.metric_by_length(grid(cells=("lstm",)), ax)
        crosses = [
            d
            for d in ax.collections
            if len(d.get_offsets()) == 1 and len(d.get_paths()[0].vertices) == 4
        ]
        assert len(crosses) == 3
        assert legend(ax) == ["LSTM", "median", "diverged"]

    def test_a_seed_without_a_finite_accuracy_is_not_drawn(self, ax: Axes) -> None:
        rows = [run(seed=0, accuracy=0.5), run(seed=1, accuracy=np.nan, diverged_at=1)]
        figures.metric_by_length(pd.DataFrame(rows), ax)
        assert np.isfinite(dots(ax, "lstm")).all(axis=1).sum() == 1
        assert_all_is_inside(ax.figure)

    def test_two_settings_of_a_cell_are_two_lines(self, ax: Axes) -> None:
        rows = [run(length=length, hidden=h) for h in (7, 11) for length in (50, 100)]
        figures.metric_by_length(pd.DataFrame(rows), ax)
        assert legend(ax) == ["LSTM, hidden 7", "LSTM, hidden 11", "median"]
        assert len(lines(ax, "-")) == len(lines(ax, "--")) == 1

    def test_twelve_settings_of_a_cell_look_unlike(self, ax: Axes) -> None:
        rows = [run(learning_rate=0.001 * (1 + n)) for n in range(12)]
        figures.metric_by_length(pd.DataFrame(rows), ax)
        handles = ax.get_legend().legend_handles[:12]
        looks_ = {(each.get_linestyle(), to_hex(each.get_markerfacecolor())) for each in handles}
        assert len(looks_) == 12

    def test_the_axis_names_the_metric_that_is_drawn(self, ax: Axes) -> None:
        figures.metric_by_length(grid(), ax, "best_val_accuracy")
        assert ax.get_ylabel() == "best validation accuracy"
        perplexity = TASKS["language"].metric
        assert perplexity.words("test_perplexity_at_best") == "test perplexity at the best epoch"

    def test_many_long_names_leave_room_for_the_axes(self, ax: Axes) -> None:
        many = [{"hidden": h, "decay_epochs": (d, 1000)} for h in (7, 11) for d in (5, 50, 500)]
        rows = [run(cell, **each) for cell in ("lstm", "stable_lstm_provable") for each in many]
        figures.metric_by_length(pd.DataFrame(rows), ax)
        assert len(legend(ax)) == 13
        assert_all_is_inside(ax.figure)
        assert ax.get_window_extent().height > 0.2 * ax.figure.bbox.height

    @pytest.mark.parametrize("lengths", [(50,), (50, 100, 200, 300, 500), (50, 51, 1000)])
    def test_ticks_are_the_lengths_and_all_is_inside(
        self, ax: Axes, lengths: tuple[int, ...]
    ) -> None:
        figures.metric_by_length(grid(lengths=lengths, seeds=32), ax)
        assert ax.get_xticks().tolist() == list(lengths)
        assert [text.get_text() for text in ax.get_xticklabels()] == [str(n) for n in lengths]
        low, high = ax.get_xlim()
        drawn = np.concatenate([dots(ax, cell) for cell in CELLS])[:, 0]
        assert low < drawn.min()
        assert drawn.max() < high
        assert_all_is_inside(ax.figure)


class TestHistories:
    def test_every_seed_is_a_line_of_its_history(self, ax: Axes) -> None:
        runs = grid(lengths=(50,))
        histories = histories_of(runs)
        assert figures.validation_histories(histories, runs, ax) is ax
        drawn = sorted(tuple(line.get_ydata()) for line in lines(ax))
        expected = sorted(tuple(history["val_accuracy"]) for history in histories.values())
        assert np.array_equal(np.concatenate(drawn), np.concatenate(expected), equal_nan=True)
        assert legend(ax) == ["LSTM", "stable LSTM", "orthogonal", "solved", "diverged"]
        assert chance_lines(ax) == [0.25]
        assert_all_is_inside(ax.figure)

    def test_solved_seeds_end_in_a_dot_and_diverged_ones_in_a_cross(self, ax: Axes) -> None:
        rows = [run(seed=0, solved_at=9), run(seed=1, accuracy=0.4), run(seed=2, diverged_at=5)]
        runs = pd.DataFrame(rows)
        figures.validation_histories(histories_of(runs), runs, ax)
        ends = {m: lines(ax, "None", m) for m in ("o", "x")}
        places = {
            marker: [(line.get_xdata()[0], line.get_ydata()[0]) for line in found]
            for marker, found in ends.items()
        }
        assert places["o"] == [(9, 1.0)]
        assert [x for x, _ in places["x"]] == [4]  # its last finite epoch

    def test_training_is_dashed_and_unsolved_seeds_are_grey(self, ax: Axes) -> None:
        runs = pd.DataFrame([run(seed=0, solved_at=9), run(seed=1, accuracy=0.26)])
        histories = histories_of(runs)
        assert figures.seed_histories(histories, runs, ax) is ax
        training, validation = lines(ax, "--"), lines(ax)
        assert [len(line.get_xdata()) for line in validation] == [9, LIMIT]
        for line, history in zip(training, histories.values(), strict=True):
            assert line.get_ydata().tolist() == history["train_accuracy"].tolist()
        solved, unsolved = validation
        assert same_color(solved.get_color(), looks.look("lstm").colour)
        assert same_color(unsolved.get_color(), looks.GREY)
        assert legend(ax) == ["validation", "training", "unsolved", "solved"]

    def test_a_history_that_is_lost_is_left_out(self, ax: Axes) -> None:
        runs = grid(lengths=(50,))
        histories = dict(list(histories_of(runs).items())[:5])
        figures.validation_histories(histories, runs, ax)
        assert len(lines(ax)) == 5

    def test_long_histories_have_a_logarithmic_axis(self, ax: Axes) -> None:
        runs = pd.DataFrame([run(seed=0, solved_at=9, epochs=5000), run(seed=1, epochs=5000)])
        figures.seed_histories(histories_of(runs), runs, ax)
        assert ax.get_xscale() == "log"

    def test_grid_has_a_row_a_cell_and_a_column_a_length(self) -> None:
        runs = grid(lengths=(50, 75))
        histories = histories_of(runs)
        figure = figures.training_histories(histories, runs)
        assert len(figure.axes) == 6
        assert [ax.get_title() for ax in figure.axes[:2]] == ["length 50", "length 75"]
        names = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert names == ["LSTM", "stable LSTM", "orthogonal"]
        for ax, (_, group) in zip(
            figure.axes, aggregate.conditions(runs, ["cell", "length"]), strict=True
        ):
            assert len(lines(ax)) == len(aggregate.finished(group))
        assert legend(figure)[-1] == "chance"
        assert_all_is_inside(figure)

    def test_grid_names_the_settings_that_vary(self) -> None:
        runs = pd.DataFrame([run(hidden=h, learning_rate=r) for h in (7, 11) for r in (0.1, 0.2)])
        figure = figures.training_histories(histories_of(runs), runs)
        names = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert names[0] == "LSTM\nlearning rate 0.1\nhidden 7"
        assert setting((500, 1000)) == "500 1000"
        assert len(names) == 4
        assert_all_is_inside(figure)


def test_of_texts_that_repeat_every_look_is_a_dot_and_nothing_else(ax: Axes) -> None:
    after = {"lstm": [10, np.nan, np.nan, np.nan], "orthogonal": [0, 5, 7, 12]}
    rows = [
        {"cell": cell, "epoch": epoch, "repeats_after": value, "watched": 1900}
        for cell, values in after.items()
        for epoch, value in zip((15, 15, 30, 30), values, strict=True)
    ]
    figures.language.repetition(pd.DataFrame(rows), ax)
    assert legend(ax) == ["LSTM", "orthogonal"]
    *of_cells, top = ax.get_lines()
    assert [[*line.get_ydata()] for line in of_cells] == [[11, *[1901] * 3], [1, 6, 8, 13]]
    assert {line.get_linestyle() for line in of_cells} == {"None"}
    assert set(top.get_ydata()) == {1901}


def test_a_cell_is_one_line_though_a_search_found_a_rate_for_each_length(ax: Axes) -> None:
    runs = searched()
    figures.metric_by_length(runs, ax)
    assert legend(ax) == ["LSTM", "orthogonal", "median"]
    assert [len(line.get_xdata()) for line in lines(ax)] == [3, 3]
    figure = figures.training_histories(histories_of(runs), runs)
    assert len(figure.axes) == 6
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["LSTM", "orthogonal"]


@pytest.mark.parametrize("runs", [pd.DataFrame(), pd.DataFrame([run(status="RUNNING")])])
def test_no_data_is_said(runs: pd.DataFrame, ax: Axes) -> None:
    figures.metric_by_length(runs, ax)
    assert "no data" in [text.get_text() for text in ax.texts]
    figure = figures.training_histories({}, runs)
    assert "no data" in [text.get_text() for text in figure.axes[0].texts]
    assert_all_is_inside(figure)


def test_a_cell_has_a_colour_and_a_marker_of_its_own() -> None:
    known = [looks.look(cell) for cell in looks.LOOKS]
    assert len({to_hex(each.colour) for each in known}) == len({e.marker for e in known}) == 4
    new = looks.look("a_new_cell")
    assert new == looks.look("a_new_cell")
    assert new not in known
