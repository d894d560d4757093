"""A study that searches, and pretended trainings for it."""

from __future__ import annotations

import math

import numpy as np

from rnn_study.config import Study
from rnn_study.search import Search
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


def history(*values: float, column: str = "val_accuracy", diverged: bool = False) -> dict:
    """Of one validation value an epoch; the last epoch may be that of its divergence."""
    found = np.array(values)
    loss = np.zeros(len(found))
    if diverged:
        loss[-1] = found[-1] = math.nan
    epoch = np.arange(1, len(found) + 1)
    return {"epoch": epoch, "train_loss": loss, "val_loss": loss, column: found}


def flat(value: float, epochs: int = 8) -> dict:
    return history(*[value] * epochs)


def trained(trial) -> dict:
    """A pretended training, as the trial says: best near a rate of its length, luck by its seed."""
    luck = np.random.default_rng([trial.seed, trial.length]).random(trial.epochs)
    peak = math.log10(trial.learning_rate) + 2.5 + 0.01 * (trial.length - 50)
    height = 0.97 - 0.2 * abs(peak)
    return history(*(0.25 + (height - 0.25) * np.linspace(0.5, 1, trial.epochs) + 0.02 * luck))
