"""The command line: what it accepts, what it refuses and how, what `--help` teaches.

Whole studies are in `studies/`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from rnn_study import cli, fetch_text, sample
from rnn_study.config import Study
from rnn_study.execution import Execution
from rnn_study.flags import script as flag_script
from rnn_study.flags.study import Request
from rnn_study.flags.words import written
from rnn_study.tasks import TASKS

SCRIPT = Path(__file__).parents[1] / "studies" / "symbol_length.py"
OF_TEXTS = ("test_size", "dropout", "vocabulary", "words", "corpus")
"""Fields that the symbol task refuses."""
ACCURACY = TASKS["symbol"].metric


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
            "tf32": "",
            "dynamics_every": "3",
            "patience": "5",
            "least_rate": "0.001",
            "orthogonal_rate": "0.2",
            "name": "mine",
            "task": "sine",
            "cells": "lstm",
            "lengths": "60",
            "seeds": "2:4",
            "learning_rate": "0.3",
            "data_seed": "9",
            "tie_seeds": "",
            "data_seeds": "4",
            "pack_size": "auto",
            "memory_per_pack": "2.5",
            "device": "cpu",
            "cpus_per_pack": "2",
            "gpus_per_pack": "0.5",
            "cuda_graphs": "off",
            "retries": "0",
            "checkpoint_seconds": "7.5",
            "storage": str(tmp_path),
            "tracking_uri": "http://host",
            "ray_address": "local",
        }
        every = [field.name for field in (*fields(Study), *fields(Execution))]
        assert list(new) == [name for name in every if name not in OF_TEXTS]
        flags = {name: f"--{name.replace('_', '-')} {value}" for name, value in new.items()}
        crossed = flags.pop("data_seeds")  # refused with --tie-seeds
        request = ask(" ".join(flags.values()))
        assert ask(crossed).study == replace(script.LAPTOP, data_seeds=4)
        for asked, preset in (
            (request.study, script.LAPTOP),
            (request.execution, script.PRESETS["laptop"].execution),
        ):
            for field in fields(asked):
                if field.name in ("data_seeds", *OF_TEXTS):
                    continue
                assert getattr(asked, field.name) != getattr(preset, field.name), field.name

    def test_a_flag_overrides_the_preset_that_follows_it(self, ask):
        study = ask("--hidden=7 --preset smoke").study
        assert (study.name, study.hidden) == ("symbol-length-smoke", 7)


class TestHelp:
    @pytest.fixture
    def help(self, script, home, capsys) -> str:
        with pytest.raises(SystemExit) as exit:
            cli.main(script.PRESETS, script.QUESTION, ["--preset", "smoke", "--help"])
        assert exit.value.code == 0
        assert list(home.rglob("*")) == []
        return capsys.readouterr().out

    @pytest.mark.parametrize("command", ["studies/sine_wave.py", "-m rnn_study.fetch_text"])
    def test_ends_quietly_where_nobody_reads_on(self, command):
        line = [sys.executable, *command.split(), "--help"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(line, cwd=SCRIPT.parents[1], text=True, **pipes) as process:
            process.stdout.close()
            assert process.stderr.read() == ""

    def test_fits_80_columns(self, help):
        assert max(map(len, help.splitlines())) <= 80
        assert "\N{ESCAPE}" not in help

    def test_explains_every_flag(self, help):
        asked = [field for field in (*fields(Study), *fields(Execution)) if field.name != "corpus"]
        for field in asked:
            assert f" --{field.name.replace('_', '-')} " in help
        text = " ".join(help.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
        assert "Sequence lengths, time steps. (default: 50)" in text
        assert "several numbers mean those, a:b means a to b - 1. (default: 2)" in text
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


class TestHelpOfScripts:
    @pytest.mark.parametrize("module", [sample, fetch_text])
    def test_fits_80_columns_and_names_no_none(self, module, home, capsys):
        with pytest.raises(SystemExit):
            flag_script.parse(module.Settings, module.TEXT, ["--help"])
        help = capsys.readouterr().out
        lines = [line for line in help.splitlines() if not line.startswith("usage:")]  # tyro's
        assert max(map(len, lines)) <= 80
        assert "None" not in help
        assert " ".join(module.TEXT.split()) in " ".join(help.split())

    def test_indented_paragraphs_are_left_as_they_are(self):
        assert flag_script.wrapped("a\nb\n\n  c\n    d\n") == "a b\n\n  c\n    d"


class TestDryRun:
    def test_prints_the_plan_and_starts_nothing(self, script, home, capfd):
        argv = ["--dry-run", "--seeds", "3", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        lines = printed.out.splitlines()
        assert lines[0] == "symbol-length-laptop: 27 trials, 0 finished, 27 to train in 9 packs"
        assert "  lstm            100   0.01    0-2  1 x 3     14.1   21%  " in printed.out
        assert any(line.startswith("  resources  ") and " at once" in line for line in lines)
        assert any(line.startswith("  time       about ") for line in lines)
        assert f"sqlite:///{home}/storage/mlflow.db" in printed.out.replace("\n", "").replace(
            " ", ""
        )
        assert max(map(len, lines)) <= 80
        assert list(home.rglob("*")) == []


class TestMlflowCommand:
    def test_of_the_embedded_store(self, tmp_path, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        command = cli.mlflow_command(Execution(storage=tmp_path / "a b"), "#/page")
        command, address = command.splitlines()
        assert command.endswith(
            f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/a b/mlflow.db'"
        )
        assert address == "then open http://127.0.0.1:5000/#/page"
        program = command.split()[0]
        assert Path(program).is_file()

    def test_of_a_server(self):
        execution = Execution(tracking_uri="https://me:secret@host:5000")
        assert cli.mlflow_command(execution, "#/page") == "https://me:***@host:5000/#/page"
