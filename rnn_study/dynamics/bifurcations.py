"""Where fixed points change along a parameter, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.dynamics.fixed_points import FixedPoints


@dataclass(frozen=True)
class Bifurcation:
    """A change between two neighbouring values of the parameter."""

    before: int | float
    after: int | float
    """The values between which it happens."""
    kind: str
    """`fold`, `pitchfork`, `transcritical`, `transcritical or pitchfork`, `period doubling`,
    `Neimark-Sacker`."""
    multiplier: complex
    """The eigenvalue that crosses the unit circle, on its far side; NaN where none is known."""
    gains: bool
    """Whether something becomes unstable or new points appear; else it is passed backwards."""
    point: Float[Tensor, "D"] | None = None
    """Where: the fixed point, on the side where it is unstable or exists."""


def bifurcations(
    values: Sequence[int | float], points: Sequence[FixedPoints], near: float = 0.5
) -> list[Bifurcation]:
    """Where fixed points appear, vanish or change stability along `values`, and which kind it is.

    `points` holds those of one member and input at each value (`found.of(s, b)`); those of
    `iterate(step, p)` tell of cycles. Each point is followed to the nearest one at the next value,
    so neighbouring values have to be close. Where a multiplier crosses the unit circle,

    - a pair off the real axis is a Neimark-Sacker bifurcation, one at -1 a period doubling;
    - one at +1 is a pitchfork if two points appear or vanish, transcritical if another point
      crosses the other way, and undecided between them if the search found neither.

    Two points that appear or vanish otherwise, a multiplier within `near` of +1, are a fold.
    """
    found = []
    for between, (old, new) in zip(pairwise(values), pairwise(points), strict=True):
        pairs = _follow(old, new)
        crossings = _crossings(between, old, new, pairs)
        appear = len(new) > len(old)
        more, matched = (new if appear else old), {pair[appear] for pair in pairs}
        lone = more[[i for i in range(len(more)) if i not in matched]]
        at_one = [i for i, crossing in enumerate(crossings) if crossing.kind == _AT_ONE]
        directions = {crossings[i].gains for i in at_one}
        for i in at_one:
            kind = "transcritical" if len(directions) == 2 else _AT_ONE
            kind = "pitchfork" if len(lone) >= 2 else kind
            crossings[i] = replace(crossings[i], kind=kind)
        found += crossings
        if len(lone) >= 2 and not at_one:
            off = (lone.multipliers - 1).abs()
            closest = int(off.amin(1).argmin())
            if off[closest].min() <= near:
                multiplier = complex(lone.multipliers[closest][off[closest].argmin()])
                found.append(Bifurcation(*between, "fold", multiplier, appear, lone.point[closest]))
    return found


_AT_ONE = "transcritical or pitchfork"


def _crossings(
    between: tuple[int | float, int | float],
    old: FixedPoints,
    new: FixedPoints,
    pairs: Sequence[tuple[int, int]],
) -> list[Bifurcation]:
    """The points of which more or fewer multipliers lie outside the unit circle than before."""
    found = []
    for i, j in pairs:
        before, after = (int((of.multipliers.abs() > 1).sum()) for of in (old[i], new[j]))
        if before == after:
            continue
        gains = after > before
        far = new[j] if gains else old[i]
        # Sorted by size: the first after those that were outside already.
        multiplier = complex(far.multipliers[0, min(before, after)])
        found.append(Bifurcation(*between, _kind(multiplier), multiplier, gains, far.point[0]))
    return found


def _kind(multiplier: complex) -> str:
    if abs(multiplier.imag) > 1e-6 * abs(multiplier):
        return "Neimark-Sacker"
    return _AT_ONE if multiplier.real > 0 else "period doubling"


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
