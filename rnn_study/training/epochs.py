"""`Runner`: trains a pack an epoch further. `Eager` does so operation by operation."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch

from rnn_study.config import Trial
from rnn_study.training.data import PackData
from rnn_study.training.members import Members
from rnn_study.training.network import Network
from rnn_study.training.step import Sums, evaluate, update_

Means = dict[str, dict[str, np.ndarray]]
"""What an epoch found, by split (`train`, `val`, `test`) and name (`loss`, the task's scores, and
in training `norm`, the gradient's before clipping); (S,) float64 each, on the host."""


class Runner(ABC):
    """Trains the members of one pack an epoch further."""

    @abstractmethod
    def epoch(self, members: Members, rates: np.ndarray) -> Means:
        """One pass over the training data at the rates (S,), then one over the validation data.

        Parameters, moments and steps of `members` change at its end, all at once: an epoch that
        fails has not begun. Their `epochs` it leaves alone.
        """


class Eager(Runner):
    """Runs every operation when Python reaches it: on any device, and the oracle of `Replay`."""

    def epoch(self, members: Members, rates: np.ndarray) -> Means:
        trial = members.trials[0]
        network, training, held_out = sequences_of(members)
        batches = trial.train_size // trial.batch
        flat, adam = members.flat.clone(), members.adam.clone()
        corrections = adam.corrections(rates, batches)
        train: Sums = {}
        validation: Sums = {}
        data = training.shuffled(members.trials, members.epochs)
        for correction, (x, targets) in zip(corrections, data, strict=True):
            _add(train, update_(network, trial, flat, adam, correction, x, targets))
        for x, targets in held_out.in_order():
            _add(validation, evaluate(network, flat, x, targets))
        means = means_of(trial, train, validation)
        members.flat, members.adam = flat, adam
        adam.steps = adam.steps + batches
        return means


def _add(sums: Sums, values: Sums) -> None:
    """Adds in place; on the device, so that no batch waits for the host."""
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value


def sequences_of(members: Members) -> tuple[Network, PackData, PackData]:
    """The network of members that read sequences, and their training and validation data."""
    network, training, validation = members.network, members.training, members.validation
    assert isinstance(network, Network)
    assert isinstance(training, PackData) and isinstance(validation, PackData)
    return network, training, validation


def means_of(trial: Trial, train: Sums, validation: Sums) -> Means:
    """Sums of `update_` and of `evaluate` over an epoch, brought to the host at once, as means."""
    rows = torch.stack([*train.values(), *validation.values()]).cpu().double().numpy()
    batches = trial.train_size // trial.batch
    sizes = {name: batches if name in ("loss", "norm") else trial.train_size for name in train}
    of_train = {name: row / sizes[name] for name, row in zip(train, rows, strict=False)}
    of_validation = zip(validation, rows[len(train) :], strict=True)
    return {"train": of_train, "val": {name: row / trial.val_size for name, row in of_validation}}
