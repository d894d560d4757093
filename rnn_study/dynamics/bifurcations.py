"""Where attractors change along training or along a parameter, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from rnn_study.dynamics.fixed_points import FixedPoints


@dataclass(frozen=True)
class Bifurcation:
    """A change between two neighbouring values of the parameter, or two epochs."""

    before: float
    after: float
    """The values between which it happens."""
    kind: str
    """`fold`, `pitchfork`, `transcritical or pitchfork`, `period doubling`, `Neimark-Sacker`, or,
    of a summary, the names of what changes."""
    multiplier: complex
    """The eigenvalue that crosses the unit circle, on its far side; NaN where none is known."""
    gains: bool
    """Whether something becomes unstable or new points appear; else it is passed backwards."""
    point: Float[Tensor, "D"] | None = None
    """Where: the fixed point, on the side where it is unstable or exists."""


def changes(values: Sequence[float], **summary: Sequence[Any]) -> list[Bifurcation]:
    """Where a summary changes along `values`: `changes(epochs, kind=..., period=..., count=...)`.

    Every field has one entry a value (or a tensor with that leading axis). It tells where the
    number, kind or period of attractors changes, not by which bifurcation.
    """
    found = []
    for i, (before, after) in enumerate(pairwise(values)):
        differing = [
            name for name, field in summary.items() if not _equal(field[i], field[i + 1])
        ]
        if differing:
            kind = ", ".join(differing)
            found.append(Bifurcation(before, after, kind, complex("nan"), gains=True))
    return found


def bifurcations(
    values: Sequence[float], points: Sequence[FixedPoints], near: float = 0.5
) -> list[Bifurcation]:
    """Where fixed points appear, vanish or change stability along `values`, and which kind it is.

    `points` holds those of one member and input at each value (`found.of(s, b)`); those of
    `iterate(step, p)` tell of cycles. Each point is followed to the nearest one at the next value.
    A pair of multipliers off the real axis that leaves the unit circle is a Neimark-Sacker
    bifurcation, one near -1 a period doubling. At +1 it is a pitchfork where two points appear (or
    vanish) as well, else transcritical or a pitchfork whose other points were not found. Points
    that appear without such a partner, one of their multipliers within `near` of +1, are a fold.
    """
    found = []
    for (before, after), (old, new) in zip(pairwise(values), pairwise(points), strict=True):
        pairs = _follow(old, new)
        lone = {True: len(new) - len(pairs), False: len(old) - len(pairs)}
        for i, j in pairs:
            gains = bool(old.stable[i]) and not bool(new.stable[j])
            # The number of multipliers outside tells of saddles as well, which never were stable.
            outside = _outside(old.multipliers[i]), _outside(new.multipliers[j])
            if outside[0] == outside[1]:
                continue
            gains = outside[1] > outside[0]
            far, stays = (new[j], old[i]) if gains else (old[i], new[j])
            multiplier = _crossing(stays.multipliers[0], far.multipliers[0])
            kind = _kind(multiplier)
            if kind == "fold":
                more = new if gains else old
                partners = min(lone[True if len(new) > len(old) else False], len(more))
                pitchfork = abs(len(new) - len(old)) == 2 and partners >= 2
                kind = "pitchfork" if pitchfork else "transcritical or pitchfork"
                if pitchfork:
                    lone = {True: max(lone[True] - 2, 0), False: max(lone[False] - 2, 0)}
            found.append(Bifurcation(before, after, kind, multiplier, gains, far.point[0]))
        for appears, several in ((True, new), (False, old)):
            matched = {pair[appears] for pair in pairs}
            rest = [i for i in range(len(several)) if i not in matched]
            if lone[appears] >= 2 and rest:
                born = several[rest]
                off = (born.multipliers - 1).abs()
                closest = off.amin(1).argmin()
                if off[closest].min() <= near:
                    multiplier = complex(born.multipliers[closest][off[closest].argmin()])
                    point = born.point[closest]
                    found.append(Bifurcation(before, after, "fold", multiplier, appears, point))
    return found


def _follow(old: FixedPoints, new: FixedPoints) -> list[tuple[int, int]]:
    """Pairs of points, the nearest first, each in one pair at most."""
    if not len(old) or not len(new):
        return []
    distances = torch.cdist(old.point, new.point)
    pairs = []
    for _ in range(min(len(old), len(new))):
        i, j = divmod(int(distances.argmin()), len(new))
        pairs.append((i, j))
        distances[i] = torch.inf
        distances[:, j] = torch.inf
    return pairs


def _outside(multipliers: Complex[Tensor, "D"]) -> int:
    return int((multipliers.abs() > 1).sum())


def _crossing(inside: Complex[Tensor, "D"], outside: Complex[Tensor, "D"]) -> complex:
    """The multiplier outside the circle that has come there from the nearest inside."""
    index = (inside.abs() > 1).sum()  # both are sorted by size: those beyond it have crossed
    return complex(outside[index])


def _kind(multiplier: complex) -> str:
    if abs(multiplier.imag) > 1e-6 * abs(multiplier):
        return "Neimark-Sacker"
    return "fold" if multiplier.real > 0 else "period doubling"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return bool(one == other)
