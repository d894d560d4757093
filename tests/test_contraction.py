"""How much steps stretch, what the stable LSTM certifies, and how rough cost functions get."""

from __future__ import annotations

import math

import pytest
import torch
from maps import F64, at, henon, linear, logistic
from small import B, I, S, T, normal, parameters

from rnn_study.cells import CELLS, LSTM
from rnn_study.cells.stable_lstm import certified_rate, is_contractive
from rnn_study.dynamics import (
    advance,
    attractors,
    constant_input,
    contraction,
    entropy_bound,
    expansion,
    fixed_points,
    lyapunov_spectrum,
    smoothness,
)
from rnn_study.dynamics.smoothness import scan_cost


class TestExpansion:
    def test_of_a_linear_map_is_its_spectral_norm(self) -> None:
        matrices = normal(2, 5, 5, dtype=F64, scale=0.3)
        found = expansion(linear(matrices), at(2, 3, 5), 3, iterations=200)
        known = torch.linalg.matrix_norm(matrices, 2)
        torch.testing.assert_close(found, known[:, None].expand(2, 3), atol=0, rtol=1e-6)

    def test_is_the_largest_on_the_orbit_and_never_above_the_lipschitz_constant(self) -> None:
        step = logistic(4.0)  # |f'| = |4 - 8x| <= 4 on [0, 1]
        found = float(expansion(step, at(1, 1, 1), 150, iterations=1))
        assert 3.99 < found <= 4
        # Henon's Jacobian ((-2.8 x, 1), (0.3, 0)) on an attractor with |x| < 1.3
        found = float(expansion(henon, at(1, 1, 2, value=0.0), 100, transient=100, iterations=4))
        assert 3.6 < found < math.hypot(2.8 * 1.3, 1, 0.3)

    def test_is_nan_where_the_orbit_diverges(self) -> None:
        assert expansion(logistic(4.2), at(1, 1, 1), 100).isnan().all()

    def test_bounds_the_entropy_a_step_can_add(self) -> None:
        found = entropy_bound(torch.tensor([0.5, 1.0, 2.0], dtype=F64), 3)
        assert found.tolist() == pytest.approx([-3 * math.log(2), 0, 3 * math.log(2)])
        # The mean of log |det J|, here ln 0.3, is what a step adds; the bound must not be below.
        largest = expansion(henon, at(1, 1, 2, value=0.0), 20)
        assert float(entropy_bound(largest, 2)) > math.log(0.3)


class TestContraction:
    def test_of_a_linear_map_is_its_norm_and_its_spectral_radius(self) -> None:
        matrix = torch.tensor([[0.5, 4.0], [0.0, 0.8]], dtype=F64)[None]
        found = contraction(linear(matrix), at(1, 3, 2), 400)
        norm = torch.linalg.matrix_norm(matrix, 2)
        torch.testing.assert_close(found.expansion, norm[:, None].expand(1, 3))
        torch.testing.assert_close(found.rate, at(1, 3, value=0.8), rtol=0.01, atol=0)
        torch.testing.assert_close(found.entropy, 2 * found.expansion.log())
        assert found.certified.isnan().all()

    def test_leaves_out_the_transient(self) -> None:
        # from 0.3 to the point 0.6, where the logistic map's derivative is -0.5, from 1 and more
        found = contraction(logistic(2.5), at(1, 1, 1), 50)
        assert float(found.expansion) == pytest.approx(0.5)
        assert float(found.rate) == pytest.approx(0.5)

    def test_of_the_provable_cell_is_what_it_certifies_or_faster(self) -> None:
        cell = CELLS["stable_lstm_provable"]
        params = {k: v * 30 for k, v in parameters(cell, dtype=F64).items()}
        cell.project_(params)
        certified = certified_rate(params, 1 - 1e-9)
        step = constant_input(cell, params, normal(S, B, I, dtype=F64).clamp(-1, 1) * (1 - 1e-9))
        starts = normal(S, B, 22, dtype=F64, scale=10)
        found = contraction(step, starts, 100, certified=certified)
        assert torch.equal(found.certified, certified)
        assert (found.rate <= found.certified[:, None] + 1e-9).all()
        assert found.rate.isfinite().all()

    def test_is_nan_where_the_orbit_diverges(self) -> None:
        found = contraction(logistic(4.2), at(1, 1, 1), 100)
        assert found.expansion.isnan().all() and found.rate.isnan().all()


class TestCertificate:
    """A theorem: what fails here is wrong."""

    @pytest.mark.parametrize("scale", [0.3, 1.0, 30.0])
    def test_the_provable_cell_has_one_fixed_point_and_contracts_as_certified(
        self, scale: float
    ) -> None:
        hidden, cell = 11, CELLS["stable_lstm_provable"]
        params = {k: v * scale for k, v in parameters(cell, dtype=F64).items()}
        cell.project_(params)
        assert is_contractive(params, 1 - 1e-9).all()
        rate = certified_rate(params, 1 - 1e-9)
        assert ((rate >= (1 + math.sqrt(0.75)) / 2) & (rate < 1)).all()

        x = normal(S, B, I, dtype=F64).clamp(-1 + 1e-9, 1 - 1e-9)
        step = constant_input(cell, params, x)
        starts = normal(S, B, 5, 2 * hidden, dtype=F64, scale=10)
        assert (attractors(step, starts, 400, 40).count == 1).all()
        found = fixed_points(step, starts)
        for s in range(S):
            for b in range(B):
                assert len(found.of(s, b)) == 1
        assert found.stable.all()

        settled = advance(step, starts[:, :, 0], 50)  # |c| <= 1 / (1 - f) by then
        largest = lyapunov_spectrum(step, settled, 100)[..., 0]
        assert (largest <= rate.log()[:, None] + 1e-9).all()
        assert (found.multipliers[:, 0].abs() <= rate[found.seed] + 1e-9).all()

        apart = starts[:, :, 0], starts[:, :, 1]
        first, last = (self._distance(step, *apart, steps) for steps in (20, 60))
        assert (last <= first * rate[:, None] ** 40).all()

    @staticmethod
    def _distance(step, one, other, steps: int):
        return (advance(step, one, steps) - advance(step, other, steps)).abs().amax(-1)

    def test_there_is_none_for_other_cells(self) -> None:
        params = parameters(LSTM(), dtype=F64, hidden=53)
        assert not is_contractive(params).any()
        assert certified_rate(params).isnan().all()

    def test_the_rate_is_the_radius_of_the_linear_map_it_comes_from(self) -> None:
        params = parameters(CELLS["stable_lstm_provable"], dtype=F64)
        zero = {k: torch.zeros_like(v) for k, v in params.items()}
        assert certified_rate(zero).tolist() == pytest.approx([(1 + math.sqrt(0.75)) / 2] * S)
        zero["b_x"][:, 11:22] = f_bias = math.log(0.6 / 0.4)  # f = 0.6
        assert f_bias > 0
        radius = torch.linalg.eigvals(torch.tensor([[0.6, 0.3], [0.6, 0.4]])).abs().max()
        assert certified_rate(zero).tolist() == pytest.approx([float(radius)] * S)


class TestSmoothness:
    def power_cost(self, params, length):
        """The mean of a^2t for t = 1 .. N."""
        powers = torch.arange(1, length + 1, dtype=F64)
        return (params["a"] ** powers).square().mean(1)

    def of(self, a: float, lengths=(20, 40, 80, 160)):
        ends = ({"a": at(1, 1, value=a - 1e-3)}, {"a": at(1, 1, value=a)})
        return smoothness(self.power_cost, *ends, lengths, points=3)

    def test_has_the_known_derivatives(self) -> None:
        found = self.of(1.0, (7, 5))
        t = torch.arange(1, 8, dtype=F64)
        assert float(found.cost[0, -1]) == pytest.approx(1)
        assert float(found.gradient[0, -1]) == pytest.approx(float((2 * t).mean()))
        assert float(found.curvature[0, -1]) == pytest.approx(float((2 * t * (2 * t - 1)).mean()))
        assert found.positions.tolist() == [0, 0.5, 1]

    def test_a_curvature_has_its_sign(self) -> None:
        ends = {"a": at(1, 2, value=[-1.0, 2.0])}, {"a": at(1, 2, value=[1.0, 3.0])}
        found = smoothness(lambda params, _: -params["a"].square().sum(1), *ends, (1, 2), points=3)
        assert found.curvature.flatten().tolist() == pytest.approx([-2] * 6)

    def test_grows_as_theorem_1_allows(self) -> None:
        assert self.of(0.8).power() == pytest.approx((-1, -1), abs=0.01)  # allowed: 0, 0
        assert self.of(1.0).power() == pytest.approx((1, 2), abs=0.02)  # allowed: 1, 3
        rate = 2 * math.log(1.3)  # allowed: twice and three times log L_f
        assert self.of(1.3).exponential() == pytest.approx((rate, rate), abs=0.02)

    @pytest.mark.parametrize("name", CELLS)
    def test_of_a_cell_is_that_of_its_hessian(self, name: str) -> None:
        cell, hidden = CELLS[name], 3
        start, end = (
            {k: v[s : s + 1] for k, v in parameters(cell, 2, 2, hidden, F64).items()}
            for s in range(2)
        )
        x, target = normal(1, T, B, 2, dtype=F64), normal(1, T, B, hidden, dtype=F64, seed=1)
        cost = scan_cost(cell, x, target, at(1, B, cell.state_size(hidden), value=0.1))
        found = smoothness(cost, start, end, (2, T), points=3, iterations=400)
        names = list(end)
        sizes = [end[name].numel() for name in names]

        def flat_cost(flat):
            parts = zip(names, flat.split(sizes), strict=True)
            return cost({k: part.view_as(end[k]) for k, part in parts}, T)[0]

        flat = torch.cat([end[name].flatten() for name in names])
        hessian = torch.autograd.functional.hessian(flat_cost, flat)
        largest = torch.linalg.eigvalsh(hessian).abs().max()
        torch.testing.assert_close(found.curvature[1, -1].abs(), largest, rtol=1e-4, atol=0)
        gradient = torch.autograd.functional.jacobian(flat_cost, flat)
        torch.testing.assert_close(found.gradient[1, -1], gradient.norm())

    def test_needs_two_lengths(self) -> None:
        with pytest.raises(ValueError, match="growth needs two or more"):
            self.of(1.0, (5,))
