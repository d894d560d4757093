"""A pack's networks, their parameters in one flat tensor a member.

`Layout` is what all have in common; `Network` is a cell with a linear read-out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from rnn_study.cells import CELLS
from rnn_study.cells.cell import Parameters, uniform
from rnn_study.config import Trial
from rnn_study.randomness import generator
from rnn_study.tasks import SequenceTask, Task, sequence_task
from rnn_study.training.adam import Pace

ALIGNMENT = 64
"""Floats. Members start at multiples of it, so that vector instructions and their scalar rests fall
on the same entries of a member whatever its place in the pack."""


class Layout(ABC):
    """How the parameters of S networks of one shape lie in memory.

    Those of a member are one row of a flat (S, P) tensor: the cell's, then the others. One row is
    clipped, stepped, kept or left with one operation.
    """

    def __init__(self, trial: Trial) -> None:
        self.cell = CELLS[trial.cell]
        self.hidden = trial.hidden
        self._shapes = {name: array.shape for name, array in self.init(trial).items()}
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        self._sizes = [*sizes, -sum(sizes) % ALIGNMENT]
        self.size = sum(self._sizes)
        """P, floats a member."""
        self.paces = self._paces(trial)
        """The parts of a member's parameters that have a learning rate of their own."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """What they are trained on."""

    @abstractmethod
    def init(self, trial: Trial) -> dict[str, np.ndarray]:
        """The initial parameters of one member, float32, from its own seed."""

    def _paces(self, trial: Trial) -> list[Pace]:
        if trial.orthogonal_rate == 1 or self.cell.orthogonal is None:
            return []
        place = [*self._shapes].index(self.cell.orthogonal)
        first = sum(self._sizes[:place])
        return [(slice(first, first + self._sizes[place]), trial.orthogonal_rate)]

    def project_(self, params: Parameters) -> None:
        """Moves parameters, in place, into the set that the cell allows; after each update."""
        self.cell.project_(params)

    def flatten(self, members: Sequence[dict[str, np.ndarray]]) -> Float[Tensor, "S P"]:
        """Named arrays of each member as rows."""
        rows = np.zeros((len(members), self.size), dtype=np.float32)
        for row, arrays in zip(rows, members, strict=True):
            parts = [np.ravel(arrays[name]) for name in self._shapes]
            row[: self.size - self._sizes[-1]] = np.concatenate(parts)
        return torch.from_numpy(rows)

    def views(self, flat: Float[Tensor, "S P"]) -> Parameters:
        """The named tensors inside `flat`, without a copy."""
        parts = flat.split(self._sizes, 1)
        named = zip(self._shapes.items(), parts, strict=False)  # the padding has no name
        return {name: part.unflatten(1, shape) for (name, shape), part in named}

    def named(self, row: Float[Tensor, "P"]) -> dict[str, np.ndarray]:
        """A host row as named arrays, the inverse of `flatten` for one member."""
        return {name: tensor[0].numpy() for name, tensor in self.views(row[None]).items()}

    def remembered(self, row: Float[Tensor, "P"]) -> dict[str, np.ndarray]:
        """What an album keeps of a network at every look: all of it."""
        return self.named(row)

    def gradient(self, loss: Float[Tensor, "S"], params: Parameters) -> Float[Tensor, "S P"]:
        """The gradient of each member's loss, flat."""
        # sum, not mean: a member's gradient must not depend on the pack's size
        parts = torch.autograd.grad(loss.sum(), list(params.values()))
        padding = loss.new_zeros(len(loss), self._sizes[-1])
        return torch.cat([part.flatten(1) for part in (*parts, padding)], 1)


class Network(Layout):
    """The forward pass of S cells with a linear read-out: `w_out` (H, O) and `b_out` (O)."""

    def __init__(self, trial: Trial) -> None:
        self._task = sequence_task(trial.task)
        super().__init__(trial)

    @property
    def task(self) -> SequenceTask:
        return self._task

    def init(self, trial: Trial) -> dict[str, np.ndarray]:
        rng = generator(trial.seed, "weights", trial.cell, trial.hidden)
        cell = self.cell.init(rng, self.task.inputs, trial.hidden)
        bound = trial.hidden**-0.5  # torch.nn.Linear's default
        return {
            **cell,
            "w_out": uniform(rng, bound, trial.hidden, self.task.outputs),
            "b_out": uniform(rng, bound, self.task.outputs),
        }

    def outputs(self, params: Parameters, x: Float[Tensor, "S T B I"]) -> Float[Tensor, "S B *T O"]:
        """The read-out at the last step or at every step, from a zero initial state."""
        members, steps, batch, _ = x.shape
        weights = self.cell.weights(params)
        state = x.new_zeros(members, batch, self.cell.state_size(self.hidden))
        seen, state = self.cell.scan(weights, x, state)
        bias, w_out = params["b_out"][:, None], params["w_out"]
        outputs = self.task.outputs
        if outputs == 1:  # a product of width one rounds otherwise in a pack of one than in others
            bias, w_out = pad(bias, (0, 1)), pad(w_out, (0, 1))
        if not self.task.every_step:
            last = self.cell.output(state)
            if batch == 1:  # nor does the gradient of a product with a single row round alike
                last = pad(last, (0, 0, 0, 1))
            return torch.baddbmm(bias, last, w_out)[:, :batch, :outputs]
        read = torch.baddbmm(bias, seen.transpose(1, 2).flatten(1, 2), w_out)  # (S, B T, O)
        return read.unflatten(1, (batch, steps))[..., :outputs]
