"""Adam (Kingma and Ba, 2015) for a pack: every member has its own rate, step count and clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.native.library import Library, Shape, for_tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Pace = tuple[slice, float]
"""A part of a member's parameters, and its learning rate as a share of the others'."""


@dataclass
class Adam:
    """First and second moments, and the steps taken; one row a member."""

    first: Float[Tensor, "S P"]
    second: Float[Tensor, "S P"]
    steps: np.ndarray
    """(S,) int64, on the host."""

    @classmethod
    def zeros(cls, params: Float[Tensor, "S P"]) -> Adam:
        """No step taken yet."""
        steps = np.zeros(len(params), dtype=np.int64)
        return cls(torch.zeros_like(params), torch.zeros_like(params), steps)

    def corrections(self, rates: np.ndarray, batches: int) -> Float[Tensor, "N 2 S 1"]:
        """What the next N = `batches` steps need to know of the steps before them.

        `rates`: (S,) learning rates. Of each step the rate over the first bias correction, and one
        over the root of the second; computed in float64 on the host, once for all, so that no step
        waits for it.
        """
        steps = self.steps + np.arange(1, batches + 1)[:, None]
        rate, spread = rates / (1 - BETA1**steps), 1 / np.sqrt(1 - BETA2**steps)
        both = torch.from_numpy(np.stack((rate, spread), 1))
        return both.to(self.first.device, self.first.dtype)[..., None]

    @torch.no_grad()
    def update_(
        self,
        params: Float[Tensor, "S P"],
        gradient: Float[Tensor, "S P"],
        correction: Float[Tensor, "2 S 1"],
        paces: Sequence[Pace] = (),
    ) -> None:
        """One step in place, with its entry of `corrections`; the caller counts `steps`."""
        library = for_tensor(params)
        if library is not None:
            self._native_step_(library, params, gradient, correction, paces)
            return
        rate, spread = correction
        self.first.mul_(BETA1).add_(gradient * (1 - BETA1))
        self.second.mul_(BETA2).add_(gradient.square() * (1 - BETA2))
        step = rate * self.first / (self.second.sqrt() * spread + EPSILON)
        for part, pace in paces:
            step[:, part] *= pace
        params.sub_(step)

    def _native_step_(
        self,
        library: Library,
        params: Float[Tensor, "S P"],
        gradient: Float[Tensor, "S P"],
        correction: Float[Tensor, "2 S 1"],
        paces: Sequence[Pace],
    ) -> None:
        """The same in one pass over each part."""
        members, size = params.shape
        shape = Shape(members, 0, 0, size, 0)
        for start, stop, pace in _parts(size, paces):
            library.call(
                "adam", shape, params, start, stop, pace, BETA1, BETA2, EPSILON,
                correction.contiguous(), gradient, self.first, self.second, params,
            )  # fmt: skip

    def clone(self) -> Adam:
        """A copy that can be stepped on its own."""
        return Adam(self.first.clone(), self.second.clone(), self.steps.copy())

    def keep(self, members: Tensor) -> Adam:
        """The rows that stay."""
        return Adam(self.first[members], self.second[members], self.steps[members.cpu().numpy()])


def _parts(size: int, paces: Sequence[Pace]) -> Iterator[tuple[int, int, float]]:
    """Start, end and pace of what a row consists of, in order."""
    begun = 0
    for part, pace in sorted(paces, key=lambda pace: pace[0].start):
        yield begun, part.start, 1.0
        yield part.start, part.stop, float(pace)
        begun = part.stop
    yield begun, size, 1.0


def clip_(gradient: Float[Tensor, "S P"], largest: float) -> Float[Tensor, "S"]:
    """Scales each member's gradient down to norm `largest` in place; returns the norms before."""
    library = for_tensor(gradient)
    if library is not None and gradient.is_contiguous():
        norms = gradient.new_empty(len(gradient))
        shape = Shape(len(gradient), 0, 0, gradient.shape[1], 0)
        library.call("clip", shape, gradient, float(largest), gradient, norms)
        return norms
    norms = gradient.square().sum(1).sqrt()
    gradient.mul_((largest / (norms + 1e-6)).clamp_max(1)[:, None])  # 1e-6 as torch.nn.utils has it
    return norms
