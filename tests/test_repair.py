"""A study all of whose trials are trained already: what its driver left open is closed."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from rnn_study import scheduling, tracking
from rnn_study.execution import Execution
from rnn_study.progress import PlainProgress


@pytest.mark.usefixtures("unchecked")
def test_a_parent_run_that_a_kill_left_running_is_ended(script, home):
    """Between the end of its last trial and its own."""
    study = replace(script.SMOKE, cells=("lstm",), seeds=(0,))
    execution = Execution(storage=home / "storage", ray_address="local")
    uri = execution.resolved_tracking_uri
    tracker = tracking.Tracker(uri, study, execution.folder / "artifacts", place=execution.place)
    (trial,) = study.trials()
    tracker.open([trial], {})
    tracker.start([trial])
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate", "seconds")
    history = {"epoch": np.arange(1, 4), **{name: np.full(3, 0.5) for name in names}}
    tracker.finish(trial.id, history, {"epochs_trained": 3.0, "train_seconds": 1.5})
    tracker._opened[1].drain()
    tracker._signs.stop()
    assert tracking.read_status(uri, study.name).running
    scheduling.run(study, execution, PlainProgress(io.StringIO()))
    assert not tracking.read_status(uri, study.name).running
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    assert {run.info.status for run in client.search_runs([experiment])} == {"FINISHED"}
