"""Plans and tables as text for 80 columns."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from rnn_study import aggregate
from rnn_study.config import packs
from rnn_study.execution import Execution
from rnn_study.reporting import terminal
from rnn_study.tasks import TASKS

SCRIPT = Path(__file__).parents[1] / "studies" / "symbol_length.py"
ACCURACY = TASKS["symbol"].metric
HEADS = ["length", "solved", "95%", "IQM", "quartiles", "range", "epochs"]


class TestPlan:
    def test_nothing_left(self, script):
        text = shown(terminal.plan(script.PAPER, Execution(), [], 480, "2 CPU cores", 0.0))
        assert text.startswith("symbol-length: 480 trials, 480 finished, nothing to train\n")

    def test_the_paper_fits_80_columns(self, script):
        todo = packs(script.PAPER.trials(), 32)
        text = shown(terminal.plan(script.PAPER, Execution(), todo, 0, "8 GPUs", None))
        assert "480 to train in 15 packs" in text
        assert "time       not known here" in text
        assert max(map(len, text.splitlines())) <= 80


class TestTables:
    @pytest.fixture
    def runs(self, script) -> pd.DataFrame:
        """Made-up runs of four cells: one solves all, one nothing, some diverge or fail."""
        cells = ("lstm", "stable_lstm", "orthogonal", "stable_lstm_provable")
        study = replace(script.PAPER, cells=cells, seeds=range(3), epochs=60)
        rows = []
        for trial in study.trials():
            solved = trial.cell == "lstm" or (trial.cell == "orthogonal" and trial.seed < 1)
            failed = trial.cell == "stable_lstm" and trial.seed == 2
            values = {name: getattr(trial, name) for name in (f.name for f in fields(trial))}
            results = {
                "trial_id": trial.id,
                "status": "FAILED" if failed else "FINISHED",
                "val_accuracy": 1.0 if solved else 0.2 + trial.seed / 10,
                "best_val_accuracy": 1.0 if solved else 0.3,
                "epochs_trained": 20.0 if solved else 60.0,
                "epochs_to_solve": 20.0 if solved else np.nan,
                "solved": solved,
                "diverged": trial.cell == "stable_lstm" and trial.seed == 1,
            }
            rows.append({**values, **results})
        return pd.DataFrame(rows)

    def test_lengths(self, runs):
        text = shown(terminal.length_table(aggregate.length_table(runs), ACCURACY))
        assert max(map(len, text.splitlines())) <= 80
        assert "lstm            stable_lstm" in text
        assert "     500   1.000  1.000     3/3   0.250  0.300     0/2 " in text
        crossed = pd.concat([runs.assign(data_seed=d, hidden=7 + d) for d in range(2)])
        text = shown(terminal.length_table(aggregate.length_table(crossed), ACCURACY))
        assert max(map(len, text.splitlines())) <= 80 and "…" not in text
        assert "  length  hidden  data seed  median   best  solved  median   best  solved" in text
        assert "     500       8          1   1.000  1.000     3/3   0.250  0.300     0/2" in text

    def test_seeds(self, runs):
        text = shown(terminal.seed_sensitivity(aggregate.seed_sensitivity(runs), ACCURACY))
        assert max(map(len, text.splitlines())) <= 80
        sections = [line for line in text.splitlines() if ", rate 0.01" in line]
        assert len(sections) == 4
        assert "     500     3/3  0.29-1.00  1.000  1.00-1.00  1.00-1.00      20" in text
        assert "     500     1/3  0.01-0.91" in text
        assert "0.20-0.30     >60  1 diverged,\n" in text
        assert "1 failed\n" in text

    def test_seeds_by_errors_with_a_goal(self, runs):
        metric = replace(ACCURACY, logarithmic=True)
        text = shown(terminal.seed_sensitivity(aggregate.seed_sensitivity(runs), metric))
        assert text.splitlines()[2].split() == HEADS
        assert "     500    0/2 0.00-0.84   0.25     0.23..0.28     0.20..0.30    >60 1" in text
        assert " diverged,\n" in text and " 1 failed\n" in text

    def test_cells_against_each_other(self, runs):
        compared = aggregate.cell_comparison(runs)
        text = shown(terminal.cell_comparison(compared, ACCURACY))
        assert max(map(len, text.splitlines())) <= 80
        assert len([line for line in text.splitlines() if " over " in line]) == 5 * 6
        assert "      50  lstm over orthogonal                     0.83  0.36-0.98  1\n" in text
        settings = pd.concat([runs, runs.assign(learning_rate=0.001, hidden=7)])
        text = shown(terminal.cell_comparison(aggregate.cell_comparison(settings), ACCURACY))
        assert max(map(len, text.splitlines())) <= 80
        assert text.splitlines()[2].split() == ["length", "hidden", "cell", "better", "95%", "p"]
        rates = pd.concat([runs, runs.assign(learning_rate=0.001)])
        text = shown(terminal.cell_comparison(aggregate.cell_comparison(rates), ACCURACY))
        assert "  lstm, rate 0.001 " in text and "over orthogonal, rate 0.01\n" in text
        assert max(map(len, text.splitlines())) <= 80

    def test_whose_the_variance_is(self, runs):
        """Every seed on three data seeds, whose accuracies are farther apart than the seeds'."""
        crossed = [runs.assign(data_seed=d, val_accuracy=runs["seed"] + 4.0 * d) for d in range(3)]
        text = shown(
            terminal.variance_split(aggregate.variance_split(pd.concat(crossed)), ACCURACY)
        )
        assert max(map(len, text.splitlines())) <= 80
        # variances of 0, 4, 8 and of 0, 1, 2: 16 and 1; one seed of the stable LSTM failed
        assert "  lstm                      50  0.01   3 x 3   94%       6%   <1%\n" in text
        assert "  stable_lstm               50  0.01   3 x 2   97%       3%   <1%\n" in text

    def test_failures_are_named_with_their_reason(self, script):
        trials = script.LAPTOP.trials()
        reasons = {trial.id: "OutOfMemoryError: no\nmore" for trial in trials[1:4]}
        assert shown(terminal.failures(trials, reasons)).splitlines() == [
            "3 trials failed",
            "  lstm, length 50, rate 0.01, seeds 1-3",
            "    OutOfMemoryError: no more",
        ]


def shown(renderable: object) -> str:
    console = Console(width=80, highlight=False, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_bytes_are_written_without_an_exponent():
    shown = [terminal._megabytes(size) for size in (35_000, 1_200_000, 998_000_000, 1_684_300_000)]
    assert shown == ["0.035", "1.2", "998", "1,684"]
