"""Continuation: a fixed point followed along a segment between two networks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rnn_study.dynamics.bifurcations import Bifurcation, bifurcations
from rnn_study.dynamics.fixed_points import FixedPoints, fixed_points
from rnn_study.dynamics.step import Step

HALVINGS: Final = 4
"""How often the way from one value to the next is halved before a point counts as lost."""


def follow(
    step_at: Callable[[float], Step], start: Float[Tensor, "1 1 D"], values: np.ndarray
) -> list[FixedPoints]:
    """The fixed point next to `start`, followed along `values` by Newton's method.

    `step_at` gives the step at a value. Every search starts from the point before, and counts if a
    search back from what it finds returns there: else it has jumped to another fixed point, and the
    way is halved. An empty entry, and all after it: the point was lost, as at a fold.
    """
    found = [_search(step_at, start, values[0])]
    for before, value in pairwise(values):
        last = found[-1]
        found.append(_moved(step_at, last, before, value, HALVINGS) if len(last) else last)
    return found


def _moved(
    step_at: Callable[[float], Step], old: FixedPoints, before: float, after: float, halvings: int
) -> FixedPoints:
    """The fixed point `old`, followed from the value `before` to `after`; empty if it is lost."""
    new = _search(step_at, old.point[None], after)
    if len(new):
        back = _search(step_at, new.point[None], before)
        if len(back) and _is_same(back.point, old.point, by_far=new.point):
            return new
    if not halvings:
        return new[:0]
    middle = (before + after) / 2
    there = _moved(step_at, old, before, middle, halvings - 1)
    return _moved(step_at, there, middle, after, halvings - 1) if len(there) else there


def _search(
    step_at: Callable[[float], Step], start: Float[Tensor, "1 1 D"], value: float
) -> FixedPoints:
    return fixed_points(step_at(float(value)), start[:, :, None], iterations=30)


def _is_same(
    back: Float[Tensor, "1 D"], old: Float[Tensor, "1 D"], by_far: Float[Tensor, "1 D"]
) -> bool:
    """Whether a search has returned to `old`, compared with how far `by_far` is from it.

    Not to the last digit: where a multiplier is one, a search ends about there.
    """
    allowed = 0.5 * (by_far - old).norm() + 1e-3 * (1 + old.norm())
    return bool((back - old).norm() <= allowed)


def passed(
    step_at: Callable[[float], Step],
    start: Float[Tensor, "1 1 D"],
    values: np.ndarray,
) -> list[Bifurcation]:
    """The bifurcations that the fixed point next to `start` passes along `values`, in their order.

    A point that is lost counts as a fold, without a multiplier: it met another and vanished, or
    moved faster than the search follows.
    """
    points = follow(step_at, start, values)
    there = [bool(len(each)) for each in points]
    kept = sum(there)
    found = bifurcations(values[:kept].tolist(), points[:kept])
    if 0 < kept < len(values):
        low, high = values[kept - 1], values[kept]
        found.append(Bifurcation(float(low), float(high), "fold", complex("nan"), gains=False))
    return found
