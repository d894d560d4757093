"""Tracking through trouble: a server that is killed, cut off, busy, or refuses."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tracked import (
    STUDY,
    TRIAL,
    TRIALS,
    Proxy,
    assert_recorded,
    history,
    opened,
    query,
    record,
    stored,
    summary,
    wait_until,
)

from rnn_study.tracking import (
    TrackingError,
    describe,
    description,
    patience,
    patiently,
    read_environment,
    read_histories,
    read_runs,
    reader,
    writer,
)
from rnn_study.tracking.store import HISTORY


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


def test_only_an_artifact_that_is_not_there_is_left_out(server, study, tmp_path, monkeypatch):
    """Not one that could not be fetched, whatever numbers its address holds."""
    monkeypatch.setattr(reader, "RETRIES", 0)
    tracker = opened(server.uri, tmp_path, study)
    record(tracker, TRIALS[:2])
    tracker.close()
    with Proxy(server.uri, 40400 + os.getpid() % 100) as proxy:
        runs = read_runs(proxy.uri, study.name)
        proxy.fault = lambda path: "503" if path.endswith(HISTORY) else None
        with pytest.raises(MlflowException, match="404"):
            read_histories(proxy.uri, runs)
        proxy.fault = lambda path: None
        lost = runs["run_id"][0]
        (path,) = server.folder.glob(f"artifacts/**/{lost}/artifacts/{HISTORY}")
        path.unlink()
        assert read_histories(proxy.uri, runs).keys() == {runs["trial_id"][1]}
        proxy.shutdown()


def test_what_is_read_after_the_training_waits_for_mlflow(
    proxy, study, tmp_path, monkeypatch, caplog
):
    for module in (reader, description):
        monkeypatch.setattr(module, "RETRIES", 0)
    tracker = opened(proxy.uri, tmp_path, study)
    record(tracker, TRIALS[:2])
    tracker.close()
    faults = iter(["503"])
    proxy.fault = lambda path: next(faults, None)
    runs = patiently(proxy.uri, read_runs, study.name)
    assert len(runs) == 2
    proxy.fault = lambda path: "503"
    page = tmp_path / "report.html"
    page.touch()
    describe(proxy.uri, study, ["a question"], page)
    assert "the study's page is not in MLflow" in caplog.text
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(TrackingError, match=r"was away for .* nothing is lost"):
        patiently(proxy.uri, read_environment, study.name, runs["run_id"])


def test_a_driver_that_was_taken_for_dead_writes_nothing_more(server, study, tmp_path):
    """Or it would mark the runs of the one that has begun in its place as KILLED."""
    tracker = opened(server.uri, tmp_path, study)
    tracker.start(TRIALS[:2])
    wait_until(lambda: len(read_runs(server.uri, study.name)) == 2)
    tracker.fence(lambda seconds: False)
    with pytest.raises(TrackingError, match="took this one for dead"):
        tracker.log({TRIAL.id: history(TRIAL)})
    tracker.interrupt()
    assert set(read_runs(server.uri, study.name)["status"]) == {"RUNNING"}


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
