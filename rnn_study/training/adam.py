"""Adam (Kingma and Ba, 2015) for a pack: every member has its own rate, step count and clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class Adam:
    """First and second moments, and the steps taken; one row a member."""

    first: Float[Tensor, "S P"]
    second: Float[Tensor, "S P"]
    steps: np.ndarray
    """(S,) int64, on the host: bias corrections are computed there in float64."""

    @classmethod
    def zeros(cls, params: Float[Tensor, "S P"]) -> Adam:
        """No step taken yet."""
        steps = np.zeros(len(params), dtype=np.int64)
        return cls(torch.zeros_like(params), torch.zeros_like(params), steps)

    @torch.no_grad()
    def update_(
        self, params: Float[Tensor, "S P"], gradient: Float[Tensor, "S P"], rates: np.ndarray
    ) -> None:
        """One step in place. `rates`: (S,) learning rates."""
        self.steps = self.steps + 1
        self.first.mul_(BETA1).add_(gradient * (1 - BETA1))
        self.second.mul_(BETA2).add_(gradient.square() * (1 - BETA2))
        rate = rates / (1 - BETA1**self.steps)
        spread = 1 / np.sqrt(1 - BETA2**self.steps)
        step = column(rate, params) * self.first
        params.sub_(step / (self.second.sqrt() * column(spread, params) + EPSILON))

    def keep(self, members: Tensor) -> Adam:
        """The rows that stay."""
        return Adam(self.first[members], self.second[members], self.steps[members.cpu().numpy()])


def column(values: np.ndarray, like: Tensor) -> Float[Tensor, "S 1"]:
    """Host values, one a member, as a column beside `like`."""
    return torch.from_numpy(values).to(like.device, like.dtype)[:, None]


def clip_(gradient: Float[Tensor, "S P"], largest: float) -> Float[Tensor, "S"]:
    """Scales each member's gradient down to norm `largest` in place; returns the norms before."""
    norms = gradient.square().sum(1).sqrt()
    gradient.mul_((largest / (norms + 1e-6)).clamp_max(1)[:, None])  # 1e-6 as torch.nn.utils has it
    return norms
