"""A study that is only pretended to run: its packs, histories, summaries and clock."""

from __future__ import annotations

import numpy as np

from rnn_study.config import Pack, Study, packs

STUDY = Study(
    name="progress",
    task="symbol",
    cells=("lstm", "orthogonal"),
    lengths=(50, 100),
    seeds=range(3),
    epochs=60,
    hidden=11,
    learning_rate=1e-2,
)
PACKS = packs(STUDY.trials(), 3)
"""lstm 100, lstm 50, orthogonal 100, orthogonal 50: each costs half of the one before it."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reached(pack: Pack, first: int, last: int, *accuracies: float) -> dict[str, dict]:
    """Histories of the epochs from `first` to `last`, with each member's accuracy at the end."""
    epochs = np.arange(first, last + 1)
    return {
        trial.id: {"epoch": epochs, "val_accuracy": np.linspace(0.2, accuracy, len(epochs))}
        for trial, accuracy in zip(pack.trials, accuracies, strict=False)
    }


def solved_at(epoch: float) -> dict[str, float]:
    summary = {"epochs_trained": epoch, "solved": 1.0, "diverged": 0.0}
    return {**summary, "val_accuracy": 1.0, "best_val_accuracy": 1.0}


UNSOLVED = {"epochs_trained": 60.0, "solved": 0.0, "diverged": 0.0, "best_val_accuracy": 0.5}
DIVERGED = {"epochs_trained": 9.0, "solved": 0.0, "diverged": 1.0}
