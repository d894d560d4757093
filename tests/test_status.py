"""`--status`: a study that runs, one that ended, one that may be dead, and none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from rnn_study import cli, tracking
from rnn_study.reporting import status
from rnn_study.tracking import Tracker

NODE = "a-node-with-a-long-name.example, Ray node 1234abcd"
DEVICE = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def study(script):
    return replace(script.SMOKE, cells=("lstm", "orthogonal"), epochs=40)


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def printed(capsys, uri: str, study, *flags: str) -> str:
    argv = ["--preset", "smoke", "--name", study.name, "--status", "--tracking-uri", uri, *flags]
    assert cli.main({"smoke": PRESET, "laptop": PRESET}, "question", argv) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80, out
    return out


@pytest.fixture(autouse=True)
def preset(script, home):
    global PRESET
    PRESET = script.PRESETS["smoke"]


def history(epochs: int) -> dict[str, np.ndarray]:
    number = np.arange(1, epochs + 1)
    return {"epoch": number, "val_accuracy": number / 100, "learning_rate": number * 0 + 1e-2}


def begun(uri, study, tmp_path) -> Tracker:
    """Three trials run, one of them has failed; nothing is heard of the others."""
    tracker = Tracker(uri, study, tmp_path / "artifacts")
    trials = study.trials()[:4]
    tracker.open(trials, {"host": "head.example"})
    tracker.start(trials[:3])
    tracker.place([trials[0].id], NODE, DEVICE)
    tracker.log({trials[0].id: history(7), trials[1].id: history(9)})
    tracker.fail([trials[2].id], "it broke")
    return tracker


def test_a_running_study_is_shown_and_then_that_it_ended(uri, study, tmp_path, capsys):
    tracker = begun(uri, study, tmp_path)
    tracker._opened[1].drain()
    client = MlflowClient(uri)  # a newer declaration that has ended is not the one that runs
    at = client.get_experiment_by_name(study.name).experiment_id
    newer = client.create_run(at, tags={"rnn_study.study_id": "another"})
    client.set_terminated(newer.info.run_id)
    out = printed(capsys, uri, study)
    counted = "0 of 3 begun trials finished, of 6 asked for"
    assert f"{study.name}: running on head.example\n  {counted}\n" in out
    row = next(line.split() for line in out.splitlines() if line.split()[:2] == ["lstm", "50"])
    assert row == ["lstm", "50", "0.01", "0", "2", "0", "0", "7-9"]
    assert "  trials  device " in out and "not told yet" in out and "…" not in out
    assert {*NODE.split(), *DEVICE.split()} <= {*out.split()}  # all of it, on two lines
    tracker.interrupt()
    out = printed(capsys, uri, study)
    assert out.startswith(f"{study.name}: not running; {counted}.")
    assert len(out.splitlines()) == 1


def test_where_there_is_none_it_says_so_in_a_line_and_creates_nothing(uri, study, tmp_path, capsys):
    out = printed(capsys, uri, study)
    assert out == f"{study.name}: never run; MLflow has no study of this name.\n"
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".db"]


def test_a_driver_that_is_silent_for_long_may_be_dead(uri, study, tmp_path):
    tracker = begun(uri, study, tmp_path)
    tracker._opened[1].drain()
    found = tracking.read_status(uri, study.name)
    for later, dead in ((60.0, False), (3000.0, True)):
        console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
        console.print(status.show(study, found, now=found.heard + later))
        assert ("may be dead" in console.export_text()) == dead
    tracker.interrupt()


def test_a_server_that_is_away_is_refused(study, capsys):
    argv = ["--status", "--tracking-uri", "http://127.0.0.1:9"]
    assert cli.main({"laptop": PRESET}, "question", argv) == 2
    assert "no MLflow server answers" in capsys.readouterr().err
