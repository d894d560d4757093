"""Which points of a history are stored, and in how many calls; without a store."""

from __future__ import annotations

import numpy as np
from mlflow.entities import Metric

from rnn_study.tracking.points import BATCH, batches, points


def test_a_call_holds_whole_points_and_no_more_than_mlflow_takes():
    made = [[Metric(f"m{i}", 0.0, 0, epoch) for i in range(7)] for epoch in range(300)]
    found = [*batches(made)]
    assert [len(batch) for batch in found] == [987, 987, 126]  # of at most 990
    assert [metric for batch in found for metric in batch] == [m for point in made for m in point]
    assert BATCH == 990


def test_what_few_epochs_have_is_always_stored_and_validation_comes_first():
    epochs = 15_000  # of which every 76th is stored
    history = {"epoch": np.arange(1, epochs + 1), "dynamics/p/kind": np.full(epochs, np.nan)}
    history["dynamics/p/kind"][[6, 7]] = 1.0
    history |= {
        name: np.zeros(epochs) for name in ("train_loss", "val_loss", "val_accuracy", "seconds")
    }
    kept = points(history, epochs, ())
    assert [*kept][:3] == [7, 8, 76]
    order = ["val_accuracy", "val_loss", "dynamics/p/kind", "train_loss"]
    assert [metric.key for metric in kept[7]] == order
