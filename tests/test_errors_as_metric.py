"""A metric of which less is better and that nothing solves: tables, files, figures, progress."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from example_runs import run
from matplotlib.figure import Figure
from rich.console import Console

from rnn_study import aggregate, figures
from rnn_study.config import Study, packs
from rnn_study.errors import InvalidInput
from rnn_study.progress import PlainProgress, Progress
from rnn_study.reporting import files, terminal
from rnn_study.tasks import TASKS
from rnn_study.training import summary

ERROR = TASKS["sine"].metric
CELLS = ("lstm", "stable_lstm", "orthogonal")
ERRORS = {"lstm": 0.0048, "stable_lstm": 0.487654, "orthogonal": 0.0000321}


def sine(cell: str = "lstm", seed: int = 0, error: float = 0.1, **more: object) -> dict:
    row = run(cell, more.pop("length", 100), seed, **more)
    finished = row["status"] == "FINISHED"
    del row["val_accuracy"], row["best_val_accuracy"]
    value = error if finished else np.nan
    return row | {"task": "sine", "val_loss": value, "best_val_loss": value / 2}


def grid(lengths: tuple[int, ...] = (100, 400), seeds: int = 5) -> pd.DataFrame:
    return pd.DataFrame(
        sine(cell, seed, ERRORS[cell] * (1 + seed), length=length)
        for cell in CELLS
        for length in lengths
        for seed in range(seeds)
    )


def histories_of(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    found = {}
    for row in runs.itertuples():
        epoch = np.arange(1, 2001)
        fall = np.geomspace(0.5, row.val_loss, len(epoch))
        columns = {"epoch": epoch, "train_loss": 0.9 * fall, "val_loss": fall}
        found[row.trial_id] = pd.DataFrame(columns)
    return found


class TestMetric:
    def test_best_is_the_smallest_and_of_accuracies_the_largest(self) -> None:
        assert ERROR.best(np.array([0.3, 0.1, 0.2])) == 0.1
        assert TASKS["symbol"].metric.best(np.array([0.3, 0.1, 0.2])) == 0.3

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.00483, "4.8e-3"), (0.487, "0.49"), (0.0951, "0.10"), (0.0949, "9.5e-2"),
            (0.00996, "1.0e-2"), (0.9949, "0.99"), (0.997, "1.0"), (1.0, "1.0"), (1.26, "1.3"),
            (9.96, "10"), (31.4, "31"), (1234.0, "1.2e3"), (0.0, "0.0e0"),
        ],
    )  # fmt: skip
    def test_errors_have_two_significant_digits(self, value: float, text: str) -> None:
        assert ERROR.text(value) == text
        assert len(text) <= 6

    def test_in_tables_of_numbers_as_many_digits_are_kept(self) -> None:
        assert ERROR.rounded(1.23456e-5) == 1.235e-5
        assert TASKS["symbol"].metric.rounded(0.12344) == 0.1234

    def test_summary_has_the_last_finite_and_the_smallest_error(self) -> None:
        history = {"epoch": np.arange(1, 5), "seconds": np.ones(4)}
        history["val_loss"] = np.array([0.5, 0.1, 0.2, np.nan])
        values = summary(history, "diverged", ERROR)
        assert (values["val_loss"], values["best_val_loss"]) == (0.2, 0.1)
        assert not {"val_accuracy", "best_val_accuracy", "epochs_to_solve"} & set(values)


class TestTables:
    def test_best_is_the_least_and_seeds_are_counted(self) -> None:
        table = aggregate.length_table(grid())
        assert list(table.columns.unique(1)) == ["median", "best", "seeds"]
        assert table.loc[100, ("lstm", "best")] == 0.0048
        assert table.loc[100, ("stable_lstm", "median")] == 1.463  # four digits
        assert table.loc[400, ("orthogonal", "median")] == 9.63e-05  # and not 0.0001
        assert table.loc[400, ("lstm", "seeds")] == 5

    def test_nothing_is_said_about_solving(self) -> None:
        table = aggregate.seed_sensitivity(grid())
        statistics = ["seeds", "min", "q1", "iqm", "iqm_low", "iqm_high", "median", "q3", "max"]
        assert list(table.columns) == [*statistics, "diverged", "failed", "unfinished"]
        best = aggregate.seed_sensitivity(grid(), "best_val_loss")
        np.testing.assert_allclose(best["min"], table["min"] / 2)

    def test_metrics_of_other_tasks_and_runs_of_two_tasks_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match=r"metric: 'val_accuracy' .*best_val_loss, val_loss"):
            aggregate.seed_sensitivity(grid(), "val_accuracy")
        both = pd.concat([grid(), pd.DataFrame([run()])])
        with pytest.raises(InvalidInput, match=r"runs: \['sine', 'symbol'\] .*one task"):
            aggregate.length_table(both)

    def test_they_print_within_80_columns(self) -> None:
        rows = [sine("lstm", 7, status="FAILED"), sine("lstm", 8, diverged_at=3, error=np.inf)]
        runs = pd.concat([grid(), pd.DataFrame(rows)])
        text = printed(terminal.length_table(aggregate.length_table(runs), ERROR))
        assert "Validation mean square error over the seeds" in text
        assert "     100  1.4e-2  4.8e-3      6     1.5    0.49      5  9.6e-5  3.2e-5" in text
        more = printed(terminal.seed_sensitivity(aggregate.seed_sensitivity(runs), ERROR))
        assert "1.4e-2  9.6e-3..1.9e-2  4.8e-3..2.4e-2" in more
        assert "1 diverged,\n" in more and "1 failed\n" in more
        for shown in (text, more):
            assert max(map(len, shown.splitlines())) <= 80
            assert not {"accuracy", "solved", "nan"} & set(shown.split())

    def test_missing_runs_leave_gaps(self) -> None:
        runs = pd.DataFrame([sine("lstm", length=50), sine("orthogonal"), sine(status="KILLED")])
        text = printed(terminal.length_table(aggregate.length_table(runs), ERROR))
        *_, first, second, _, note = text.splitlines()
        assert note == "  Of every seed at its last epoch; best: of the seeds."
        assert first == "      50    0.10    0.10      1       -       -      -"
        assert second == "     100       -       -      0    0.10    0.10      1"


def test_files_speak_of_errors(tmp_path) -> None:
    runs = pd.concat([grid(), pd.DataFrame([sine("lstm", length=50)])])
    paths = files.write(runs, histories_of(runs), tmp_path)
    names = {path.name for path in paths}
    assert {"mean_square_error_by_length.png", "training_histories.pdf"} <= names
    assert not any("accuracy" in name for name in names)
    lengths, seeds = (
        (tmp_path / f"{name}.md").read_text() for name in ("length_table", "seed_sensitivity")
    )
    assert "| 1.4e-2 |" in " ".join(lengths.split()) and "n/a" in lengths
    what = "best validation mean square error over the seeds, each at its last epoch, and their"
    assert lengths.endswith(f"{what} number.\n")
    for text in (lengths, seeds):
        assert not [word for word in ("olve", "ccuracy", "Kaplan", "nan") if word in text]
    (head, *_) = (tmp_path / "length_table.csv").read_text().splitlines()
    assert head.startswith("length,lstm median,lstm best,lstm seeds,stable_lstm median")


class TestFigures:
    @pytest.mark.parametrize("draw", ["by_length", "histories"])
    def test_errors_have_a_logarithmic_axis_with_the_baseline(self, draw: str) -> None:
        ax, runs = Figure(layout="constrained").subplots(), grid()
        if draw == "by_length":
            figures.metric_by_length(runs, ax)
        else:
            figures.validation_histories(histories_of(runs), runs[runs["length"] == 100], ax)
        assert ax.get_yscale() == "log"
        assert ax.get_ylabel() == "validation mean square error"
        (baseline,) = [line for line in ax.lines if line.get_linestyle() == ":"]
        assert baseline.get_ydata()[0] == 0.5
        assert "always zero" in [text.get_text() for text in ax.texts]
        low, high = ax.get_ylim()
        assert low < 3.3e-5 and high > 2.4

    @pytest.mark.parametrize(
        ("errors", "named"),
        [
            ((0.5, 0.6), {"0.5", "0.6"}),
            ((0.05, 0.9), {"0.1", "1"}),
            ((0.0049, 0.6), {f"$\\mathdefault{{10^{{{n}}}}}$" for n in (-2, -1)}),
        ],
    )
    def test_an_axis_of_few_decades_has_plain_numbers(
        self, errors: tuple[float, ...], named: set[str]
    ) -> None:
        ax = Figure().subplots()
        rows = [sine(seed=seed, error=error) for seed, error in enumerate(errors)]
        figures.metric_by_length(pd.DataFrame(rows), ax)
        ax.figure.draw_without_rendering()
        low, high = ax.get_ylim()
        ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
        shown = {t.label1.get_text() for t in ticks if low <= t.get_loc() <= high} - {""}
        assert named <= shown
        assert not [text for text in shown if "times" in text]

    def test_a_condition_without_runs_has_the_axis_of_the_others(self) -> None:
        runs = pd.concat([grid((100,)), pd.DataFrame([sine("lstm", length=50)])])
        figure = figures.training_histories(histories_of(runs), runs)
        assert "no data" in [text.get_text() for text in figure.axes[2].texts]
        assert {ax.get_yscale() for ax in figure.axes} == {"log"}
        assert {line.get_ydata()[0] for line in figure.axes[2].lines} == {0.5}

    def test_every_seed_is_a_line_in_the_colour_of_its_cell_along_epochs(self) -> None:
        runs = grid(lengths=(100,))
        figure = figures.training_histories(histories_of(runs), runs)
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["validation", "training", "always zero"]
        colours = set()
        for ax in figure.axes:
            solid = [line for line in ax.lines if line.get_linestyle() == "-"]
            assert len(solid) == 5 and ax.get_xscale() == "linear"
            colours |= {line.get_color() for line in solid}
        assert len(colours) == 3


class TestProgress:
    STUDY = Study(
        name="waves", task="sine", cells=("lstm",), lengths=(100,), seeds=range(3),
        learning_rate=1e-3, epochs=60, hidden=11,
    )  # fmt: skip

    def tell(self, progress: PlainProgress | Progress) -> None:
        (pack,) = packs(self.STUDY.trials(), 3)
        progress.plan(self.STUDY, [pack], 0)
        progress.started(pack)
        epochs = np.arange(1, 5)
        rows = zip(pack.trials, (0.02, 0.0048, 0.3), strict=True)
        fall = {
            t.id: {"epoch": epochs, "val_loss": np.array([0.5, e, 4 * e, np.nan])} for t, e in rows
        }
        progress.epochs(pack, fall)

    def test_lines(self, tmp_path) -> None:
        ticks = itertools.count(step=60.0)
        with (tmp_path / "log").open("w") as file:
            plain = PlainProgress(file, lambda: next(ticks))
            self.tell(plain)
            plain.close()
        text = (tmp_path / "log").read_text()
        assert "epoch 4/60, median loss 8.0e-2, diverged 0; 0 of 3 trials done" in text
        assert "solved" not in text and "accuracy" not in text

    def test_table(self) -> None:
        console = Console(width=80, height=24, color_system=None)
        live = Progress(Console(file=io.StringIO(), force_terminal=True, width=80))
        self.tell(live)
        text = printed(live, console)
        live.close()
        *_, head, row = text.splitlines()
        assert head.split()[-3:] == ["loss", "best", "diverged"]
        assert row.split() == ["lstm", "100", "0-2", "4/60", "8.0e-2", "4.8e-3", "0"]


def printed(renderable: object, console: Console | None = None) -> str:
    console = console or Console(width=80, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
