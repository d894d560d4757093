"""`summary`: what a finished trial's history comes to."""

from __future__ import annotations

import numpy as np

from rnn_study.training.members import History


def summary(history: History, status: str) -> dict[str, float]:
    """The numbers that runs are compared by.

    `val_accuracy` (the last finite one), `best_val_accuracy`, `epochs_trained`, `solved`,
    `diverged`, `train_seconds`, and `epochs_to_solve` where it solved the task. A seed that
    diverged before its first validation has no accuracy.
    """
    values = {
        "epochs_trained": float(history["epoch"][-1]),
        "solved": float(status == "solved"),
        "diverged": float(status == "diverged"),
        "train_seconds": float(history["seconds"].sum()),
    }
    accuracy = history["val_accuracy"][np.isfinite(history["val_accuracy"])]
    if len(accuracy):
        values |= {"val_accuracy": float(accuracy[-1]), "best_val_accuracy": float(accuracy.max())}
    if status == "solved":
        values["epochs_to_solve"] = values["epochs_trained"]
    return values
