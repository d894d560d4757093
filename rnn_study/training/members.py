"""`Members`: the state of a pack in training, and how members join, are saved and leave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.config import Pack, Trial
from rnn_study.training.adam import Adam
from rnn_study.training.checkpoint import Checkpoint, Checkpoints
from rnn_study.training.data import PackData
from rnn_study.training.network import Network

History = dict[str, np.ndarray]
"""A trial's numbers by name, one entry an epoch: `epoch` (from 1) and the metrics."""


@dataclass
class Members:
    """S networks in training. Members may have trained different numbers of epochs."""

    trials: tuple[Trial, ...]
    network: Network
    flat: Float[Tensor, "S P"]
    adam: Adam
    epochs: np.ndarray
    """(S,) epochs trained so far."""
    histories: list[History]
    training: PackData
    validation: PackData
    saved: float = field(default_factory=time.monotonic)
    """When checkpoints of all were last due."""

    def __len__(self) -> int:
        return len(self.trials)

    @classmethod
    def start(
        cls, pack: Pack, device: torch.device, checkpoints: Checkpoints | None = None
    ) -> Members | None:
        """The members of `pack` that are not finished, where they were; None if all are."""
        found = {t: checkpoints.load(t) if checkpoints else None for t in pack.trials}
        states = {t: state for t, state in found.items() if not (state and state.finished)}
        if not states:
            return None
        trials = tuple(states)
        network = Network(trials[0])
        fresh = {trial: _fresh(network, trial) for trial in trials if states[trial] is None}
        begun = [states[trial] or fresh[trial] for trial in trials]
        return cls(
            trials,
            network,
            network.flatten([state.params for state in begun]).to(device),
            Adam(
                network.flatten([state.first for state in begun]).to(device),
                network.flatten([state.second for state in begun]).to(device),
                np.array([state.steps for state in begun]),
            ),
            np.array([state.epoch for state in begun]),
            [state.history for state in begun],
            PackData(trials, "train", device),
            PackData(trials, "validation", device),
        )

    def rates(self) -> np.ndarray:
        """(S,) learning rates of the epoch to come."""
        return np.array(
            [
                trial.learning_rate * trial.decay ** sum(e <= epoch for e in trial.decay_epochs)
                for trial, epoch in zip(self.trials, self.epochs, strict=True)
            ]
        )

    def record(self, metrics: dict[str, np.ndarray]) -> None:
        """Appends the metrics of the epoch that is counted, (S,) each, to the histories."""
        rows = {"epoch": self.epochs, **metrics}
        self.histories = [
            {
                name: np.append(past.get(name, values[:0]), values[s])
                for name, values in rows.items()
            }
            for s, past in enumerate(self.histories)
        ]

    def save(self, checkpoints: Checkpoints, status: Sequence[str], which: np.ndarray) -> None:
        """Writes a checkpoint of each member in `which`, (S,) bool."""
        if not which.any():
            return  # before anything is copied from the device
        flat, first, second = (t.cpu() for t in (self.flat, self.adam.first, self.adam.second))
        for s in np.flatnonzero(which).tolist():
            training = status[s] in ("training", "stopped")  # which may go on one day
            state = Checkpoint(
                epoch=int(self.epochs[s]),
                status="training" if training else status[s],
                steps=int(self.adam.steps[s]),
                params=self.network.named(flat[s]),
                first=self.network.named(first[s]) if training else {},
                second=self.network.named(second[s]) if training else {},
                history=self.histories[s],
            )
            checkpoints.save(self.trials[s], state)

    def keep(self, which: np.ndarray) -> Members:
        """Those in `which`, (S,) bool, on their own; these here stay as they are."""
        rows = np.flatnonzero(which)
        members = torch.from_numpy(rows).to(self.flat.device)
        training, validation = copy(self.training), copy(self.validation)
        training.keep(members)
        validation.keep(members)
        return replace(
            self,
            trials=tuple(self.trials[s] for s in rows),
            flat=self.flat[members],
            adam=self.adam.keep(members),
            epochs=self.epochs[rows],
            histories=[self.histories[s] for s in rows],
            training=training,
            validation=validation,
        )

    def halves(self) -> tuple[Members, Members]:
        """The first half and the rest, which is not larger."""
        first = np.arange(len(self)) < (len(self) + 1) // 2
        return self.keep(first), self.keep(~first)


def _fresh(network: Network, trial: Trial) -> Checkpoint:
    """The state before the first epoch."""
    params = network.init(trial)
    zeros = {name: np.zeros_like(array) for name, array in params.items()}
    return Checkpoint(0, "training", 0, params, zeros, zeros, {})
