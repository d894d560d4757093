"""The learning rate of an epoch, from what was found before it."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from rnn_study.trials import Trial

BETTER: Final = 1e-4
"""By what share a loss must be below the best so far to count as better; as in torch."""


class Plateaus(NamedTuple):
    """How often more than `patience` epochs on end had no loss better than the best before.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` counts them.
    """

    patience: int
    """0: none are counted."""
    found: int = 0
    best: float = math.inf
    worse: int = 0
    """Epochs on end that were not better."""

    def after(self, loss: float) -> Plateaus:
        """One epoch later, which had this loss."""
        better = loss < self.best * (1 - BETTER)
        best, worse = (loss, 0) if better else (self.best, self.worse + 1)
        if not self.patience or worse <= self.patience:
            return Plateaus(self.patience, self.found, best, worse)
        return Plateaus(self.patience, self.found + 1, best, 0)


def rate(trial: Trial, epoch: int, plateaus: Plateaus) -> float:
    """The rate after `epoch` epochs; by the plateaus so far if the trial has a `patience`."""
    by_epoch = sum(e <= epoch for e in trial.decay_epochs)
    return trial.learning_rate * trial.decay ** (plateaus.found if trial.patience else by_epoch)
