"""`Members`: the state of a pack in training, and how members join, are saved and leave."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.config import Pack, Trial
from rnn_study.training.adam import Adam
from rnn_study.training.checkpoint import Checkpoint, Checkpoints
from rnn_study.training.data import SplitData
from rnn_study.training.network import Layout
from rnn_study.training.schedule import Plateaus, rate
from rnn_study.training.streams import data_of
from rnn_study.training.tied import network_of

History = dict[str, np.ndarray]
"""A trial's numbers by name, one entry an epoch: `epoch` (from 1) and the metrics."""

Growing = dict[str, "array[Any]"]
"""A `History` to which an epoch is added in place, whatever the number of epochs before."""


@dataclass
class Place:
    """Where members are within an epoch."""

    batches: np.ndarray
    """(S,) batches of the epoch that are done."""
    values: dict[str, Tensor]
    """What the rest of the epoch needs to know of them, by name; (S, ...) each."""

    def keep(self, members: Tensor) -> Place:
        """That of these members."""
        values = {name: value[members] for name, value in self.values.items()}
        return Place(self.batches[members.cpu().numpy()], values)


@dataclass
class Members:
    """S networks in training. Members may have trained different numbers of epochs."""

    trials: tuple[Trial, ...]
    network: Layout
    flat: Float[Tensor, "S P"]
    adam: Adam
    epochs: np.ndarray
    """(S,) epochs trained so far."""
    histories: list[Growing]
    plateaus: list[Plateaus]
    """Of their validation losses."""
    training: SplitData
    validation: SplitData
    test: SplitData | None = None
    """What a text has beside."""
    place: Place | None = None
    """None: they have not begun the epoch to come."""
    best: Float[Tensor, "S P"] | None = None
    """On the host: the parameters after the epoch with the best validation value, of a task with
    test data, whose tables are of that epoch; the initial ones before there is any."""
    saved: float = field(default_factory=time.monotonic)
    """When checkpoints of all were last due."""

    def __len__(self) -> int:
        return len(self.trials)

    @classmethod
    def start(
        cls,
        pack: Pack,
        device: torch.device,
        checkpoints: Checkpoints | None = None,
        corpora: Path | None = None,
    ) -> Members | None:
        """The members of `pack` that are not finished, where they were; None if all are."""
        found = {t: checkpoints.load(t) if checkpoints else None for t in pack.trials}
        states = {t: state for t, state in found.items() if not (state and state.finished)}
        if not states:
            return None
        trials = tuple(states)
        network = network_of(trials[0])
        fresh = {trial: _fresh(network, trial) for trial in trials if states[trial] is None}
        begun = [states[trial] or fresh[trial] for trial in trials]
        data = data_of(trials, corpora, device)
        tested = network.task.metric.tested
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
            [
                {name: array(v.dtype.char, v.tobytes()) for name, v in state.history.items()}
                for state in begun
            ],
            [
                reduce(Plateaus.after, state.history.get("val_loss", ()), Plateaus(trial.patience))
                for trial, state in zip(trials, begun, strict=True)
            ],
            data["train"],
            data["val"],
            data.get("test"),
            _place(begun, device),
            network.flatten([state.best or state.params for state in begun]) if tested else None,
        )

    def rates(self, losses: np.ndarray | None = None) -> np.ndarray:
        """(S,) learning rates of the epoch to come; `losses`, (S,): the validation's of the last
        epoch, if that is not recorded yet."""
        so_far = self.plateaus
        if losses is not None:
            so_far = [each.after(loss) for each, loss in zip(so_far, losses, strict=True)]
        return np.array([
            rate(trial, int(epoch), each)
            for trial, epoch, each in zip(self.trials, self.epochs, so_far, strict=True)
        ])  # fmt: skip

    def record(self, metrics: dict[str, np.ndarray]) -> None:
        """Appends the metrics of the epoch that is counted, (S,) each, to the histories, and keeps
        the parameters of the members that were never better."""
        if self.best is not None:
            better = torch.from_numpy(self._better(metrics[self.network.task.metric.column]))
            self.best[better] = self.flat[better.to(self.flat.device)].cpu()
        pairs = zip(self.plateaus, metrics["val_loss"], strict=True)
        self.plateaus = [each.after(loss) for each, loss in pairs]
        rows = {"epoch": self.epochs, **metrics}
        for s, past in enumerate(self.histories):
            for name, values in rows.items():
                past.setdefault(name, array(values.dtype.char)).append(values[s])

    def _better(self, values: np.ndarray) -> np.ndarray:
        """(S,) bool: whose validation value, (S,), is better than those of all epochs before; as
        `summary` counts them, the first of equals and none that is not finite."""
        metric = self.network.task.metric
        better = np.isfinite(values)
        for s, past in enumerate(self.histories):
            earlier = np.array(past.get(metric.column, values[:0]))
            earlier = earlier[np.isfinite(earlier)]
            if better[s] and len(earlier):
                before = metric.best(earlier)
                better[s] = metric.best((before, values[s])) != before
        return better

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
                history={name: np.array(v) for name, v in self.histories[s].items()},
                batches=int(self.place.batches[s]) if self.place else 0,
                place={k: v[s].cpu().numpy() for k, v in self.place.values.items()}
                if self.place
                else {},
                best={} if self.best is None else self.network.named(self.best[s]),
            )
            checkpoints.save(self.trials[s], state)

    def save_all(self, checkpoints: Checkpoints) -> None:
        """Writes a checkpoint of each, within an epoch."""
        self.save(checkpoints, ("training",) * len(self), np.ones(len(self), dtype=bool))

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
            histories=[{name: v[:] for name, v in self.histories[s].items()} for s in rows],
            plateaus=[self.plateaus[s] for s in rows],
            training=training,
            validation=validation,
            place=self.place and self.place.keep(members),
            best=None if self.best is None else self.best[torch.from_numpy(rows)],
        )

    def abreast(self) -> list[Members]:
        """Parts whose members are at the same place within their epoch: only these can train
        together. More than one where a crash came between their checkpoints."""
        if self.place is None:
            return [self]
        return [self.keep(self.place.batches == done) for done in np.unique(self.place.batches)]

    def halves(self) -> tuple[Members, Members]:
        """The first half and the rest, which is not larger."""
        first = np.arange(len(self)) < (len(self) + 1) // 2
        return self.keep(first), self.keep(~first)


def _place(states: Sequence[Checkpoint], device: torch.device) -> Place | None:
    """Where members are within their epoch, of whom some may be at its beginning."""
    within = next((state.place for state in states if state.batches), None)
    if within is None:
        return None
    rows = [
        state.place if state.batches else {k: np.zeros_like(v) for k, v in within.items()}
        for state in states
    ]
    values = {
        name: torch.from_numpy(np.stack([row[name] for row in rows])).to(device) for name in within
    }
    return Place(np.array([state.batches for state in states]), values)


def _fresh(network: Layout, trial: Trial) -> Checkpoint:
    """The state before the first epoch."""
    params = network.init(trial)
    zeros = {name: np.zeros_like(array) for name, array in params.items()}
    return Checkpoint(0, "training", 0, params, zeros, zeros, {})
