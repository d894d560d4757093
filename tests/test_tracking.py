"""Tracking against real MLflow: SQLite files, and a real server that is killed and cut off."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
from tracked import (
    DATABASES,
    ENVIRONMENT,
    EPOCHS,
    SERIES,
    STUDY,
    TRIAL,
    TRIALS,
    Dies,
    Proxy,
    Server,
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

from rnn_study.config import Study, Trial
from rnn_study.errors import InvalidInput
from rnn_study.tracking import (
    Tracker,
    TrackingError,
    finished_trials,
    patience,
    read_histories,
    read_runs,
    store,
    writer,
)
from rnn_study.tracking.points import MOST_POINTS, points


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """An empty store, made once: that takes MLflow a second."""
    folder = tmp_path_factory.mktemp("template")
    store.create_database(f"sqlite:///{folder / 'mlflow.db'}", folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def server(template, tmp_path_factory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(template, made.folder)
    DATABASES[made.uri] = made.folder / "mlflow.db"
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with Proxy(server.uri) as made:
        DATABASES[made.uri] = DATABASES[server.uri]
        yield made
        made.shutdown()


@pytest.fixture
def uri(template, tmp_path) -> str:
    shutil.copy(template, tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(params=["file", "server"])
def each_uri(request) -> str:
    if request.param == "file":
        return request.getfixturevalue("uri")
    return request.getfixturevalue("server").uri


@pytest.fixture
def study(request) -> Study:
    """The study under a name of the test's own, so that tests can share a server."""
    return replace(STUDY, name=re.sub(r"\W+", "-", request.node.name))


def test_a_study_is_read_back_as_it_was_written(each_uri, study, tmp_path, capfd):
    tracker = opened(each_uri, tmp_path, study)
    record(tracker, TRIALS)
    tracker.close()
    assert_recorded(each_uri, study)
    assert 0 < tracker.cpu_seconds <= tracker.seconds
    assert capfd.readouterr() == ("", "")

    runs = read_runs(each_uri, study.name)
    own = ["task", "cell", "length", "learning_rate", "seed", "data_seed"]
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


@pytest.mark.parametrize("fault", [None, "hang"])
def test_interrupt_is_quick_and_marks_what_it_can(fault, proxy, study, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.0)
    many = replace(study, seeds=range(5))
    tracker = opened(proxy.uri, tmp_path, many)
    trials = many.trials()
    tracker.start(trials)
    tracker.finish(trials[0].id, history(trials[0]), summary(trials[0]))
    wait_until(
        lambda: (
            tracker._opened[1].unfinished.keys()
            == {child.run_id for child in tracker._children.values() if not child.ended}
        )
    )
    tracker.log({trial.id: history(trial) for trial in trials})
    time.sleep(0.1)  # the writer is in the middle
    proxy.fault = lambda path: fault
    began = time.monotonic()
    tracker.interrupt()
    assert time.monotonic() - began < 3.0
    tracker.log({trials[1].id: history(trials[1])})
    tracker.close()
    proxy.fault = lambda path: None
    left = read_runs(proxy.uri, study.name)["status"].value_counts().to_dict()
    assert left == {"FINISHED": 1, "RUNNING" if fault else "KILLED": len(trials) - 1}
    with pytest.raises(TrackingError):
        tracker.start([replace(TRIAL, seed=99)])
    again = opened(proxy.uri, tmp_path, replace(study, seeds=(77,)))
    again.interrupt()
    left = read_runs(proxy.uri, study.name)["status"].value_counts().to_dict()
    assert left == {"FINISHED": 1, "KILLED": len(trials) - 1}
    client = MlflowClient(tracking_uri=proxy.uri)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    assert not client.search_runs([experiment], "attributes.status = 'RUNNING'")


def test_a_run_that_is_being_created_is_killed_too(proxy, study, tmp_path):
    tracker = opened(proxy.uri, tmp_path, study)
    seen: list[str] = []

    def fault(path: str) -> str:
        seen.append(path)
        return "lose reply" if path.endswith("/runs/create") else "503"

    def start() -> None:
        with pytest.raises(TrackingError, match="interrupted"):
            tracker.start(TRIALS)

    proxy.fault = fault
    starting = threading.Thread(target=start)
    starting.start()
    wait_until(lambda: len(seen) == 3)  # it was created, and then could not be looked up
    proxy.fault = lambda path: None
    tracker.interrupt()
    starting.join()
    client = MlflowClient(tracking_uri=proxy.uri)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    assert {run.info.status for run in client.search_runs([experiment])} == {"KILLED"}
    assert len(client.search_runs([experiment])) == 2


def test_a_server_that_is_killed_and_comes_back_costs_nothing_but_a_wait(
    server, study, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.2)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 1.0)
    tracker = opened(server.uri, tmp_path, study)
    record(tracker, TRIALS[:4])
    tracker.start(TRIALS[4:6])
    tracker.log({trial.id: history(trial, 5) for trial in TRIALS[4:6]})
    server.kill()
    with caplog.at_level(logging.INFO, logger="rnn_study"):
        record(tracker, TRIALS[4:6])
        wait_until(lambda: "is away" in caplog.text)
        back = threading.Thread(target=lambda: (time.sleep(3), server.start()))
        back.start()
        record(tracker, TRIALS[6:])  # start waits, too
        back.join()
        tracker.close()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("rnn_")]
    assert ["away" in line for line in lines] == [True, False], lines
    assert "Connection refused" in lines[0] and "is back after" in lines[1]
    assert_recorded(server.uri, study)


@pytest.mark.parametrize("fault", ["lose reply", "lose reply, deliver late"])
def test_a_lost_reply_makes_no_second_run(fault, proxy, study, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # it would make one
    faults = iter([fault, None, fault, None, None, fault])
    proxy.fault = lambda path: next(faults, None) if path.endswith("/runs/create") else None
    tracker = opened(proxy.uri, tmp_path, study)
    record(tracker, TRIALS)
    if "late" in fault:
        time.sleep(2)
    tracker.close()
    deleted = query(proxy.uri, "SELECT name FROM runs WHERE lifecycle_stage = 'deleted'")
    assert len(deleted) == (3 if "late" in fault else 0)
    assert next(faults, "all used") == "all used"
    assert_recorded(proxy.uri, study)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"


def test_a_server_that_is_busy_is_asked_again(proxy, study, tmp_path):
    counts: Counter[str] = Counter()

    def busy(path: str) -> str | None:
        name = path.split("?")[0].rsplit("/", 1)[-1]
        counts[name] += 1
        return (None, "503", None, "lose reply")[counts[name] % 4]

    tracker = opened(proxy.uri, tmp_path, study)
    proxy.fault = busy
    tracker.start(TRIALS[:1])
    tracker.log({TRIAL.id: history(TRIAL)})
    tracker.finish(TRIAL.id, history(TRIAL), summary(TRIAL))
    tracker.close()
    proxy.fault = lambda path: None
    runs = read_runs(proxy.uri, study.name)
    assert runs["status"].tolist() == ["FINISHED"]
    assert set(stored(proxy.uri, runs["run_id"][0]).values()) == {1}
    assert [*read_histories(proxy.uri, runs)] == [TRIAL.id]


def test_a_server_that_stays_away_is_given_up_and_said_so(proxy, study, tmp_path):
    study = replace(study, lengths=(53,))
    tracker = opened(proxy.uri, tmp_path, study, patience=0.5)
    tracker.start(TRIALS[:1])
    proxy.fault = lambda path: "503"
    tracker.finish(TRIAL.id, history(TRIAL), summary(TRIAL))
    with pytest.raises(TrackingError, match="nothing is lost, the same command"):
        tracker.close()
    with pytest.raises(TrackingError, match="was away for"):
        tracker.log({TRIAL.id: history(TRIAL)})
    proxy.fault = lambda path: None
    again = opened(proxy.uri, tmp_path, study)
    record(again, study.trials())
    again.close()
    assert_recorded(proxy.uri, study)


def test_what_mlflow_refuses_is_raised_and_not_repeated(uri, tmp_path):
    tracker = opened(uri, tmp_path)
    tracker.start(TRIALS[:2])
    run_id = read_runs(uri, STUDY.name).set_index("trial_id")["run_id"][TRIAL.id]
    MlflowClient(tracking_uri=uri).delete_run(run_id)
    tracker.finish(TRIAL.id, history(TRIAL), summary(TRIAL))
    with pytest.raises(TrackingError, match=r"refused: .*must be in the 'active' state"):
        tracker.close()
    assert read_runs(uri, STUDY.name)["status"].tolist() == ["KILLED"]
    again = opened(uri, tmp_path)
    record(again, TRIALS)
    again.close()
    assert_recorded(uri)


def test_looking_creates_nothing(uri, tmp_path):
    folder = tmp_path / "not" / "yet"
    absent = f"sqlite:///{folder / 'mlflow.db'}"
    assert Tracker(absent, STUDY, tmp_path / "artifacts").finished() == set()
    assert finished_trials(absent, STUDY) == set()
    with pytest.raises(InvalidInput, match="no study has made this file yet"):
        read_runs(absent, STUDY.name)
    assert not folder.parent.exists()
    assert Tracker(uri, STUDY, tmp_path / "artifacts").finished() == set()
    assert finished_trials(uri, STUDY) == set()
    names = [each.name for each in MlflowClient(tracking_uri=uri).search_experiments()]
    assert names == ["Default"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_fresh_file_is_made_silently_and_whole(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    uri = f"sqlite:///{tmp_path / 'deep' / 'mlflow.db'}"
    trackers = [Tracker(uri, replace(STUDY, name=name), tmp_path / "artifacts") for name in "ab"]
    # Both found no file, so both make one: the second must not lose what the first has written.
    for tracker in trackers:
        tracker.open(TRIALS, ENVIRONMENT)
        record(tracker, TRIALS[:2])
    for tracker in reversed(trackers):
        tracker.close()
    for name in "ab":
        runs = read_runs(uri, name)
        assert len(read_histories(uri, runs)) == 2
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mlflow.db"]
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "artifacts"}
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before | {"PYTEST_CURRENT_TEST": os.environ["PYTEST_CURRENT_TEST"]}


def test_a_file_that_was_replaced_is_read_anew(uri, template, tmp_path):
    tracker = opened(uri, tmp_path)
    record(tracker, TRIALS[:1])
    tracker.close()
    assert len(read_runs(uri, STUDY.name)) == 1
    (tmp_path / "mlflow.db").unlink()
    again = opened(uri, tmp_path)
    record(again, TRIALS[:2])
    again.close()
    assert len(read_runs(uri, STUDY.name)) == 2
    shutil.copy(template, tmp_path / "other.db")
    (tmp_path / "other.db").replace(tmp_path / "mlflow.db")
    with pytest.raises(InvalidInput, match="known studies: none"):
        read_runs(uri, STUDY.name)


def test_reading_pages_through_everything(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PAGE", 5)
    tracker = opened(uri, tmp_path)
    record(tracker, TRIALS)
    tracker.close()
    assert_recorded(uri)
    assert finished_trials(uri, STUDY) == {trial.id for trial in TRIALS}
    runs = read_runs(uri, STUDY.name)
    (tmp_path / "artifacts" / runs["run_id"][3] / "artifacts" / "history.parquet").unlink()
    histories = read_histories(uri, runs[1:6])
    assert [*histories] == [runs["trial_id"][i] for i in (1, 2, 4, 5)]


def test_a_study_without_runs_and_one_that_is_not_there(each_uri, study, tmp_path):
    tracker = opened(each_uri, tmp_path, study)
    frame = read_runs(each_uri, study.name)
    assert frame.empty and frame["learning_rate"].dtype == "float64"
    assert {"trial_id", "seed", "val_accuracy", "solved", "failure"} <= {*frame}
    assert read_histories(each_uri, frame) == {}
    tracker.close()
    with pytest.raises(InvalidInput, match=r"study: 'nothing' is not allowed.*known studies") as e:
        read_runs(each_uri, "nothing")
    assert study.name in str(e.value) and "Default" not in str(e.value)


def test_a_deleted_experiment_is_bad_input(uri, tmp_path):
    opened(uri, tmp_path).close()
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.get_experiment_by_name(STUDY.name).experiment_id)
    with pytest.raises(InvalidInput, match="mlflow experiments restore"):
        Tracker(uri, STUDY, tmp_path).finished()


@pytest.mark.parametrize(
    ("bad", "allowed"),
    [
        ("./mlruns", "use sqlite:///FILE"),
        ("ftp://host/x", "use sqlite:///FILE"),
        ("sqlite:///", "use sqlite:///FILE"),
        ("sqlite:///:memory:", "use sqlite:///FILE"),
        ("sqlite:////proc/nothing/mlflow.db", "No such file or directory"),
        ("sqlite:////dev/null/mlflow.db", "Not a directory"),
        ("sqlite:///{folder}", "unable to open database file"),
        ("sqlite:///{folder}/text", "file is not a database"),
        ("sqlite:///{folder}/old.db", "out-of-date database schema"),
        ("http://user:secret@127.0.0.1:1", "Connection refused"),
        ("http://no.such.host.invalid:5000", "no MLflow server answers there"),
        ("http://", "no MLflow server answers there"),
        ("http://127.0.0.1:{silent}", "no MLflow server answers there"),
        ("http://127.0.0.1:{other}", "no MLflow server answers there"),
    ],
)
def test_a_bad_tracking_uri_is_one_line_within_seconds(
    bad, allowed, template, tmp_path, monkeypatch
):
    (tmp_path / "text").write_text("no database " * 500)
    shutil.copy(template, tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '90e64c465722'")
        database.commit()
    monkeypatch.setattr(store, "CHECK_SECONDS", 1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, Proxy("http://x") as other:
        ports = {"silent": silent.getsockname()[1], "other": other.server_address[1]}
        other.fault = lambda path: "503"
        bad = bad.format(folder=tmp_path, **ports)
        began = time.monotonic()
        for use in (
            lambda: Tracker(bad, STUDY, tmp_path / "artifacts"),
            lambda: read_runs(bad, STUDY.name),
        ):
            with pytest.raises(InvalidInput) as error:
                use()
            message = str(error.value)
            assert error.value.field == "tracking_uri"
            assert message.startswith("tracking_uri: ") and "\n" not in message
            assert allowed in message and "secret" not in message and len(message) < 400
        assert time.monotonic() - began < 8
        other.shutdown()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.db", "text"]


def test_the_users_timeout_counts(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    tracker = opened(uri, tmp_path)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    tracker.close()
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    tracker = opened(uri, tmp_path)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "30"
    tracker.interrupt()
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_calls_before_open_are_refused(uri, tmp_path):
    tracker = Tracker(uri, STUDY, tmp_path)
    with pytest.raises(RuntimeError, match="open the tracker first"):
        tracker.start(TRIALS)
    tracker.interrupt()
    tracker.close()
