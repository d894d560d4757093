"""Kill it anywhere, run it again: its numbers equal those of the undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from commands import Storage, processes, wait_until
from small import results

from rnn_study import aggregate, tracking

LONGER = (
    *("--cells", "lstm", "orthogonal", "--seeds", "3", "--pack-size", "2"),
    *("--epochs", "300", "--learning-rate", "1e-5", "--checkpoint-seconds", "0.2"),
)
"""The smoke study in four packs, two at a time, that solve nothing and so train for seconds: long
enough to be caught in the middle, and again after another start."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("undisturbed") / "storage")
    process = storage.run(*LONGER)
    assert process.returncode == 0, process.stdout + process.stderr
    return storage


@pytest.fixture
def storage(tmp_path):
    storage = Storage(tmp_path / "storage")
    yield storage
    storage.close()


def in_the_middle(storage: Storage) -> bool:
    """Some trial has a checkpoint, and not all have ended."""
    return any(path.name > "epoch-00000003" for path in storage.checkpoints())


def actors(storage: Storage) -> set[int]:
    """Processes that train."""
    return {*processes(storage.home, "ray::ImplicitFunc")}


def finished(storage: Storage, count: int) -> pd.DataFrame:
    """The runs, so many, each of which has finished and is there once."""
    runs = storage.runs
    assert set(runs["status"]) == {"FINISHED"}
    assert len(runs) == runs["trial_id"].nunique() == count
    return runs


def assert_as_undisturbed(storage: Storage, undisturbed: Storage) -> None:
    assert storage.tables() == undisturbed.tables()
    finished(storage, len(undisturbed.runs))
    storage.wait_for_actors()


def assert_as_trained_here(storage: Storage) -> None:
    """Every run has each number that its trial has when it is trained here."""
    runs = finished(storage, 6)
    histories = tracking.read_histories(storage.uri, runs)
    for _, of_cell in runs.groupby("cell"):
        by_trial = {aggregate.trial_of(run): run for _, run in of_cell.iterrows()}
        for trial, found in results(by_trial).items():
            assert found.history["epoch"][-1] == trial.epochs == by_trial[trial]["epochs_trained"]
            for name in ("train_loss", "val_loss", "val_accuracy", "gradient_norm"):
                recorded = histories[trial.id][name]
                np.testing.assert_array_equal(recorded, found.history[name], err_msg=name)
            accuracies = found.history["val_accuracy"]
            assert by_trial[trial]["val_accuracy"] == accuracies[-1]
            assert by_trial[trial]["best_val_accuracy"] == accuracies.max()
    storage.wait_for_actors()


def test_a_worker_is_killed_and_then_the_driver(storage):
    driver = storage.start(*LONGER)
    wait_until(lambda: in_the_middle(storage), 90, "the first checkpoints")
    before = actors(storage)
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: actors(storage) - before, 90, "another actor")
    assert driver.poll() is None, storage.output
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert (storage.runs["status"] == "RUNNING").any()
    storage.wait_for_actors()
    again = storage.run(*LONGER)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_as_trained_here(storage)


@pytest.mark.slow  # what keeps two drivers apart is among the quick tests of the storage too
def test_a_running_study_is_not_started_twice_and_ends_where_ray_is_killed(storage):
    """The driver notices, instead of waiting for ever."""
    endless = (*LONGER, "--epochs", "15000")
    driver = storage.start(*endless)
    wait_until(lambda: in_the_middle(storage), 90, "the first checkpoints")
    second = storage.run(*endless)
    assert second.returncode == 2
    assert str(driver.pid) in second.stderr
    assert len(second.stderr.splitlines()) == 1
    for pid in processes(storage.home, "raylet/raylet "):
        os.kill(pid, signal.SIGKILL)
    assert driver.wait(90) == 1
    assert "Ray has died" in storage.output
    assert "KILLED" in set(storage.runs["status"])
    assert not (storage.runs["status"] == "RUNNING").any()


@pytest.mark.slow  # that a stop ends its runs is among the quick tests of jobs too
def test_a_stop_marks_unfinished_runs_killed_and_the_next_run_finishes_them(storage, undisturbed):
    driver = storage.start(*LONGER)
    wait_until(lambda: in_the_middle(storage), 90, "the first checkpoints")
    driver.send_signal(signal.SIGINT)
    assert driver.wait(30) == 128 + signal.SIGINT, storage.output
    status = set(storage.runs["status"])
    assert "KILLED" in status
    assert status <= {"KILLED", "FINISHED"}
    assert processes(storage.home) == {}
    again = storage.run(*LONGER)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_as_undisturbed(storage, undisturbed)


@pytest.mark.slow  # that failed trials fail their study is also among the quick tests below
def test_a_pack_that_cannot_train_fails_alone_and_is_tried_again_next_time(storage, undisturbed):
    victim = undisturbed.runs.query("cell == 'orthogonal'").iloc[0]["trial_id"]
    checkpoints = storage.folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / victim).write_text("a file where the trial's folder should be")
    first = storage.run(*LONGER, "--retries", "1", "--pack-size", "1")
    assert first.returncode == 1, first.stdout + first.stderr
    runs = storage.runs.set_index("trial_id")
    assert runs.loc[victim, "status"] == "FAILED"
    assert victim in runs.loc[victim, "failure"] or "exists" in runs.loc[victim, "failure"]
    assert set(runs.drop(victim)["status"]) == {"FINISHED"}
    assert runs.loc[victim, "failure"] in first.stdout
    (checkpoints / victim).unlink()
    again = storage.run(*LONGER)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_as_undisturbed(storage, undisturbed)


@pytest.mark.slow  # as after a kill, from the same checkpoints
def test_trained_trials_whose_record_is_lost_are_recorded_without_training(storage, undisturbed):
    shutil.copytree(undisturbed.folder, storage.folder)
    trained = {path: path.stat().st_mtime_ns for path in storage.checkpoints()}
    (storage.folder / "mlflow.db").unlink()
    again = storage.run(*LONGER)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in storage.checkpoints()} == trained
    assert_as_undisturbed(storage, undisturbed)


@pytest.mark.slow  # what a pack that fails comes to is tested without Ray too
def test_packs_that_are_killed_before_they_start_fail_with_the_reason(storage):
    """Ray kills what runs when memory is low; here it finds it low at once."""
    low = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    process = storage.run("--cells", "lstm", "--retries", "0", **low)
    assert process.returncode == 1, process.stdout + process.stderr
    (reason,) = set(storage.runs["failure"])
    assert "killed" in reason and "low on memory" in reason
    assert set(storage.runs["status"]) == {"FAILED"}
    assert "2 trials failed" in process.stdout
    assert "packs trained 0.0 s" in process.stdout
