"""A study all of whose trials are trained already: what its driver left open is closed."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from rnn_study import aggregate, scheduling, texts, tracking
from rnn_study.execution import Execution
from rnn_study.progress import PlainProgress
from rnn_study.scheduling.agenda import Agenda
from rnn_study.search import Search

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def study(script):
    return replace(script.SMOKE, cells=("lstm",), seeds=(0,))


@pytest.fixture
def execution(home):
    return Execution(storage=home / "storage", ray_address="local")


def recorded(study, execution, trials, purpose=tracking.GRID):
    """The tracker of a driver that has recorded `trials`, to their end, and goes on."""
    uri = execution.resolved_tracking_uri
    tracker = tracking.Tracker(uri, study, execution.folder / "artifacts", place=execution.place)
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate", "seconds")
    history = {"epoch": np.arange(1, 4), **{name: np.full(3, 0.5) for name in names}}
    tracker.open(trials, {})
    tracker.start(trials, purpose)
    for trial in trials:
        tracker.finish(trial.id, history, {"epochs_trained": 3.0, "train_seconds": 1.5})
    tracker._opened[1].drain()
    return tracker


def statuses(study, execution):
    client = MlflowClient(execution.resolved_tracking_uri)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    return {run.info.status for run in client.search_runs([experiment])}


def test_a_parent_run_that_a_kill_left_running_is_ended(study, execution):
    """Between the end of its last trial and its own."""
    tracker = recorded(study, execution, study.trials())
    tracker._signs.stop()
    uri = execution.resolved_tracking_uri
    assert tracking.read_status(uri, study.name).running
    scheduling.run(study, execution, PlainProgress(io.StringIO()))
    assert not tracking.read_status(uri, study.name).running
    assert statuses(study, execution) == {"FINISHED"}


def test_a_search_that_was_interrupted_at_its_very_end_is_over(study, execution):
    """And the winner's own trial counts, though an earlier declaration trained it in a search."""
    search = Search(1e-3, 1e-1, trials=1, seeds=(100,))
    study = replace(study, learning_rate={"lstm": search})
    searched = Agenda(study, texts.metric(study, None), 4, (), lambda trials: {}).tried
    winner = replace(searched[0], seed=0)
    tracker = recorded(study, execution, [*searched, winner], tracking.SEARCH)
    tracker.interrupt()
    assert statuses(study, execution) == {"FINISHED", "KILLED"}

    report = scheduling.run(study, execution, PlainProgress(io.StringIO()))
    assert [*report.runs["trial_id"]] == [winner.id]
    assert statuses(study, execution) == {"FINISHED"}
    uri = execution.resolved_tracking_uri
    assert [*aggregate.runs(study.name, uri)["trial_id"]] == [winner.id]
    assert (execution.results(study) / "optuna.db").exists()
    every = tracking.read_runs(uri, study.name).set_index("trial_id")["purpose"]
    assert every.to_dict() == {searched[0].id: tracking.SEARCH, winner.id: tracking.GRID}
