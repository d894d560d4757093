"""Stores as they may be found: fresh, empty, deleted, replaced, or not there at all."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
import requests
from mlflow.entities import Metric, Run, RunData, RunInfo
from mlflow.tracking import MlflowClient
from tracked import (
    ENVIRONMENT,
    STUDY,
    TRIALS,
    Proxy,
    assert_recorded,
    opened,
    record,
)

from rnn_study.errors import InvalidInput
from rnn_study.tracking import (
    Tracker,
    description,
    finished_trials,
    read_histories,
    read_runs,
    reader,
    store,
)


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
    monkeypatch.setattr(reader, "IDS", 2)
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


def test_of_two_runs_of_a_trial_the_one_that_got_furthest_stands_for_it():
    def run(name: str, status: str, metrics: int) -> Run:
        about = RunInfo(name, "0", "somebody", status, 0, None, "active")
        return Run(about, RunData([Metric(str(i), 0.0, 0, 0) for i in range(metrics)]))

    few, many = run("a", "RUNNING", 1), run("b", "RUNNING", 3)
    assert store.best([few, many]) is many
    finished = run("c", "FINISHED", 1)
    assert store.best([many, finished, few]) is finished


@pytest.mark.parametrize(
    ("status", "away"), [(404, False), (408, True), (425, True), (429, True), (503, True)]
)
def test_what_a_status_says_of_a_server(status, away):
    response = requests.Response()
    response.status_code = status
    assert store.is_away(requests.HTTPError(response=response)) == away


def test_a_file_that_another_writes_is_waited_for(uri, monkeypatch):
    monkeypatch.setattr(store, "CHECK_SECONDS", 0)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.connect(uri, write=True) is not None


def test_a_description_ends_with_the_last_part_that_mlflow_takes():
    assert (
        description.joined(["a" * 3000, "b" * 1500, "c" * 3000]) == "a" * 3000 + "\n\n" + "b" * 1500
    )


def test_calls_before_open_are_refused(uri, tmp_path):
    tracker = Tracker(uri, STUDY, tmp_path)
    with pytest.raises(RuntimeError, match="open the tracker first"):
        tracker.start(TRIALS)
    tracker.interrupt()
    tracker.close()
