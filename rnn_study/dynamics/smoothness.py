"""How rough the cost function gets with the sequence length: gradient and curvature on a segment.

The paper's Theorem 1 (Ribeiro et al., AISTATS 2020, Eq. 6 and 7) bounds both by the Lipschitz
constant L_f of the step, for sequences of N steps:

    L_f          gradient    curvature
    below 1      constant    constant
    1            N           N^3
    above 1      L_f^2N      L_f^3N
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.cells.cell import Cell, Parameters
from rnn_study.dynamics.lyapunov import spread

Cost = Callable[[Parameters, int], Tensor]
"""The cost of each member on sequences of N steps, (S,); twice differentiable."""


@dataclass(frozen=True)
class Smoothness:
    """Gradient and curvature at points of a segment, for several lengths."""

    positions: Float[Tensor, "S"]
    """0 at the start of the segment, 1 at its end."""
    lengths: tuple[int, ...]
    """N, time steps."""
    cost: Float[Tensor, "L S"]
    gradient: Float[Tensor, "L S"]
    """The Euclidean norm of the gradient in all parameters."""
    curvature: Float[Tensor, "L S"]
    """The Hessian's eigenvalue of the largest absolute value, with its sign."""

    def exponential(self) -> tuple[float, float]:
        """Growth of the largest gradient and curvature on the segment, nats per step of N.

        Theorem 1 allows 2 log L_f and 3 log L_f at most where L_f > 1, none where L_f <= 1.
        """
        return self._slopes([float(n) for n in self.lengths])

    def power(self) -> tuple[float, float]:
        """Growth of the same as powers of N. Theorem 1 allows 1 and 3 at most where L_f = 1."""
        return self._slopes([math.log(n) for n in self.lengths])

    def _slopes(self, against: list[float]) -> tuple[float, float]:
        """Least-squares slopes of the logarithms over the longer half of the lengths."""
        half = min(len(against) // 2, len(against) - 2)
        slopes = [
            np.polyfit(against[half:], values.abs().amax(1).log().cpu().numpy()[half:], 1)[0]
            for values in (self.gradient, self.curvature)
        ]
        return float(slopes[0]), float(slopes[1])


def smoothness(
    cost: Cost,
    start: Parameters,
    end: Parameters,
    lengths: Sequence[int],
    points: int = 21,
    iterations: int = 30,
) -> Smoothness:
    """Gradient norms and largest curvatures of `cost` along the segment from `start` to `end`.

    Both ends are networks of one member (leading axis 1); the points of the segment become the
    members of one pack. The curvature comes from power iteration with products of the Hessian and
    a vector, so it is approached from below. Raises ValueError for fewer than two lengths.
    """
    if len(lengths) < 2:
        raise ValueError(f"lengths: {tuple(lengths)} is not allowed; growth needs two or more")
    like = next(iter(start.values()))
    at = torch.linspace(0, 1, points, dtype=like.dtype, device=like.device)
    names, sizes = list(start), [start[name].numel() for name in start]
    ends = [torch.cat([side[name].detach().flatten() for name in names]) for side in (start, end)]
    flat = ((1 - at[:, None]) * ends[0] + at[:, None] * ends[1]).requires_grad_()  # (S, P)

    def of(length: int, flat: Tensor) -> Tensor:
        parts = zip(names, flat.split(sizes, 1), strict=True)
        return cost({k: part.unflatten(1, start[k].shape[1:]) for k, part in parts}, length)

    rows = [_measure(partial(of, length), flat, iterations) for length in lengths]
    costs, gradients, curvatures = (torch.stack(column) for column in zip(*rows, strict=True))
    return Smoothness(at, tuple(lengths), costs, gradients, curvatures)


def _measure(
    cost: Callable[[Tensor], Tensor], flat: Float[Tensor, "S P"], iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cost, norm of the gradient and largest curvature of every member."""
    values = cost(flat)
    # Members never mix, so the Hessian of the sum is block-diagonal: one product serves them all.
    (gradient,) = torch.autograd.grad(values.sum(), flat, create_graph=True)
    direction = spread(flat.shape[1], 1, flat.detach())[:, 0].expand_as(flat)
    curvature = torch.zeros_like(values)
    for _ in range(iterations):
        (product,) = torch.autograd.grad(gradient, flat, direction, retain_graph=True)
        curvature = (product * direction).sum(1)
        length = product.norm(dim=1, keepdim=True)
        direction = torch.where(length > 0, product / length, direction)
    return values.detach(), gradient.detach().norm(dim=1), curvature.detach()


def scan_cost(
    cell: Cell,
    x: Float[Tensor, "1 T B I"],
    target: Float[Tensor, "1 T B H"],
    state: Float[Tensor, "1 B D"],
) -> Cost:
    """The mean square error of a cell's outputs over the first N steps, twice differentiable.

    It runs the readable loop: the fast scans have no second derivative.
    """

    def cost(params: Parameters, length: int) -> Float[Tensor, "S"]:
        members = len(next(iter(params.values())))
        held = x[:, :length].expand(members, -1, -1, -1)
        outputs, _ = Cell.scan(cell, cell.weights(params), held, state.expand(members, -1, -1))
        return (outputs - target[:, :length]).square().mean((1, 2, 3))

    return cost
