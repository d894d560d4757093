"""A study that searches, and pretended trainings for it."""

from __future__ import annotations

import math

import numpy as np

from rnn_study.config import Study
from rnn_study.search import Course, Search
from rnn_study.tasks import TASKS

ACCURACY, ERROR = TASKS["symbol"].metric, TASKS["sine"].metric
STUDY = Study(
    name="searched",
    task="symbol",
    cells=("lstm", "orthogonal"),
    lengths=(50, 53),
    seeds=range(3),
    learning_rate={"lstm": Search(1e-4, 1e-1, trials=11, seeds=3, round=4), "orthogonal": 1e-2},
    hidden=11,
    epochs=16,
)


def history(
    *values: float, column: str = "val_accuracy", diverged: bool = False, limit: int = 8
) -> Course:
    """Of one validation value an epoch, of at most `limit`; the last may be that of its divergence,
    or have solved the task."""
    found = np.array(values)
    loss = np.zeros(len(found))
    if diverged:
        loss[-1] = found[-1] = math.nan
    epoch = np.arange(1, len(found) + 1)
    ended = diverged or values[-1] == 1.0 or len(values) == limit
    return Course({"epoch": epoch, "train_loss": loss, "val_loss": loss, column: found}, ended)


def flat(value: float, epochs: int = 8, limit: int = 8) -> Course:
    return history(*[value] * epochs, limit=limit)


def trained(trial) -> Course:
    """A pretended training, as the trial says: best near a rate of its length, luck by its seed."""
    luck = np.random.default_rng([trial.seed, trial.length]).random(trial.epochs)
    peak = math.log10(trial.learning_rate) + 2.5 + 0.01 * (trial.length - 50)
    height = 0.97 - 0.2 * abs(peak)
    values = 0.25 + (height - 0.25) * np.linspace(0.5, 1, trial.epochs) + 0.02 * luck
    return history(*values, limit=trial.epochs)
