"""Histories and summaries as MLflow metrics: thinned, finite, each point once."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
from mlflow.entities import Metric

History = Mapping[str, np.ndarray]
"""`epoch` (1-based, increasing) and metrics by name, all 1-D and of one length."""

NO_SERIES = ("epoch", "seconds", "dynamics_seconds")
"""What of a history MLflow does not get epoch by epoch."""
CLOCK = "learning_rate"
"""The metric that is finite in every epoch: its steps are the epochs that are stored."""
MOST_POINTS = 200
"""Points that a metric of every epoch has at most."""
RARE = "dynamics/"
"""How metrics begin that few epochs have, and that are all stored."""
BATCH = 1000 - 10
"""Metrics in one call; MLflow takes 1000 metrics, params and tags together."""

Point = list[Metric]
"""All metrics of one epoch: stored together or not at all."""


def points(
    history: History, limit: int, stored: Collection[int], *, ended: bool = False
) -> dict[int, Point]:
    """The points of a history that are to be stored, by epoch, but for those that are `stored`.

    Of a trial with at most `limit` epochs every k-th is kept, those that have what few epochs have,
    and its last, which is `limit` or, if it `ended`, the last of the history.
    """
    epochs = np.asarray(history["epoch"])
    stride = math.ceil(limit / (MOST_POINTS - 1))
    keep = (epochs % stride == 0) | (epochs == limit)
    for name in history:
        if name.startswith(RARE):
            keep |= np.isfinite(history[name])
    if ended:
        keep[-1:] = True
    indices = np.flatnonzero(keep)
    columns = {name: history[name][indices].tolist() for name in _series(history)}
    now = int(time.time() * 1000)
    return {
        epoch: [
            Metric(name, values[row], now, epoch)
            for name, values in columns.items()
            if math.isfinite(values[row])
        ]
        for row, epoch in enumerate(epochs[indices].tolist())
        if epoch not in stored
    }


def _series(history: History) -> list[str]:
    """Validation first, and losses last of it: MLflow compares runs by what was logged first."""
    names = [name for name in history if name not in NO_SERIES]
    return sorted(names, key=lambda name: (not name.startswith("val_"), name.endswith("_loss")))


def final_point(history: History, summary: Mapping[str, float]) -> Point:
    """The final metrics of a trial, at its last epoch.

    What the series holds there already is left out: a metric has one value in an epoch.
    """
    epochs = history["epoch"]
    now = int(time.time() * 1000)
    there = {name for name in _series(history) if np.isfinite(history[name][-1:]).any()}
    return [
        Metric(name, float(value), now, int(epochs[-1]) if len(epochs) else 0)
        for name, value in summary.items()
        if math.isfinite(value) and name not in there
    ]


def batches(made: Iterable[Point]) -> Iterator[list[Metric]]:
    """As few lists of at most `BATCH` metrics as hold all points, none of them cut in two."""
    batch: list[Metric] = []
    for point in made:
        if batch and len(batch) + len(point) > BATCH:
            yield batch
            batch = []
        batch.extend(point)
    if batch:
        yield batch
