"""Tracking against real MLflow: what is written, read back, and repaired after a crash."""

from __future__ import annotations

import os
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
from tracked import (
    ENVIRONMENT,
    EPOCHS,
    SERIES,
    STUDY,
    TRIAL,
    TRIALS,
    Dies,
    assert_recorded,
    crash,
    dump,
    flush,
    history,
    opened,
    query,
    record,
    stored,
    summary,
    wait_until,
)

from rnn_study.config import Trial
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS
from rnn_study.tracking import (
    Tracker,
    TrackingError,
    finished_trials,
    read_histories,
    read_runs,
    signs,
)
from rnn_study.tracking.patience import Patience
from rnn_study.tracking.points import MOST_POINTS, final_point, points
from rnn_study.training.summary import summary as summary_of


def test_a_study_is_read_back_as_it_was_written(each_uri, study, tmp_path, capfd):
    tracker = opened(each_uri, tmp_path, study)
    record(tracker, TRIALS)
    tracker.close()
    assert_recorded(each_uri, study)
    assert 0 < tracker.cpu_seconds <= tracker.seconds
    assert capfd.readouterr() == ("", "")

    runs = read_runs(each_uri, study.name)
    own = ["task", "cell", "length", "learning_rate", "seed", "data_seed", "corpus"]
    inherited = [f.name for f in fields(Trial) if f.name not in own]
    assert [*runs][:3] == ["trial_id", "run_id", "status"]
    assert [*runs][3 : 3 + len(own) + len(inherited)] == own + inherited
    trials = {trial.id: trial for trial in TRIALS}
    for row in runs.to_dict("records"):
        fields_ = {name: row[name] for name in own + inherited}
        assert fields_ == asdict(trials[row["trial_id"]])
        assert {k: type(v) for k, v in fields_.items()} == {
            k: type(v) for k, v in asdict(TRIAL).items()
        }
    keys = [(t.cell, t.length, t.learning_rate, t.seed) for t in TRIALS]
    assert [*zip(runs.cell, runs.length, runs.learning_rate, runs.seed, strict=True)] == sorted(
        keys
    )
    assert runs.dtypes[["solved", "diverged"]].eq("bool").all()
    assert runs.dtypes["epochs_to_solve"] == "float64" and runs["epochs_to_solve"].isna().all()
    assert runs["failure"].tolist() == [None] * len(runs)


def test_the_parent_says_what_the_study_is_and_what_made_it(uri, tmp_path):
    tracker = opened(uri, tmp_path)
    tracker.start([TRIAL])
    tracker.close(failed=True)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(STUDY.name)
    by_name = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = by_name.pop(STUDY.name)
    (child,) = by_name.values()
    assert parent.info.status == "FAILED"
    assert parent.data.tags["rnn_study.study_id"] == STUDY.id
    assert parent.data.tags["environment.torch"] == "2.13.0"
    assert parent.data.tags["mlflow.source.git.commit"] == "0123abc"
    assert parent.data.params["cells"] == '["orthogonal", "lstm"]'
    artifact = tmp_path / "artifacts" / parent.info.run_id / "artifacts" / "study.json"
    assert pd.read_json(artifact, typ="series")["lengths"] == [53, 50]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["rnn_study.trial_id"] == TRIAL.id
    assert child.info.run_name == "orthogonal, length 53, rate 0.001, seed 5"
    assert child.data.params["decay_epochs"] == "[500, 1000, 2000]"
    assert child.info.status == "KILLED"  # started, and never ended


@pytest.mark.parametrize(
    ("limit", "trained"), [(1, 1), (199, 199), (200, 200), (399, 398), (1000, 517), (15000, 15000)]
)
def test_a_metric_has_at_most_200_points_and_its_last(limit, trained):
    trial = replace(TRIAL, epochs=limit)
    kept: dict[int, list[Metric]] = {}
    for first in range(1, trained + 1, 7):  # as it is reported, a few epochs at a time
        kept |= points(history(trial, min(first + 6, trained), first), limit, kept.keys())
    early = len(kept)
    kept |= points(history(trial, trained), limit, kept.keys(), ended=True)
    assert len(kept) <= early + 1
    stride = -(-limit // 199)
    assert {*kept} == {*range(stride, trained + 1, stride), trained}
    assert len(kept) <= MOST_POINTS
    assert {(m.key, m.step) for point in kept.values() for m in point} == {
        (name, epoch) for name in SERIES for epoch in kept
    }


@pytest.mark.parametrize("task", TASKS)
def test_the_last_value_of_a_metric_is_that_of_the_summary(task):
    """Also where the best epoch is not the last: what runs are compared by is read from there."""
    metric, values = TASKS[task].metric, np.array([0.5, 0.25, 0.75, 0.5])
    names = [metric.column, *[metric.test_column] * metric.tested]
    history = {"epoch": np.arange(1, 5), "learning_rate": np.ones(4), "seconds": np.ones(4)}
    history |= {name: values + k for k, name in enumerate(names)}
    numbers = summary_of(history, "unsolved", metric)
    sent = [each for point in points(history, 4, ()).values() for each in point]
    sent += final_point(history, numbers)
    latest = {each.key: each.value for each in sorted(sent, key=lambda each: each.step)}
    assert {name: latest[name] for name in numbers} == numbers
    best = 0.75 if metric.larger_is_better else 0.25
    assert [numbers[name] for name in metric.columns] == [0.5, best, best + 1][: len(names) + 1]


def test_what_is_not_finite_is_never_sent(uri, tmp_path):
    tracker = opened(uri, tmp_path)
    tracker.start(TRIALS[:1])
    broken = history(TRIAL)
    for name in ("train_loss", "val_loss", "gradient_norm", "val_accuracy"):
        broken[name][5:] = [np.nan, np.inf, -np.inf, np.nan, np.nan, np.inf, np.nan, np.nan]
    last = float(broken["val_accuracy"][4])
    tracker.log({TRIAL.id: {name: column[:9] for name, column in broken.items()}})
    numbers = {**summary(TRIAL), "diverged": 1.0, "val_accuracy": last, "best_val_accuracy": np.nan}
    tracker.finish(TRIAL.id, broken, numbers)
    tracker.close()
    rows = query(uri, "SELECT value, is_nan FROM metrics")
    latest = query(uri, "SELECT value, is_nan FROM latest_metrics")
    assert len(rows) == 4 * 5 + 2 * EPOCHS + 5
    assert all(abs(value) < 1e3 and not is_nan for value, is_nan in rows + latest)
    (row,) = read_runs(uri, STUDY.name).to_dict("records")
    assert row["diverged"] is True and row["val_accuracy"] == last
    assert np.isnan(row["best_val_accuracy"])
    frame = read_histories(uri, read_runs(uri, STUDY.name))[TRIAL.id]
    pd.testing.assert_frame_equal(frame, pd.DataFrame(broken), check_exact=True)


def test_after_a_crash_every_run_goes_on_and_no_point_is_stored_twice(each_uri, study, tmp_path):
    dead = opened(each_uri, tmp_path, study)
    record(dead, TRIALS[:2])
    dead.start(TRIALS[2:6])
    run_ids = {trial_id: child.run_id for trial_id, child in dead._children.items()}
    flush(dead, {trial.id: history(trial, 9) for trial in TRIALS[2:5]})
    wait_until(lambda: all(stored(each_uri, run_ids[t.id])["val_loss", 9] for t in TRIALS[2:5]))
    # It dies after it has written a trial's final metrics, and before it says FINISHED.
    dead._opened[1]._client = Dies(dead._opened[1]._client)
    dead.finish(TRIALS[2].id, history(TRIALS[2]), summary(TRIALS[2]))
    wait_until(lambda: stored(each_uri, run_ids[TRIALS[2].id])["epochs_trained", EPOCHS])
    crash(dead)
    runs = read_runs(each_uri, study.name).set_index("trial_id")
    assert runs["status"].value_counts().to_dict() == {"FINISHED": 2, "RUNNING": 4}
    assert finished_trials(each_uri, study) == {trial.id for trial in TRIALS[:2]}

    again = Tracker(each_uri, study, tmp_path / "artifacts")
    assert again.finished() == {trial.id for trial in TRIALS[:2]}
    again.open(TRIALS, ENVIRONMENT)
    again.start(TRIALS[2:])
    for trial in TRIALS[2:]:
        again.log({trial.id: history(trial, 11, 6)})  # from its checkpoint, after epoch 5
        again.log({trial.id: history(trial, 8, 6)})  # its pack crashed, and started again
        again.finish(trial.id, history(trial), summary(trial))
    again.close()
    assert_recorded(each_uri, study)
    after = read_runs(each_uri, study.name).set_index("trial_id")
    assert (after.loc[runs.index, "run_id"] == runs["run_id"]).all()


def test_a_finished_run_is_never_touched_again(uri, tmp_path):
    first = opened(uri, tmp_path)
    record(first, TRIALS)
    first.close()
    before = dump(uri)
    second = opened(uri, tmp_path)
    record(second, TRIALS)
    second.fail([TRIAL.id], "too late")
    second.close()
    assert_recorded(uri)
    changed = before ^ dump(uri)
    assert {row[0] for row in changed} == {"runs"}
    assert {row[2] for row in changed} == {STUDY.name}  # the parent's end, nothing else


def test_of_two_drivers_with_different_storages_the_second_is_refused(
    each_uri, study, tmp_path, monkeypatch
):
    """They share MLflow, but no lock. Where the first is dead, or lost, the second goes on."""
    monkeypatch.setattr(signs, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(signs, "DEAD_SECONDS", 2.0)
    first = opened(each_uri, tmp_path, study, place="/a on here")
    first.start(TRIALS[:2])
    narrow = replace(study, seeds=(2,))
    second = Tracker(each_uri, narrow, tmp_path / "artifacts", place="s3://b")
    allowed = f"process {os.getpid()} on .* --storage /a on here, .*use another --name"
    with pytest.raises(InvalidInput, match=f"storage: 's3://b' is not allowed; {allowed}"):
        second.require_alone()
    # within a storage there is a lock
    Tracker(each_uri, study, tmp_path / "artifacts", place="/a on here").require_alone()

    first._signs.stop()  # from here on it is cut off
    second.require_alone()
    second.open(narrow.trials(), ENVIRONMENT)
    first.finish(TRIALS[1].id, history(TRIALS[1]), summary(TRIALS[1]))
    wait_until(lambda: "FINISHED" in set(read_runs(each_uri, study.name)["status"]))
    assert TRIALS[1] in narrow.trials()
    second.start([TRIALS[1]])
    patience = Patience(each_uri, 900.0)
    taken = signs.Signs(first._client, patience, second._parent, "/a on here")
    wait_until(lambda: patience.lost)
    taken.stop()
    second.interrupt()
    runs = read_runs(each_uri, study.name).set_index("trial_id")
    assert runs["status"].to_dict() == {TRIALS[0].id: "KILLED", TRIALS[1].id: "FINISHED"}
    first._signs = signs.Signs(first._client, first._patience, first._parent, "/a on here")
    wait_until(lambda: first._patience.lost)
    with pytest.raises(TrackingError, match="took this one for dead"):
        first.log({TRIALS[0].id: history(TRIALS[0])})
    first.interrupt()
    assert read_runs(each_uri, study.name).set_index("trial_id")["status"].equals(runs["status"])


def test_what_a_dead_driver_left_is_repaired(uri, tmp_path):
    wide, narrow = STUDY, replace(STUDY, seeds=(2,))
    dead = opened(uri, tmp_path, wide)
    dead.start(TRIALS)
    crash(dead)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(STUDY.name).experiment_id
    twice = client.create_run(experiment, tags={"rnn_study.trial_id": narrow.trials()[0].id})
    empty = client.create_run(experiment, tags={"rnn_study.trial_id": "f" * 16})
    foreign = client.create_run(experiment, run_name="somebody's own")
    tracker = opened(uri, tmp_path, narrow)
    kept = {trial.id for trial in narrow.trials()}
    statuses = read_runs(uri, STUDY.name).set_index("trial_id")["status"].to_dict()
    assert statuses == {t.id: "RUNNING" if t.id in kept else "KILLED" for t in TRIALS}
    assert client.get_run(twice.info.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(empty.info.run_id).info.status == "KILLED"
    assert client.get_run(foreign.info.run_id).info.status == "RUNNING"
    parents = client.search_runs([experiment], "tags.`rnn_study.study_id` != ''")
    assert {run.data.tags["rnn_study.study_id"]: run.info.status for run in parents} == {
        wide.id: "KILLED",
        narrow.id: "RUNNING",
    }
    tracker.interrupt()  # before any has started
    assert set(read_runs(uri, STUDY.name)["status"]) == {"KILLED"}
    tracker = opened(uri, tmp_path, narrow)
    record(tracker, narrow.trials())
    tracker.close()
    rest = opened(uri, tmp_path, wide)
    record(rest, [trial for trial in TRIALS if trial.id not in rest.finished()])
    rest.close()
    runs = read_runs(uri, STUDY.name)
    assert runs["status"].tolist() == ["FINISHED"] * len(TRIALS)


def test_a_failed_trial_says_why_and_may_run_again(uri, tmp_path):
    reason = "RuntimeError: the disk is full\n" * 1000
    tracker = opened(uri, tmp_path)
    tracker.start(TRIALS[:1])
    tracker.log({TRIALS[0].id: history(TRIALS[0], 4)})
    tracker.fail([TRIALS[0].id, TRIALS[1].id], reason)  # the second never started
    tracker.close(failed=True)
    runs = read_runs(uri, STUDY.name).set_index("trial_id")
    assert runs["status"].tolist() == ["FAILED", "FAILED"]
    assert runs["failure"].str.startswith("RuntimeError: the disk is full").all()
    assert runs["val_accuracy"].isna().all()  # four epochs are no result
    assert stored(uri, runs.loc[TRIALS[0].id, "run_id"])["val_accuracy", 4] == 1
    again = opened(uri, tmp_path)
    again.start(TRIALS[:1])
    assert read_runs(uri, STUDY.name).set_index("trial_id")["failure"][TRIALS[0].id] is None
    again.fail([], "nothing")
    record(again, TRIALS)
    again.close()
    assert_recorded(uri)
