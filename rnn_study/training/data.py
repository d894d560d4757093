"""The data of a pack: `PackData`, sequences of every member, one copy where data seeds agree.

`SplitData` is what all kinds of data have in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from rnn_study.config import Trial
from rnn_study.randomness import generator
from rnn_study.tasks import Split, sequence_task


class SplitData(ABC):
    """One split's data for the members of a pack."""

    @abstractmethod
    def keep(self, members: Tensor) -> None:
        """Only these members from now on."""


class PackData(SplitData):
    """One split's sequences for the members of a pack, on a device."""

    def __init__(self, trials: Sequence[Trial], split: Split, device: torch.device) -> None:
        first = trials[0]
        self.task = sequence_task(first.task)
        self.size = first.train_size if split == "train" else first.val_size
        self.batch = first.batch
        seeds = sorted({trial.data_seed for trial in trials})
        drawn = [self.task.sequences(seed, split, first.length, self.size) for seed in seeds]
        self._inputs = torch.from_numpy(np.stack([d.inputs for d in drawn])).to(device)
        self._targets = torch.from_numpy(np.stack([d.targets for d in drawn])).to(device)
        rows = [seeds.index(trial.data_seed) for trial in trials]
        self._rows = torch.tensor(rows, device=device)[:, None]  # (S, 1)

    def keep(self, members: Tensor) -> None:
        self._rows = self._rows[members]

    def shuffled(
        self, trials: Sequence[Trial], epochs: np.ndarray
    ) -> Iterator[tuple[Float[Tensor, "S T B I"], Tensor]]:
        """Batches of one epoch, each member in the order that its seed draws for its epoch."""
        return self._batches(self.order(trials, epochs))

    def order(self, trials: Sequence[Trial], epochs: np.ndarray) -> Integer[Tensor, "S N"]:
        """The sequences of one epoch in that order."""
        orders = [
            generator(trial.seed, "order", int(epoch)).permutation(self.size)
            for trial, epoch in zip(trials, epochs, strict=True)
        ]
        return torch.from_numpy(np.stack(orders)).to(self._rows.device)

    def in_order(self) -> Iterator[tuple[Float[Tensor, "S T B I"], Tensor]]:
        """All sequences once; the last batch may be smaller."""
        order = torch.arange(self.size, device=self._rows.device)
        return self._batches(order.expand(len(self._rows), -1))

    def chosen(self, columns: Integer[Tensor, "S B"]) -> tuple[Float[Tensor, "S T B I"], Tensor]:
        """The batch of these sequences of each member."""
        x = self.task.encode(self._inputs[self._rows, columns].transpose(1, 2))
        return x, self._targets[self._rows, columns]

    def _batches(self, order: Tensor) -> Iterator[tuple[Float[Tensor, "S T B I"], Tensor]]:
        return map(self.chosen, order.split(self.batch, 1))
