"""Networks that hear themselves, against known answers: the paper's chaotic LSTM, fed back.

Its recurrent matrices are those of its input here, and the output is the next input: the same map
as without a loop, of which the attractors are known.
"""

from __future__ import annotations

import math

import pytest
import torch
from maps import F64, at
from torch import Tensor

from rnn_study import chaotic_lstm
from rnn_study.cells import LSTM
from rnn_study.chaotic_lstm import theta_true
from rnn_study.dynamics import (
    Kind,
    attractors,
    bifurcations,
    classify,
    closed_loop,
    contraction,
    fixed_points,
    lyapunov_spectrum,
    orbit,
    orbit_diagram,
    smoothness,
)
from rnn_study.dynamics.step import Step

BIRTH = (1.25 + math.sqrt(10)) / 5.625
"""The s at which a pair of multipliers of the origin crosses the unit circle."""


def fed_back(*s: float) -> Step:
    """The step of s * theta_true, a member a value, all of it from the output by the input."""
    scales = torch.tensor(s, dtype=F64)
    matrices = scales[:, None, None] * theta_true()["w_h"]
    none = torch.zeros(len(s), 8, dtype=F64)
    weights = {"w_x": matrices, "w_h": torch.zeros_like(matrices), "b_x": none, "b_h": none}
    return closed_loop(LSTM(), weights, lambda output: output)


def test_orbits_are_those_of_the_network_without_a_loop() -> None:
    s = torch.tensor([0.6, 0.8, 1.7], dtype=F64)
    plain, start = chaotic_lstm.autonomous(
        chaotic_lstm.combine(s, torch.zeros_like(s), theta_true())
    )
    looped, expected = fed_back(*s.tolist()), orbit(plain, start, 50, 20)
    torch.testing.assert_close(orbit(looped, start, 50, 20), expected)
    starts = torch.stack((torch.zeros_like(start), start), 2)
    diagram = orbit_diagram(looped, starts, 50, 20, read=lambda x: x[..., :2])
    torch.testing.assert_close(diagram[:, :, 1], expected[..., :2])
    assert (diagram[:, :, 0] == 0).all()


def test_kinds_and_exponents_are_the_known_ones() -> None:
    step, start = fed_back(0.6, 0.79, 1.0, 1.7), at(4, 1, 4, value=0.5)
    visited = orbit(step, start, 2000, 400)
    exponents = lyapunov_spectrum(step, visited[:, :, -1], 1000, 2)
    found = classify(visited, exponents)
    assert found.kind[:, 0].tolist() == [
        Kind.FIXED_POINT, Kind.CYCLE, Kind.CHAOTIC, Kind.CYCLE
    ]  # fmt: skip
    assert found.period[:, 0].tolist() == [1, 3, 0, 4]
    assert exponents[2, 0, 0] > 0.1 and (exponents[[0, 1, 3], 0, 0] < 0).all()
    (point,) = fixed_points(fed_back(0.6), torch.zeros(1, 1, 1, 4, dtype=F64))
    largest = float(point.multipliers[0, 0].abs().log())
    assert float(exponents[0, 0, 0]) == pytest.approx(largest, abs=2e-3)


def test_two_attractors_lie_side_by_side() -> None:
    near, far = torch.full((4,), 1e-3, dtype=F64), torch.full((4,), 0.5, dtype=F64)
    found = attractors(fed_back(0.77), torch.stack((near, far))[None, None], transient=2000)
    assert found.count.tolist() == [[2]]
    assert found.classes.period.tolist() == [[[1, 3]]]


def test_the_origin_loses_its_stability_to_a_pair_at_the_known_scale() -> None:
    scales = (BIRTH - 0.02, BIRTH - 0.001, BIRTH + 0.001, BIRTH + 0.02)
    origin = torch.zeros(1, 1, 1, 4, dtype=F64)
    (event,) = bifurcations(scales, [fixed_points(fed_back(s), origin).of(0, 0) for s in scales])
    assert (event.kind, event.before, event.gains) == ("Neimark-Sacker", BIRTH - 0.001, True)
    eigenvalue = 0.5 + BIRTH * complex(-5, math.sqrt(20)) / 4
    assert event.multiplier.real == pytest.approx(eigenvalue.real, abs=2e-3)
    assert abs(event.multiplier.imag) == pytest.approx(eigenvalue.imag, abs=2e-3)


def test_contraction_is_seen_where_the_orbit_rests() -> None:
    found = contraction(fed_back(0.6, 1.0), at(2, 1, 4, value=0.5), 200)
    assert found.rate[0, 0] < 1 < found.rate[1, 0] <= found.expansion[1, 0]
    assert found.certified.isnan().all()


@pytest.mark.parametrize(("scale", "rough"), [(0.5, False), (1.0, True)])
def test_the_cost_of_a_generator_is_rough_where_it_is_chaotic(scale: float, rough: bool) -> None:
    """Its own outputs are its inputs, and the truth is a network a thousandth away."""
    start = at(1, 1, 4, value=0.5)
    target = orbit(fed_back(scale + 1e-3), start, 0, 60, read=lambda x: x[..., :2])[0, 0]
    zero = torch.zeros(1, 8, dtype=F64)

    def cost(params: dict[str, Tensor], length: int) -> Tensor:
        weights = params | {"w_h": torch.zeros_like(params["w_x"]), "b_x": zero, "b_h": zero}
        step = closed_loop(LSTM(), weights, lambda output: output)
        state, total = start.expand(len(params["w_x"]), 1, 4), 0.0
        for t in range(length):
            state = step(state)
            total = total + (LSTM().output(state)[:, 0] - target[t]).square().mean(-1)
        return total / length

    ends = ({"w_x": s * theta_true()["w_h"]} for s in (scale, scale + 5e-4))
    found = smoothness(cost, *ends, (15, 30, 60), points=3, iterations=8)
    gradient, curvature = found.exponential()
    assert (gradient > 0.05 and curvature > 0.1) == rough
