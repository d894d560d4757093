"""What an orbit has settled on: fixed point, cycle, closed curve or torus, or chaos."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Kind(IntEnum):
    """Kinds of attractors, by number so that they can be logged; in the order of complexity."""

    UNDECIDED = 0
    FIXED_POINT = 1
    CYCLE = 2
    QUASI_PERIODIC = 3
    CHAOTIC = 4
    DIVERGED = 5

    @property
    def label(self) -> str:
        """For people: "fixed point"."""
        return (
            "quasi-periodic" if self is Kind.QUASI_PERIODIC else self.name.lower().replace("_", " ")
        )


@dataclass(frozen=True)
class Classification:
    """The kind of each orbit and what tells it; every field has the orbits' leading axes."""

    kind: Int[Tensor, "*orbits"]
    """Values of `Kind`."""
    period: Int[Tensor, "*orbits"]
    """Steps until a fixed point (1) or cycle repeats; 0 for the others."""
    exponent: Float[Tensor, "*orbits"]
    """The largest Lyapunov exponent, nats per step."""
    nearest: Int[Tensor, "*orbits"]
    """The number of steps after which the orbit comes nearest to repeating itself."""
    mismatch: Float[Tensor, "*orbits"]
    """How far it then is from doing so: the largest distance, relative to the size of the states.
    It is read from the last half of the orbit."""
    settling: Float[Tensor, "*orbits"]
    """The same as a multiple of its value in the first half: below one, the orbit still settles."""

    def __getitem__(self, where: Any) -> Classification:
        """A part of the orbits."""
        return Classification(*(value[where] for value in vars(self).values()))

    def to(self, device: torch.device | str) -> Classification:
        """The same on a device."""
        return Classification(*(value.to(device) for value in vars(self).values()))


def classify(
    orbit: Float[Tensor, "*orbits T D"],
    exponents: Float[Tensor, "*orbits K"],
    tolerance: float = 0.005,
    closeness: float = 1e-6,
    max_period: int = 64,
) -> Classification:
    """What each orbit has settled on, from its states and its Lyapunov exponents together.

    - fixed point, cycle: it repeats itself to `closeness`, relative to the size of its states, or
      is still settling on a cycle, and deviations do not grow;
    - chaotic: it does not repeat and its largest exponent exceeds `tolerance` (nats per step);
    - quasi-periodic: it neither repeats nor settles, `stays` where it is, and the exponent is zero
      to `tolerance`;
    - diverged: it is not finite;
    - undecided: the two disagree, as for an orbit that rests on an unstable fixed point, that has
      hardly begun to settle, or whose period exceeds `max_period` (at most a quarter of T).

    Give it at least 200 states. An exponent from N steps is zero to about 1 / N, so `tolerance`
    should exceed that several times. Float32 orbits repeat only to about 1e-5.
    """
    length = orbit.shape[-2]
    if length < 4:
        raise ValueError(f"orbit: {length} states are too few; use 200 or more")
    if orbit.dtype == torch.float32:
        closeness = max(closeness, 1e-5)
    axes = orbit.shape[:-2]
    flat, leading = orbit.flatten(0, -3), exponents[..., 0].flatten()
    found = _repetition(flat, closeness, min(max_period, length // 4))
    repeats = found.late <= closeness
    settles = found.settles
    # Slow settling near a bifurcation also has an exponent near zero. It moves by a small part of
    # its extent a step or period, where a closed curve comes no nearer to repeating than its gaps.
    wanders = found.late * found.size > 1e-3 * (flat.amax(1) - flat.amin(1)).amax(-1)

    grows = leading > tolerance
    ends = ~grows & (repeats | settles)
    kind = torch.full_like(found.nearest, Kind.UNDECIDED)
    kind[grows & ~repeats] = Kind.CHAOTIC
    oscillates = ~repeats & ~settles & wanders & stays(flat)
    kind[(leading.abs() <= tolerance) & oscillates] = Kind.QUASI_PERIODIC
    kind[ends & (found.nearest == 1)] = Kind.FIXED_POINT
    kind[ends & (found.nearest > 1)] = Kind.CYCLE
    kind[leading.isnan() | ~flat.isfinite().flatten(1).all(1)] = Kind.DIVERGED
    ended = (kind == Kind.FIXED_POINT) | (kind == Kind.CYCLE)
    period = found.nearest.where(ended, 0)
    parts = (kind, period, leading, found.nearest, found.late, found.settling)
    return Classification(*(part.unflatten(0, axes) for part in parts))


_SETTLING = 0.8
"""An orbit settles if a half of it comes this many times nearer to repeating than the one before,
and the later one to a twentieth of its size."""


def stays(orbit: Float[Tensor, "n T D"]) -> Bool[Tensor, "n"]:
    """Whether an orbit is at its end where it was at its beginning, and as wide: not what drifts.

    Its first and last third overlap in every direction by half of the narrower, and their widths
    differ by less than a tenth. Directions in which it hardly extends (a thousandth) do not count.
    """
    third = orbit.shape[1] // 3
    (low, high), (late_low, late_high) = (
        (part.amin(1), part.amax(1)) for part in (orbit[:, :third], orbit[:, -third:])
    )
    width, late_width = high - low, late_high - late_low
    overlap = torch.minimum(high, late_high) - torch.maximum(low, late_low)
    extent = orbit.amax(1) - orbit.amin(1)
    counts = extent > 1e-3 * extent.amax(-1, keepdim=True)
    meets = ((overlap >= torch.minimum(width, late_width) / 2) | ~counts).all(-1)
    widths = torch.stack((width.norm(dim=-1), late_width.norm(dim=-1)))
    return meets & (widths.amin(0) >= 0.9 * widths.amax(0))


class _Repetition(NamedTuple):
    """How orbits repeat themselves, each value (orbits,)."""

    nearest: Tensor
    late: Tensor
    settling: Tensor
    settles: Tensor
    size: Tensor


def _repetition(orbit: Float[Tensor, "n T D"], closeness: float, max_period: int) -> _Repetition:
    """The period at which an orbit repeats itself, or comes nearest to it.

    Where it still settles that may not be the period of what it settles on: x' = -0.99 x is nearer
    to itself after two steps than after one. That is the first whose mismatch shrinks as fast.
    """
    size = orbit.abs().amax((1, 2)).clamp_min(torch.finfo(orbit.dtype).tiny)
    relative = orbit.new_full((max_period, len(orbit)), torch.inf)
    shrinks = torch.ones_like(relative)
    rest = torch.arange(len(orbit), device=orbit.device)  # those that repeat at no p so far
    unsolved = orbit
    for p in range(1, max_period + 1):
        distances = (unsolved[:, p:] - unsolved[:, :-p]).abs().amax(-1)
        middle = distances.shape[1] // 2
        before, after = distances[:, :middle].amax(1), distances[:, middle:].amax(1)
        found = (after / size[rest]).nan_to_num(torch.inf)
        relative[p - 1, rest] = found
        shrinks[p - 1, rest] = (after / before).nan_to_num(1.0, posinf=1.0)  # 0 / 0: at rest
        unsolved, rest = unsolved[found > closeness], rest[found > closeness]
        if not len(rest):
            break
    late, nearest = relative.min(0)
    best = shrinks.gather(0, nearest[None])[0]
    settles = (best < _SETTLING) & (late < 0.05)
    alike = shrinks <= (best**0.7).clamp_max(_SETTLING)
    at = torch.where(settles, alike.long().argmax(0), nearest)[None]  # argmax: the first
    late, settling = relative.gather(0, at)[0], shrinks.gather(0, at)[0]
    return _Repetition(at[0] + 1, late, settling, settles, size)
