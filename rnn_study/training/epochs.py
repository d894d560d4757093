"""`Runner`: trains a pack an epoch further. `Eager` does so operation by operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch

from rnn_study.training.members import Members
from rnn_study.training.step import Sums, evaluate, update_


class Totals(NamedTuple):
    """The sums of an epoch on the host, by name, (S,) float64 each."""

    train: dict[str, np.ndarray]
    """Of `update_`, over the batches."""
    validation: dict[str, np.ndarray]
    """Of `evaluate`, over all validation sequences."""


class Runner(ABC):
    """Trains the members of one pack an epoch further."""

    @abstractmethod
    def epoch(self, members: Members, rates: np.ndarray) -> Totals:
        """One pass over the training data at the rates (S,), then one over the validation data.

        Parameters, moments and steps of `members` change at its end, all at once: an epoch that
        fails has not begun. Their `epochs` it leaves alone.
        """


class Eager(Runner):
    """Runs every operation when Python reaches it: on any device, and the oracle of `Replay`."""

    def epoch(self, members: Members, rates: np.ndarray) -> Totals:
        network, trial = members.network, members.trials[0]
        batches = trial.train_size // trial.batch
        flat, adam = members.flat.clone(), members.adam.clone()
        corrections = adam.corrections(rates, batches)
        train: Sums = {}
        validation: Sums = {}
        data = members.training.shuffled(members.trials, members.epochs)
        for correction, (x, targets) in zip(corrections, data, strict=True):
            _add(train, update_(network, trial, flat, adam, correction, x, targets))
        for x, targets in members.validation.in_order():
            _add(validation, evaluate(network, flat, x, targets))
        totals = totals_of(train, validation)
        members.flat, members.adam = flat, adam
        adam.steps = adam.steps + batches
        return totals


def _add(sums: Sums, values: Sums) -> None:
    """Adds in place; on the device, so that no batch waits for the host."""
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value


def totals_of(train: Sums, validation: Sums) -> Totals:
    """In float64 on the host, brought over at once."""
    rows = torch.stack([*train.values(), *validation.values()]).cpu().double().numpy()
    of_train, of_validation = rows[: len(train)], rows[len(train) :]
    return Totals(
        dict(zip(train, of_train, strict=True)), dict(zip(validation, of_validation, strict=True))
    )
