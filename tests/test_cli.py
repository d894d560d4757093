"""The command line: what it accepts, what it refuses and how, what `--help` teaches.

Whole studies are in `test_study.py`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from rnn_study import aggregate, cli, terminal
from rnn_study.arguments import Request, parse
from rnn_study.config import Study, packs
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.tasks import TASKS
from rnn_study.words import written

SCRIPT = Path(__file__).parents[1] / "studies" / "symbol_length.py"
ACCURACY = TASKS["symbol"].metric


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("symbol_length", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(script) -> Callable[..., Request]:
    """What a command line, given as one string, asks for."""
    return lambda line="": parse(script.PRESETS, script.QUESTION, line.split())


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the home and the working directory, on a plain terminal."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["studies/symbol_length.py"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestFlags:
    def test_without_flags_the_laptop_preset_is_asked_for(self, ask, script):
        assert ask() == Request(script.LAPTOP, script.PRESETS["laptop"].execution, dry_run=False)

    @pytest.mark.parametrize("preset", ["smoke", "laptop", "paper"])
    def test_a_preset_alone_is_its_own_study(self, ask, script, preset):
        request = ask(f"--preset {preset}")
        assert request.study == script.PRESETS[preset].study
        assert request.execution == script.PRESETS[preset].execution

    def test_presets_have_experiments_of_their_own(self, script):
        names = [preset.study.name for preset in script.PRESETS.values()]
        assert names == ["symbol-length-smoke", "symbol-length-laptop", "symbol-length"]

    def test_the_paper_is_the_paper(self, script):
        study = script.PAPER
        assert study.lengths == (50, 100, 200, 300, 500)
        assert study.cells == ("lstm", "stable_lstm", "orthogonal")
        assert (study.hidden, study.epochs, study.batch, study.clip) == (200, 15_000, 100, 0.25)
        assert (study.train_size, study.val_size) == (1000, 1000)
        assert (study.learning_rate, study.decay_epochs) == (1e-2, (500, 1000, 2000))

    def test_the_line_of_the_readme(self, ask, tmp_path):
        request = ask(
            "--cells lstm orthogonal --lengths 50 100 --seeds 16 --epochs 200 --learning-rate 1e-2 "
            f"--hidden 100 --pack-size 8 --storage {tmp_path} --tracking-uri http://host:5000 "
            "--device cpu --dry-run"
        )
        study, execution = request.study, request.execution
        assert (study.cells, study.lengths) == (("lstm", "orthogonal"), (50, 100))
        assert study.seeds == tuple(range(16))
        assert (study.epochs, study.learning_rate, study.hidden) == (200, 1e-2, 100)
        assert (execution.pack_size, execution.device) == (8, "cpu")
        assert (execution.storage, execution.tracking_uri) == (tmp_path, "http://host:5000")
        assert request.dry_run

    @pytest.mark.parametrize(
        ("words", "seeds"),
        [
            ("16", tuple(range(16))),
            ("1", (0,)),
            ("3 5 8", (3, 5, 8)),
            ("4:8", (4, 5, 6, 7)),
            ("0:2 7", (0, 1, 7)),
        ],
    )
    def test_seeds(self, ask, words, seeds):
        assert ask(f"--seeds {words}").study.seeds == seeds

    def test_a_learning_rate_for_each_cell(self, ask):
        study = ask("--cells lstm orthogonal --learning-rate lstm=1e-2 orthogonal=1e-3").study
        assert study.learning_rate == {"lstm": 1e-2, "orthogonal": 1e-3}

    @pytest.mark.parametrize(
        ("words", "epochs"),
        [
            ("20 40", (20, 40)),
            ("", ()),
            ("lstm=20,40 orthogonal=30", {"lstm": (20, 40), "orthogonal": (30,)}),
        ],
    )
    def test_decay_epochs_for_all_cells_or_for_some(self, ask, words, epochs):
        assert ask(f"--decay-epochs {words}").study.decay_epochs == epochs
        assert written("decay_epochs", epochs) == words.split()

    def test_every_field_is_a_flag(self, ask, script, tmp_path):
        """Of each field, a value that differs from the preset's."""
        new = {
            "hidden": "7",
            "epochs": "11",
            "batch": "50",
            "train_size": "150",
            "val_size": "13",
            "decay_epochs": "2 4",
            "decay": "0.5",
            "clip": "2",
            "batch_loss": "sum",
            "name": "mine",
            "task": "sine",
            "cells": "lstm",
            "lengths": "60",
            "seeds": "2:4",
            "learning_rate": "0.3",
            "data_seed": "9",
            "tie_seeds": "",
            "pack_size": "3",
            "device": "cpu",
            "cpus_per_pack": "2",
            "gpus_per_pack": "0.5",
            "retries": "0",
            "checkpoint_seconds": "7.5",
            "storage": str(tmp_path),
            "tracking_uri": "http://host",
            "ray_address": "local",
        }
        assert list(new) == [field.name for field in (*fields(Study), *fields(Execution))]
        request = ask(" ".join(f"--{name.replace('_', '-')} {v}" for name, v in new.items()))
        for asked, preset in (
            (request.study, script.LAPTOP),
            (request.execution, script.PRESETS["laptop"].execution),
        ):
            for field in fields(asked):
                assert getattr(asked, field.name) != getattr(preset, field.name), field.name

    def test_a_flag_overrides_the_preset_that_follows_it(self, ask):
        study = ask("--hidden=7 --preset smoke").study
        assert (study.name, study.hidden) == ("symbol-length-smoke", 7)


REFUSED = {
    "--cells gru": "cells: 'gru' is not allowed; choose from lstm, orthogonal, stable_lstm",
    "--cells": "cells: () is not allowed; use at least one",
    "--lengths 49": "length: 49 is not allowed; the symbol task needs at least 50 time steps",
    "--lengths long": "lengths: 'long' is not allowed; use whole numbers",
    "--seeds 0": "seeds: '0' is not allowed; use at least one seed",
    "--seeds": "seeds: '' is not allowed; use at least one seed",
    "--seeds 5:3": "seeds: '5:3' is not allowed; use at least one seed",
    "--seeds a:b": "seeds: 'a:b' is not allowed; use a number n for 0 to n - 1",
    "--seeds 3 3": "seeds: (3, 3) is not allowed; use each value once",
    "--learning-rate -0.01": "learning_rate: -0.01 is not allowed; use a finite number above 0",
    "--learning-rate nan": "learning_rate: nan is not allowed; use a finite number above 0",
    "--learning-rate fast": "learning_rate: 'fast' is not allowed; use one number, or CELL",
    "--learning-rate lstm=x": "learning_rate: 'lstm=x' is not allowed; use one number, or CELL",
    "--learning-rate lstm=1": "learning_rate: {'lstm': 1.0} is not allowed; give one for each cell",
    "--learning-rate gru=1": "learning_rate: 'gru=1' is not allowed; use one number, or CELL",
    "--learning-rate 1 lstm=1": "learning_rate: '1 lstm=1' is not allowed; use one number, or CELL",
    "--decay-epochs 2.5": "decay_epochs: '2.5' is not allowed; use whole numbers",
    "--decay-epochs lstm=x": "decay_epochs: 'lstm=x' is not allowed; use whole numbers, or CELL=",
    "--decay-epochs gru=5": "decay_epochs: 'gru=5' is not allowed; use whole numbers, or CELL=",
    "--pack-size 0": "pack_size: 0 is not allowed; use a whole number of at least 1",
    "--pack-size 1.5": "pack_size: '1.5' is not allowed; use a whole number",
    "--epochs": "epochs: '' is not allowed; give one value",
    "--epochs 3 4": "epochs: '3 4' is not allowed; give one value",
    "--batch 33": "batch: 33 is not allowed; use a divisor of train_size = 1000",
    "--device tpu": "device: 'tpu' is not allowed; choose from auto, cpu, cuda",
    "--name a/b": "name: 'a/b' is not allowed; use at most 100 letters",
    "--preset big": "preset: 'big' is not allowed; choose from laptop, paper, smoke",
    "--preset": "preset: '' is not allowed; give one value",
    "--cels lstm": "argument: '--cels' is not allowed; did you mean --cells?",
    "--dryrun": "argument: '--dryrun' is not allowed; did you mean --dry-run?",
    "smoke": "argument: 'smoke' is not allowed; --help lists what is",
    "--tracking-uri http://127.0.0.1:9": "tracking_uri: 'http://127.0.0.1:9' is not allowed; no ",
    "--tracking-uri server": "tracking_uri: 'server' is not allowed; use sqlite:///FILE",
}


class TestRefusals:
    @pytest.mark.parametrize(("line", "error"), REFUSED.items())
    def test_one_line_names_field_value_and_what_is_allowed(self, script, home, capfd, line, error):
        argv = [*line.split(), "--dry-run", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 2
        printed = capfd.readouterr()
        assert printed.err.startswith(f"error: {error}")
        assert printed.err.count("\n") == 1
        assert printed.out == ""
        assert list(home.rglob("*")) == []

    def test_a_process_says_no_more_and_creates_nothing(self, home):
        environment = {**os.environ, "HOME": str(home)}
        command = [sys.executable, str(SCRIPT), "--cells", "gru"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: cells: 'gru' is not allowed; choose from ")
        assert done.stderr.count("\n") == 1
        assert list(home.rglob("*")) == []

    @pytest.mark.parametrize("folder", ["/proc/rnn_study", "a_file/below", "a_file", "dangling"])
    def test_storage_that_cannot_be_written(self, script, home, capfd, folder):
        (home / "a_file").touch()
        (home / "dangling").symlink_to("/proc/nothing")
        before = sorted(home.rglob("*"))
        assert cli.main(script.PRESETS, script.QUESTION, ["--storage", folder]) == 2
        printed = capfd.readouterr()
        assert printed.err.startswith("error: storage: '/")
        assert "is not allowed; use a folder that you can write to (" in printed.err
        assert printed.err.count("\n") == 1
        assert sorted(home.rglob("*")) == before

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_storage_without_permission(self, script, home, capfd):
        home.chmod(0o500)
        assert cli.main(script.PRESETS, script.QUESTION, ["--storage", str(home / "s")]) == 2
        home.chmod(0o700)
        assert "permission denied" in capfd.readouterr().err

    def test_cuda_without_a_gpu(self, script, home, capfd, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        argv = ["--device", "cuda", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 2
        error = "error: device: 'cuda' is not allowed; PyTorch sees no GPU on this machine; "
        assert capfd.readouterr().err.startswith(error)
        assert list(home.rglob("*")) == []

    def test_a_preset_is_validated_as_a_flag_is(self, script):
        with pytest.raises(InvalidInput, match="hidden: 0 is not allowed"):
            replace(script.LAPTOP, hidden=0)


class TestHelp:
    @pytest.fixture
    def help(self, script, home, capsys) -> str:
        with pytest.raises(SystemExit) as exit:
            cli.main(script.PRESETS, script.QUESTION, ["--preset", "smoke", "--help"])
        assert exit.value.code == 0
        assert list(home.rglob("*")) == []
        return capsys.readouterr().out

    def test_fits_80_columns(self, help):
        assert max(map(len, help.splitlines())) <= 80
        assert "\N{ESCAPE}" not in help

    def test_explains_every_flag(self, help):
        for field in (*fields(Study), *fields(Execution)):
            assert f" --{field.name.replace('_', '-')} " in help
        text = " ".join(help.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
        assert "Sequence lengths, time steps. (default: 50)" in text
        assert "several numbers mean those; a:b means a to b - 1. (default: 2)" in text
        assert "(default: lstm=0.01 stable_lstm=0.01 orthogonal=0.003)" in text
        assert "Seconds between two checkpoints of a pack. (default: 30)" in text
        assert "None" not in text

    def test_teaches(self, help, script):
        assert " ".join(script.QUESTION.split()) in " ".join(help.split())
        assert "6 trials    3 cells x 1 length x 2 seeds, 10 epochs, hidden 32" in help
        assert "480 trials  3 cells x 5 lengths x 32 seeds, 15,000 epochs, hidden 200" in help
        assert "python studies/symbol_length.py --preset smoke --dry-run" in help
        assert "cells  lstm, stable_lstm, stable_lstm_provable, orthogonal" in help

    def test_examples_work(self, help, ask):
        commands = help.replace("\\\n", " ").splitlines()
        lines = [line.strip() for line in commands if line.startswith("  python ")]
        assert len(lines) > 3
        for line in lines:
            if "--help" not in line:
                ask(line.removeprefix("python studies/symbol_length.py"))


class TestDryRun:
    def test_prints_the_plan_and_starts_nothing(self, script, home, capfd):
        argv = ["--dry-run", "--seeds", "3", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        lines = printed.out.splitlines()
        assert lines[0] == "symbol-length-laptop: 27 trials, 0 finished, 27 to train in 9 packs"
        assert "  lstm            100   0.01  0-2         3      1            21%" in printed.out
        assert any(line.startswith("  resources  ") and " at once" in line for line in lines)
        assert any(line.startswith("  time       about ") for line in lines)
        assert f"sqlite:///{home}/storage/mlflow.db" in printed.out.replace("\n", "").replace(
            " ", ""
        )
        assert max(map(len, lines)) <= 80
        assert list(home.rglob("*")) == []

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

    def test_seeds(self, runs):
        text = shown(terminal.seed_sensitivity(aggregate.seed_sensitivity(runs), ACCURACY))
        assert max(map(len, text.splitlines())) <= 80
        sections = [line for line in text.splitlines() if ", rate 0.01" in line]
        assert len(sections) == 4
        assert "     500     3/3  0.29-1.00  1.000  1.00-1.00  1.00-1.00      20" in text
        assert "     500     1/3  0.01-0.91" in text
        assert "0.20-0.30     >60  1 diverged,\n" in text
        assert "1 failed\n" in text

    def test_failures_are_named_with_their_reason(self, script):
        trials = script.LAPTOP.trials()
        reasons = {trial.id: "OutOfMemoryError: no\nmore" for trial in trials[1:4]}
        assert shown(terminal.failures(trials, reasons)).splitlines() == [
            "3 trials failed",
            "  lstm, length 50, rate 0.01, seeds 1-3",
            "    OutOfMemoryError: no more",
        ]


class TestMlflowCommand:
    def test_of_the_embedded_store(self, tmp_path, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        command = cli.mlflow_command(Execution(storage=tmp_path / "a b"))
        assert command.endswith(
            f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/a b/mlflow.db'"
        )
        program = command.split()[0]
        assert Path(program).is_file()

    def test_of_a_server(self):
        execution = Execution(tracking_uri="https://me:secret@host:5000")
        assert cli.mlflow_command(execution) == "https://me:***@host:5000"


def shown(renderable: object) -> str:
    console = Console(width=80, highlight=False, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
