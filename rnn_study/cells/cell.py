"""`Cell`: the contract of a recurrent architecture, for many networks at once.

Axes, here and everywhere in the package:

    S  seeds: members of a pack, one network each      I  input channels
    B  batch: sequences                                H  hidden units
    T  time steps                                      D  state size
    O  outputs of the read-out                         N  sequences of a data set

Every parameter has a leading axis S, and no operation ever mixes two members.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Parameters = dict[str, Tensor]
"""Trained tensors by name, each with a leading axis S."""
Weights = dict[str, Tensor]
"""What `step` and `scan` read: the parameters, after the cell's parametrisation."""


class Cell(ABC):
    """A recurrent architecture. Stateless: parameters are passed in.

    A new cell says its `gates`, implements `init` and `step`, and overrides the rest where it
    differs. It may replace `scan` by something faster with the same values and gradients;
    `Cell.scan` stays the oracle.
    """

    gates: int
    """Products with an (H, H) matrix per time step, 3 of a GRU: a measure of cost and memory."""
    orthogonal: str | None = None
    """The parameter whose exponential is an orthogonal recurrent matrix, of a cell that has one."""

    def state_size(self, hidden: int) -> int:
        """D for H = `hidden`."""
        return hidden

    @abstractmethod
    def init(self, rng: np.random.Generator, inputs: int, hidden: int) -> dict[str, np.ndarray]:
        """Initial parameters of one member, without the axis S, float32."""

    def weights(self, params: Parameters) -> Weights:
        """The weights that `step` reads, differentiable in `params`; once an optimiser step."""
        return params

    @abstractmethod
    def step(
        self, weights: Weights, x: Float[Tensor, "S B I"], state: Float[Tensor, "S B D"]
    ) -> Float[Tensor, "S B D"]:
        """The next state.

        On a CPU a member's bits may not depend on its place in the pack. torch rounds `sigmoid`,
        `softplus`, `elu` and `silu` by where a number stands in contiguous memory: they take slices
        of a tensor that is wider than H, as `a.chunk(2, -1)` gives, which torch goes through row by
        row. `tanh`, `exp` and `relu` round alike everywhere; `gelu` and powers do not.
        """

    def scan(
        self, weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B D"]
    ) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B D"]]:
        """Outputs at every time step, and the last state."""
        outputs = []
        for x_t in x.unbind(1):
            state = self.step(weights, x_t, state)
            outputs.append(self.output(state))
        return torch.stack(outputs, 1), state

    def kernel_bytes(self, length: int, batch: int, inputs: int, hidden: int, step: int) -> int:
        """Bytes that its kernels for a GPU, if any, need for a network in training, beside the
        `step` that an optimiser step takes by torch's operations."""
        return 0

    def output(self, state: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch H"]:
        """The part of a state that the read-out sees."""
        return state

    def project_(  # noqa: B027 (most cells allow any)
        self, params: Parameters, largest: Float[Tensor, "S"] | None = None
    ) -> None:
        """Moves parameters, in place, into the set that the cell allows; after each update.

        `largest`: what bounds the absolute value of every member's inputs; None: one.
        """


def uniform(rng: np.random.Generator, bound: float, *shape: int) -> np.ndarray:
    """Float32 numbers, uniform within plus or minus `bound`."""
    return rng.uniform(-bound, bound, shape).astype(np.float32)
