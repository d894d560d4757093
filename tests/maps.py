"""Textbook maps as steps, in float64. A parameter may run over the members: one value each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnn_study.dynamics import Step

F64 = torch.float64


def logistic(*r: float) -> Step:
    """x' = r x (1 - x). Period doublings at r = 3 and 1 + sqrt 6."""
    rates = torch.tensor(r, dtype=F64)[:, None, None]
    return lambda x: rates * x * (1 - x)


def henon(z: Tensor) -> Tensor:
    """Henon (1976) at a = 1.4, b = 0.3: det J = -0.3 everywhere."""
    x, y = z.unbind(-1)
    return torch.stack((1 - 1.4 * x * x + y, 0.3 * x), -1)


def delayed_logistic(*a: float) -> Step:
    """Maynard Smith (1968). Its fixed point 1 - 1/a has a pair exp(+-i pi/3) at a = 2."""
    rates = torch.tensor(a, dtype=F64)[:, None]

    def step(z: Tensor) -> Tensor:
        now, before = z.unbind(-1)
        return torch.stack((rates * now * (1 - before), now), -1)

    return step


def bistable(x: Tensor) -> Tensor:
    """Fixed points -1 and 1 attract everything below and above the fixed point 0."""
    return x + 0.5 * (x - x**3)


def linear(matrices: Tensor) -> Step:
    """x' = A x, a matrix a member."""
    return lambda x: torch.einsum("sij,sbj->sbi", matrices, x)


def rotation(angle: float, size: float = 1.0) -> Tensor:
    at = torch.tensor(angle, dtype=F64)
    rows = (torch.stack((at.cos(), -at.sin())), torch.stack((at.sin(), at.cos())))
    return size * torch.stack(rows)[None]


def at(*shape: int, value: float | Sequence[float] = 0.3) -> Tensor:
    return torch.tensor(value, dtype=F64).expand(*shape).clone()
