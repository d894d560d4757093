"""The sine study from end to end: the spine of the symbol study with another task."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from commands import ROOT, TABLES, Storage
from mlflow.tracking import MlflowClient

from rnn_study import tracking


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A storage folder in which the smoke preset has run once, and what it printed."""
    folder = tmp_path_factory.mktemp("sine") / "storage"
    storage = Storage(folder, "sine-wave-smoke", ROOT / "studies" / "sine_wave.py")
    return storage, storage.run("--epochs", "4", "--train-size", "30", "--val-size", "20")


def test_it_prints_tables_and_progress_of_errors(done):
    storage, process = done
    assert process.returncode == 0, process.stderr
    for cell in ("lstm", "stable_lstm", "orthogonal"):
        assert re.search(
            rf"\] {cell}, length 50, .*ended, epoch 4/4, median loss 0.\d\d, diverged 0",
            process.stdout,
        )
    tables = process.stdout.split("Validation mean square error")[1].split("Tables and figures")[0]
    assert max(map(len, tables.splitlines())) <= 80
    assert len(re.findall(r"^ *50 ", tables, re.M)) == 4
    assert "accuracy" not in process.stdout and "solved" not in process.stdout
    figures = {f"{n}.{k}" for n in ("mean_square_error_by_length", "training_histories")
               for k in ("png", "pdf")}  # fmt: skip
    assert {p.name for p in storage.results.iterdir() if p.is_file()} >= {*TABLES, *figures}


def test_its_runs_have_errors_and_no_accuracies(done):
    storage, _ = done
    runs = storage.runs
    assert len(runs) == 3 * 2 and set(runs["status"]) == {"FINISHED"}
    assert not [name for name in runs if "accuracy" in name]
    assert runs["val_loss"].between(0.3, 0.7).all()
    assert (runs["best_val_loss"] <= runs["val_loss"]).all()
    assert not runs["solved"].any() and runs["epochs_to_solve"].isna().all()
    run = MlflowClient(storage.uri).get_run(runs.loc[0, "run_id"])
    assert set(run.data.metrics) == {
        *("train_loss", "val_loss", "best_val_loss", "gradient_norm", "learning_rate"),
        *("epochs_trained", "solved", "diverged", "train_seconds"),
    }
    for row in runs.itertuples():
        history = tracking.read_histories(storage.uri, runs)[row.trial_id]
        assert row.val_loss == history["val_loss"].iloc[-1]
        assert row.best_val_loss == history["val_loss"].min()


def test_the_stable_lstm_alone_decays(done):
    storage, _ = done
    decay = storage.runs.groupby("cell")["decay_epochs"].agg(set).to_dict()
    assert decay == {"lstm": {()}, "orthogonal": {()}, "stable_lstm": {(500, 1000, 2000)}}
    table = pd.read_csv(storage.results / "seed_sensitivity.csv")
    assert len(table) == 3 and np.isfinite(table["iqm"]).all()
