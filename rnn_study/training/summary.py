"""`summary`: what a finished trial's history comes to."""

from __future__ import annotations

import numpy as np

from rnn_study.tasks import Metric
from rnn_study.training.members import History


def summary(history: History, status: str, metric: Metric) -> dict[str, float]:
    """The numbers that runs are compared by.

    The last finite validation value of the task's metric (`val_accuracy`) and the best
    (`best_val_accuracy`), the test value of that best epoch where there are test data
    (`test_perplexity_at_best`),
    `epochs_trained`, `solved`, `diverged`, `train_seconds`, and `epochs_to_solve` where it solved
    the task. A seed that diverged before its first validation has no such value.
    """
    values = {
        "epochs_trained": float(history["epoch"][-1]),
        "solved": float(status == "solved"),
        "diverged": float(status == "diverged"),
        "train_seconds": float(history["seconds"].sum()),
    }
    validation = history[metric.column][np.isfinite(history[metric.column])]
    if len(validation):
        last, best, *tested = metric.columns
        values |= {last: float(validation[-1]), best: metric.best(validation)}
        at = int(np.flatnonzero(history[metric.column] == values[best])[0])
        values |= {name: float(history[metric.test_column][at]) for name in tested}
    if status == "solved":
        values["epochs_to_solve"] = values["epochs_trained"]
    return values
