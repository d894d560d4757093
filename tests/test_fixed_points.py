"""Fixed points and bifurcations of maps that are known in closed form."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from maps import F64, at, bistable, delayed_logistic, henon, linear, logistic
from small import B, H, I, S, normal, parameters
from torch import Tensor

from rnn_study.cells import CELLS
from rnn_study.dynamics import bifurcations, constant_input, fixed_points, iterate

search = importlib.import_module("rnn_study.dynamics.fixed_points")  # the function has its name
STARTS = torch.linspace(-1.6, 1.7, 93, dtype=F64)[None, None, :, None]


def found_at(family, values, starts=STARTS):
    return [fixed_points(family(value), starts).of(0, 0) for value in values]


class TestFixedPoints:
    def test_of_henon_are_the_roots_of_a_quadratic(self) -> None:
        found = fixed_points(henon, normal(1, 1, 20, 2, dtype=F64))
        x = [(-0.7 + sign * math.sqrt(0.49 + 5.6)) / 2.8 for sign in (-1, 1)]
        assert sorted(found.point[:, 0].tolist()) == pytest.approx(x)
        products = found.multipliers.prod(-1)
        torch.testing.assert_close(products, torch.full_like(products, -0.3))
        assert not found.stable.any()
        assert found.residual.max() < 1e-12
        assert int(found.hits.sum()) == 20

    def test_have_a_stability_and_can_be_sliced(self) -> None:
        found = fixed_points(bistable, STARTS)
        order = found.point[:, 0].argsort()
        assert found.point[order, 0].tolist() == pytest.approx([-1, 0, 1], abs=1e-9)
        assert found.stable[order].tolist() == [True, False, True]
        assert found.multipliers[order, 0].real.tolist() == pytest.approx([0, 1.5, 0], abs=1e-9)
        assert len(found[found.stable]) == 2
        assert len(found[0]) == len(next(iter(found))) == 1

    def test_of_each_member_and_input_are_its_own(self) -> None:
        found = fixed_points(logistic(2.5, 3.5), at(2, 3, 4, 1) + normal(2, 3, 4, 1, dtype=F64))
        for s, r in enumerate((2.5, 3.5)):
            for b in range(3):
                points = found.of(s, b).point[:, 0].tolist()
                assert all(min(abs(p), abs(p - 1 + 1 / r)) < 1e-9 for p in points)
                assert 1 <= len(points) <= 2

    def test_of_iterates_are_cycles_with_their_multiplier(self) -> None:
        r = 3.2
        starts = torch.linspace(0, 1, 30, dtype=F64)[None, None, :, None]
        found = fixed_points(iterate(logistic(r), 2), starts)
        assert len(found) == 4  # 0, 1 - 1/r, and the two phases of the 2-cycle
        stable = found[found.stable]
        assert stable.multipliers[:, 0].real.tolist() == pytest.approx([4 + 2 * r - r * r] * 2)

    def test_there_may_be_none(self) -> None:
        found = fixed_points(lambda x: x + 1 + x * x, STARTS)
        assert len(found) == 0
        assert len(found.of(0, 0)) == len(found[found.stable]) == 0

    def test_of_several_searches_the_best_is_kept(self) -> None:
        points = torch.tensor([[1e-5], [0.0], [2e-5]], dtype=F64)
        residual = torch.tensor([1e-9, 1e-12, 1e-10], dtype=F64)
        assert search._distinct(points, residual, 1e-8, 1e-3) == [(1, 3)]

    def test_in_small_pieces_are_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cell = CELLS["lstm"]
        weights = cell.weights(parameters(cell, dtype=F64))
        step = constant_input(cell, weights, normal(S, B, I, dtype=F64))
        starts = normal(S, B, 5, cell.state_size(H), dtype=F64)
        whole = fixed_points(step, starts)
        monkeypatch.setattr(search, "_AT_ONCE", 1)
        monkeypatch.setattr(search, "_PUSHED", 7 * S * B * cell.state_size(H))
        pieces = fixed_points(step, starts)
        torch.testing.assert_close(pieces.point, whole.point)
        torch.testing.assert_close(pieces.multipliers.abs(), whole.multipliers.abs())
        assert torch.equal(pieces.hits, whole.hits)

    @pytest.mark.parametrize("name", CELLS)
    def test_of_cells_are_fixed(self, name: str) -> None:
        # An even number of units: an orthogonal matrix of odd size turns about an axis, along which
        # a constant input drives the state away.
        hidden, cell = 12, CELLS[name]
        weights = cell.weights(parameters(cell, hidden=hidden, dtype=F64))
        step = constant_input(cell, weights, normal(S, B, I, dtype=F64))
        shape = (S, B, cell.state_size(hidden))
        found = fixed_points(step, normal(S, B, 7, shape[-1], dtype=F64))
        assert len(found)
        for point in found:
            s, b = int(point.seed), int(point.input)

            def alone(z: Tensor, s: int = s, b: int = b) -> Tensor:
                return step(z.expand(shape))[s, b]

            torch.testing.assert_close(alone(point.point[0]), point.point[0])
            jacobian = torch.autograd.functional.jacobian(alone, point.point[0])
            largest = torch.linalg.eigvals(jacobian).abs().max()
            torch.testing.assert_close(point.multipliers[0, 0].abs(), largest)


class TestBifurcations:
    def test_at_a_known_place_have_their_known_kind(self) -> None:
        around = (-0.1, -0.01, 0.01, 0.1)
        normal_forms = {
            "fold": lambda a: lambda x: x + a - x * x,
            "pitchfork": lambda a: lambda x: x + a * x - x**3,
            "transcritical": lambda a: lambda x: x + a * x - x * x,
        }
        for kind, family in normal_forms.items():
            found = bifurcations(around, found_at(family, around))
            assert {event.kind for event in found} == {kind}
            assert {(event.before, event.after) for event in found} == {(-0.01, 0.01)}
            assert all(event.multiplier.real == pytest.approx(1, abs=0.25) for event in found)
            backwards = bifurcations(around[::-1], found_at(family, around[::-1]))
            assert {event.kind for event in backwards} == {kind}
            if kind == "transcritical":  # one point loses what the other gains
                assert {event.gains for event in found} == {True, False}
            else:
                assert {event.gains for event in found} == {True}
                assert {event.gains for event in backwards} == {False}

    def test_points_far_from_a_fold_are_none(self) -> None:
        def two(a):  # multipliers 1 -+ 2 sqrt(a): points that appear from nowhere near
            return lambda x: x + a - x * x

        around = (-0.1, 0.3)
        points = found_at(two, around)
        assert len(points[1]) == 2 and bifurcations(around, points) == []
        (event,) = bifurcations(around, points, near=1.2)
        assert event.kind == "fold"

    def test_of_the_logistic_map_are_two_period_doublings(self) -> None:
        r = (2.9, 2.99, 3.01, 3.2, 3.44, 3.46)
        starts = torch.linspace(0.02, 0.98, 40, dtype=F64)[None, None, :, None]
        (first,) = bifurcations(r, found_at(logistic, r, starts))
        assert (first.kind, first.before, first.gains) == ("period doubling", 2.99, True)
        assert first.multiplier.real == pytest.approx(-1.01)
        twice = found_at(lambda value: iterate(logistic(value), 2), r[3:], starts)
        second = bifurcations(r[3:], twice)
        assert [event.kind for event in second] == ["period doubling"] * 2  # both phases
        assert {event.before for event in second} == {3.44}

    def test_of_the_delayed_logistic_map_is_neimark_sackers(self) -> None:
        a = (1.9, 1.99, 2.01, 2.1)
        (event,) = bifurcations(a, found_at(delayed_logistic, a, normal(1, 1, 30, 2, dtype=F64)))
        assert (event.kind, event.before, event.after) == ("Neimark-Sacker", 1.99, 2.01)
        assert abs(math.atan2(event.multiplier.imag, event.multiplier.real)) == pytest.approx(
            math.pi / 3, abs=0.02
        )
        assert event.point is not None
        assert event.point.tolist() == pytest.approx([1 - 1 / 2.01] * 2)

    def test_of_a_linear_map_none_are_seen_while_it_contracts(self) -> None:
        sizes = (0.2, 0.5, 0.9)
        matrices = [lambda s=s: linear(at(1, 1, 1, value=s)) for s in sizes]
        assert bifurcations(sizes, [fixed_points(m(), STARTS).of(0, 0) for m in matrices]) == []
