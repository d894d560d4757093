"""Known answers: fixed points followed along a parameter, and the bifurcations they pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from maps import at, delayed_logistic, logistic

from rnn_study.dynamics.continuation import follow, passed


def pitchfork(mu):
    """x' = x + mu x - x^3: the origin loses its stability at mu = 0."""
    return lambda x: x + mu * x - x**3


def fold(mu):
    """x' = x + mu + x^2: the fixed points -+sqrt(-mu) meet and vanish at mu = 0."""
    return lambda x: x + mu + x**2


def test_a_point_is_followed_along_its_branch() -> None:
    rates = np.linspace(1.5, 3.5, 21)
    points = follow(logistic, at(1, 1, 1, value=0.3), rates)
    for rate, point in zip(rates, points, strict=True):
        assert point.point.item() == pytest.approx(1 - 1 / rate)  # also where it is unstable
        assert point.multipliers.real.item() == pytest.approx(2 - rate)


def test_where_a_step_is_too_long_the_way_is_halved() -> None:
    """Newton's method at 3.9 takes the point of 1.5 to the other one, the origin."""
    _, point = follow(logistic, at(1, 1, 1, value=0.3), np.array([1.5, 3.9]))
    assert point.point.item() == pytest.approx(1 - 1 / 3.9)


@pytest.mark.parametrize(
    ("step_at", "start", "values", "kind", "where", "multiplier"),
    [
        (logistic, [0.6], (2.5, 3.5), "period doubling", 3.0, -1),
        (delayed_logistic, [0.45, 0.45], (1.8, 2.2), "Neimark-Sacker", 2.0, np.exp(1j * np.pi / 3)),
        (pitchfork, [0.0], (-0.2, 0.2), "transcritical or pitchfork", 0.0, 1),
    ],
)
def test_the_bifurcation_is_named_where_it_happens(
    step_at, start, values, kind, where, multiplier
) -> None:
    place = torch.tensor(start, dtype=torch.float64)[None, None]
    for low, high in (values, values[::-1]):
        (found,) = passed(step_at, place, np.linspace(low, high, 10))
        assert found.kind == kind
        assert min(found.before, found.after) <= where <= max(found.before, found.after)
        assert found.gains == (high > low)
        assert abs(found.multiplier.real - np.real(multiplier)) < 0.1
        assert abs(abs(found.multiplier.imag) - np.imag(multiplier)) < 0.1


def test_a_point_that_vanishes_is_a_fold() -> None:
    (found,) = passed(fold, at(1, 1, 1, value=-0.4), np.linspace(-0.2, 0.1, 14))
    assert found.kind == "fold" and math.isnan(found.multiplier.real)
    assert found.before <= 0 <= found.after


@pytest.mark.parametrize(("count", "end"), [(2, 0.75), (3, 1.5), (9, 2.65)])
def test_a_search_that_jumps_to_another_point_has_lost_its_own(count: int, end: float) -> None:
    """x' = x + (mu + x - x^3) / 10: from -1 the lower point moves until mu = 2 / sqrt(27), where it
    vanishes; the upper one is there throughout."""

    def two_folds(mu):
        return lambda x: x + 0.1 * (mu + x - x**3)

    values, start = np.linspace(0, end, count), at(1, 1, 1, value=-1.0)
    points = follow(two_folds, start, values)
    there = [point.point.item() for point in points if len(point)]
    assert len(there) == (values < 2 / math.sqrt(27)).sum()
    assert max(there) < -1 / math.sqrt(3)
    (found,) = passed(two_folds, start, values)
    assert found.kind == "fold" and not found.gains
    assert found.before < 2 / math.sqrt(27) < found.after


def test_a_point_that_only_moves_passes_none() -> None:
    assert passed(logistic, at(1, 1, 1, value=0.5), np.linspace(1.5, 2.9, 9)) == []
    assert passed(fold, at(1, 1, 1, value=9.0), np.linspace(0.5, 1, 3)) == []  # there is no point
