"""Fixed points of a step, stable or not, and their multipliers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from rnn_study.dynamics.lyapunov import evolve
from rnn_study.dynamics.step import Step

_AT_ONCE = 2**24
"""Entries of the Jacobians that are held at a time: 128 MiB in float64."""
_PUSHED = 2**19
"""Entries of the deviations that are pushed at a time: what a step holds of them on the way is some
tens of times as much."""


@dataclass(frozen=True)
class FixedPoints:
    """Fixed points of all members and inputs in one list, which can be sliced and masked.

    `found[found.stable]` are the attracting ones, `found.of(s, b)` those of one member and input.
    """

    seed: Int[Tensor, "F"]
    """The index along S."""
    input: Int[Tensor, "F"]
    """The index along B."""
    point: Float[Tensor, "F D"]
    multipliers: Complex[Tensor, "F D"]
    """The eigenvalues of the Jacobian there, the largest in absolute value first."""
    residual: Float[Tensor, "F"]
    """The distance to the next state, |f(x) - x|."""
    hits: Int[Tensor, "F"]
    """How many starts led the search here. It is no basin of attraction: see `attractors`."""

    def __len__(self) -> int:
        return len(self.seed)

    def __getitem__(self, which: Any) -> FixedPoints:
        """Some of them: an index, a slice, a mask."""
        index = torch.arange(len(self), device=self.seed.device)[which].reshape(-1)
        return FixedPoints(*(value[index] for value in vars(self).values()))

    def __iter__(self) -> Iterator[FixedPoints]:
        return (self[i] for i in range(len(self)))

    @property
    def stable(self) -> Bool[Tensor, "F"]:
        """Whether all multipliers lie inside the unit circle, so that nearby states arrive."""
        return self.multipliers[:, 0].abs() < 1

    def of(self, seed: int, input: int = 0) -> FixedPoints:
        """Those of one member and input."""
        return self[(self.seed == seed) & (self.input == input)]


@torch.no_grad()
def fixed_points(
    step: Step,
    starts: Float[Tensor, "S B P D"],
    iterations: int = 100,
    tolerance: float | None = None,
    apart: float | None = None,
) -> FixedPoints:
    """The fixed points of `step` that a search from P starts per input finds, each once.

    Solves f(x) = x by damped Newton steps (Levenberg and Marquardt): far from a solution they
    descend the speed |f(x) - x|^2 / 2 (Sussillo and Barak, Neural Computation 25, 2013), near one
    they are Newton's. A search counts if its residual ends below `tolerance`, relative to 1 + |x|;
    two points within `apart`, relative likewise, are one. Both default to what the number type can
    tell. Apply it to `iterate(step, p)` for cycles of period p. No search proves that it found all.
    """
    eps = torch.finfo(starts.dtype).eps
    tolerance = 100 * eps if tolerance is None else tolerance
    apart = eps**0.4 if apart is None else apart
    share = max(1, _AT_ONCE // (starts[:, :, 0].numel() * starts.shape[-1]))
    parts = [_search(step, part, iterations, tolerance) for part in starts.split(share, 2)]
    points, residual = (torch.cat(part, 2) for part in zip(*parts, strict=True))
    found = [
        (s, b, *point)
        for s in range(starts.shape[0])
        for b in range(starts.shape[1])
        for point in _distinct(points[s, b], residual[s, b], tolerance, apart)
    ]
    seed, place, at, hits = (
        torch.tensor([row[i] for row in found], dtype=torch.long, device=starts.device)
        for i in range(4)
    )
    multipliers = _multipliers(step, points, seed, place, at)
    return FixedPoints(
        seed, place, points[seed, place, at], multipliers, residual[seed, place, at], hits
    )


def _search(
    step: Step, x: Float[Tensor, "S B P D"], iterations: int, tolerance: float
) -> tuple[Float[Tensor, "S B P D"], Float[Tensor, "S B P"]]:
    """Levenberg's steps from each start; the points and their residuals."""
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    damping = x.new_full(x.shape[:-1], 1e-3)
    for _ in range(iterations):
        jacobian, moved = _jacobian(step, x)
        error, slope = (moved - x)[..., None], jacobian - eye
        residual = error.squeeze(-1).norm(dim=-1)
        if (residual <= tolerance / 100 * (1 + x.norm(dim=-1))).all():
            break
        normal = slope.mT @ slope
        scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(x.dtype).tiny)
        damped = normal + (damping * scale)[..., None, None] * eye
        change, _ = torch.linalg.solve_ex(damped, slope.mT @ error)
        tried = x - change.squeeze(-1)
        after = (_apply(step, tried) - tried).norm(dim=-1)
        better = after < residual  # false where NaN
        x = torch.where(better[..., None], tried, x)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-15, 1e15)
    return x, (_apply(step, x) - x).norm(dim=-1)


def _distinct(
    points: Float[Tensor, "P D"], residual: Float[Tensor, "P"], tolerance: float, apart: float
) -> list[tuple[int, int]]:
    """The best of the searches for each point, and how many there were, in the order of arrival."""
    size = 1 + points.norm(dim=-1)
    left = residual <= tolerance * size
    found = []
    while left.any():
        first = left.nonzero()[0, 0]
        near = left & ((points - points[first]).norm(dim=-1) <= apart * size[first])
        best = residual.where(near, torch.inf).argmin()
        found.append((int(best), int(near.sum())))
        left &= ~near
    return found


def _multipliers(
    step: Step, points: Float[Tensor, "S B P D"], seed: Tensor, place: Tensor, at: Tensor
) -> Complex[Tensor, "F D"]:
    """The eigenvalues of the Jacobian at each point that was found, a start of all at a time."""
    size = points.shape[-1]
    values = points.new_zeros(len(seed), size).to(points.dtype.to_complex())
    for p in at.unique().tolist():
        here = at == p
        jacobian, _ = _jacobian(step, points[:, :, p : p + 1])
        found = torch.linalg.eigvals(jacobian[seed[here], place[here], 0])
        order = found.abs().argsort(-1, descending=True)
        values[here] = found.gather(-1, order)
    return values


def _jacobian(
    step: Step, x: Float[Tensor, "S B P D"]
) -> tuple[Float[Tensor, "S B P D D"], Float[Tensor, "S B P D"]]:
    """The Jacobian at each point, rows of outputs, and the next states."""
    flat = x.flatten(1, 2)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    columns = eye.split(max(1, _PUSHED // flat.numel()), 1)
    parts = [evolve(step, flat, part.expand(*flat.shape, -1)) for part in columns]
    jacobian, moved = torch.cat([pushed for _, pushed in parts], -1), parts[0][0]
    return jacobian.unflatten(1, x.shape[1:3]), moved.unflatten(1, x.shape[1:3])


def _apply(step: Step, x: Float[Tensor, "S B P D"]) -> Float[Tensor, "S B P D"]:
    return step(x.flatten(1, 2)).unflatten(1, x.shape[1:3])
