"""Continuation: a fixed point followed along a segment between two networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rnn_study.dynamics.bifurcations import Bifurcation, bifurcations
from rnn_study.dynamics.fixed_points import FixedPoints, fixed_points
from rnn_study.dynamics.step import Step


def follow(
    step_at: Callable[[float], Step], start: Float[Tensor, "1 1 D"], values: np.ndarray
) -> list[FixedPoints]:
    """The fixed point next to `start`, followed along `values` by Newton's method.

    `step_at` gives the step at a value. Every search starts from the point before, so neighbouring
    values have to be close. An empty entry, and all after it: the point was lost, as at a fold.
    """
    found: list[FixedPoints] = []
    for value in values:
        points = fixed_points(step_at(float(value)), start[:, :, None], iterations=30)
        if not len(points):
            return found + [points] * (len(values) - len(found))
        found.append(points)
        start = points.point[None]
    return found


def passed(
    step_at: Callable[[float], Step],
    start: Float[Tensor, "1 1 D"],
    values: np.ndarray,
) -> list[Bifurcation]:
    """The bifurcations that the fixed point next to `start` passes along `values`, in their order.

    A point that is lost counts as a fold, without a multiplier: it met another and vanished, or
    moved farther than the search follows.
    """
    points = follow(step_at, start, values)
    there = [bool(len(each)) for each in points]
    kept = sum(there)
    found = bifurcations(values[:kept].tolist(), points[:kept])
    if 0 < kept < len(values):
        low, high = values[kept - 1], values[kept]
        found.append(Bifurcation(float(low), float(high), "fold", complex("nan"), gains=False))
    return found
