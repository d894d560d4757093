"""The learning rate of an epoch, from what was found before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from rnn_study.trials import Trial

BETTER: Final = 1e-4
"""By what share a loss must be below the best so far to count as better; as in torch."""


def rate(trial: Trial, epoch: int, losses: Sequence[float]) -> float:
    """The rate after `epoch` epochs, whose validation losses were `losses`; these are read only if
    the trial has a `patience`."""
    if trial.patience:
        falls = plateaus(losses, trial.patience)
    else:
        falls = sum(e <= epoch for e in trial.decay_epochs)
    return trial.learning_rate * trial.decay**falls


def plateaus(losses: Sequence[float], patience: int) -> int:
    """How often more than `patience` epochs on end had no loss better than the best before.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` counts them.
    """
    best, worse, found = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - BETTER):
            best, worse = loss, 0
        else:
            worse += 1
        if worse > patience:
            found, worse = found + 1, 0
    return found
