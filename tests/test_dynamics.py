"""Known answers: orbits, Lyapunov exponents and kinds of textbook maps and of the cells."""

from __future__ import annotations

import math

import pytest
import torch
from maps import F64, at, bistable, delayed_logistic, henon, linear, logistic, rotation
from small import B, H, I, S, normal, parameters
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_study.cells import CELLS
from rnn_study.dynamics import (
    Kind,
    attractors,
    classify,
    closed_loop,
    constant_input,
    iterate,
    lyapunov_spectrum,
    orbit,
    orbit_diagram,
    read_out,
)
from rnn_study.dynamics.lyapunov import spread

SECOND_DOUBLING = 1 + math.sqrt(6)


def kinds_of(step, state, tolerance=0.005, transient=2000, exponent_steps=1000):
    visited = orbit(step, state, transient, 400)
    exponents = lyapunov_spectrum(step, visited[:, :, -1], exponent_steps, 1, 100)
    return classify(visited, exponents, tolerance)


class Sizes(TorchDispatchMode):
    """Sees every tensor that is computed."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        for each in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(each, Tensor):
                self.largest = max(self.largest, each.numel())
        return made


class TestSteps:
    @pytest.mark.parametrize("name", CELLS)
    def test_constant_input_is_the_cell_and_serves_several_starts(self, name: str) -> None:
        cell = CELLS[name]
        weights = cell.weights(parameters(cell, dtype=F64))
        x, starts = normal(S, B, I, dtype=F64), normal(S, B, 5, cell.state_size(H), dtype=F64)
        visited = orbit_diagram(constant_input(cell, weights, x), starts, 3, 2)
        for p in range(5):
            state = starts[:, :, p]
            for _ in range(4):
                state = cell.step(weights, x, state)
            torch.testing.assert_close(visited[:, :, p, 0], state)

    @pytest.mark.parametrize("name", CELLS)
    def test_an_output_can_be_fed_back(self, name: str) -> None:
        cell = CELLS[name]
        params = parameters(cell, dtype=F64)
        params |= {"w_out": normal(S, H, I, dtype=F64), "b_out": normal(S, I, dtype=F64, seed=1)}
        state = normal(S, B, cell.state_size(H), dtype=F64)
        weights = cell.weights(params)

        def feed(output: Tensor) -> Tensor:
            return output @ params["w_out"] + params["b_out"][:, None]

        step = closed_loop(cell, weights, feed)
        x = read_out(cell, params)(state)
        torch.testing.assert_close(x, feed(cell.output(state)))
        torch.testing.assert_close(step(state), cell.step(weights, x, state))
        assert lyapunov_spectrum(step, state, 5, 3, 4).isfinite().all()

    def test_orbits_leave_out_the_transient_and_read_what_they_are_told(self) -> None:
        visited = orbit(lambda x: x + 1, at(2, 3, 5, value=0.0), 7, 4, read=lambda x: x[..., :1])
        assert visited.shape == (2, 3, 4, 1)
        assert visited[0, 0, :, 0].tolist() == [8, 9, 10, 11]

    def test_a_start_that_diverges_is_nan_and_the_others_go_on(self) -> None:
        starts = torch.tensor([0.3, 7.0], dtype=F64).reshape(1, 1, 2, 1)
        visited = orbit_diagram(logistic(3.9), starts, 50, 10)
        assert visited[0, 0, 0].isfinite().all()
        assert visited[0, 0, 1].isnan().all()


class TestExponents:
    def test_of_a_linear_map_are_the_logarithms_of_its_eigenvalues(self) -> None:
        sizes = torch.tensor([[0.9, 0.5, 0.2], [1.01, 0.7, 0.1]], dtype=F64)
        basis = normal(2, 3, 3, dtype=F64)
        step = linear(basis @ torch.diag_embed(sizes) @ torch.linalg.inv(basis))
        found = lyapunov_spectrum(step, at(2, 5, 3, value=0.0), 50, 3, 100)
        torch.testing.assert_close(found, sizes.log()[:, None].expand(2, 5, 3))
        torch.testing.assert_close(lyapunov_spectrum(step, at(2, 5, 3), 50, 2, 100), found[..., :2])

    def test_they_descend_whatever_the_first_deviations(self) -> None:
        """The matrix shrinks the first of them most, and the second least."""
        turned = spread(2, 2, at(1, 1, 2))
        matrix = turned @ torch.diag(torch.tensor([0.1, 0.9], dtype=F64)) @ turned.mT
        found = lyapunov_spectrum(linear(matrix[None]), at(1, 1, 2), 5, 2, 0)
        assert found.flatten().tolist() == pytest.approx([math.log(0.9), math.log(0.1)])

    def test_of_a_rotation_are_equal(self) -> None:
        found = lyapunov_spectrum(linear(rotation(1.0, 0.8)), at(1, 1, 2), 100, 2)
        torch.testing.assert_close(found, at(1, 1, 2, value=math.log(0.8)))

    def test_of_the_logistic_map(self) -> None:
        # At r <= 3 the fixed point 1 - 1/r has the multiplier 2 - r, at the 2-cycle 4 + 2r - r^2.
        r = (2.5, 2.9, 3.2, 4.0)
        starts = torch.linspace(0.11, 0.83, 61, dtype=F64)[None, :, None].expand(4, -1, -1)
        found = lyapunov_spectrum(logistic(*r), starts, 500)[..., 0].mean(1)
        known = [0.5, 0.9, math.sqrt(abs(4 + 2 * 3.2 - 3.2**2)), 2.0]
        torch.testing.assert_close(found, torch.tensor(known, dtype=F64).log(), atol=2e-3, rtol=0)

    def test_of_a_superstable_point_is_minus_infinity(self) -> None:
        assert float(lyapunov_spectrum(logistic(2.0), at(1, 1, 1, value=0.5), 10)) == -math.inf

    def test_of_henon_sum_to_the_logarithm_of_its_area(self) -> None:
        starts = normal(1, 96, 2, dtype=F64, scale=0.1)
        found = lyapunov_spectrum(henon, starts, 600, 2)
        torch.testing.assert_close(found.sum(-1), at(1, 96, value=math.log(0.3)))
        assert float(found[..., 0].mean()) == pytest.approx(0.419, abs=0.004)

    def test_are_nan_where_the_orbit_diverges(self) -> None:
        starts = torch.tensor([0.3, 7.0], dtype=F64).reshape(1, 2, 1)
        found = lyapunov_spectrum(logistic(3.9), starts, 50)
        assert found.isnan().flatten().tolist() == [False, True]

    @pytest.mark.parametrize("loop", [False, True], ids=["constant input", "fed back"])
    def test_never_take_the_jacobians_of_the_batch(self, loop: bool) -> None:
        """No tensor on the way is as large: of 2 x 19 inputs there would be 106 x 106 each."""
        cell, hidden, rows = CELLS["lstm"], 53, 19
        weights = cell.weights(parameters(cell, inputs=hidden, hidden=hidden, dtype=F64))
        step = constant_input(cell, weights, normal(S, rows, hidden, dtype=F64))
        if loop:
            step = closed_loop(cell, weights, lambda output: output)
        state = normal(S, rows, 2 * hidden, dtype=F64)
        with Sizes() as sizes:
            lyapunov_spectrum(step, state, 2, 3, 1)
        assert S * rows * 2 * hidden * 3 <= sizes.largest < S * rows * (2 * hidden) ** 2 / 4

    def test_ask_for_no_more_than_there_are(self) -> None:
        with pytest.raises(ValueError, match="k: 3 is not allowed; use 1 to 2"):
            lyapunov_spectrum(henon, at(1, 1, 2), 5, 3)


class TestKinds:
    def test_of_the_logistic_map_change_at_its_known_bifurcations(self) -> None:
        below, above = SECOND_DOUBLING - 0.01, SECOND_DOUBLING + 0.01
        r = (2.5, 2.99, 3.01, below, above, 3.5, 3.83, 3.9, 4.2)
        found = kinds_of(logistic(*r), at(9, 1, 1))
        assert found.period[:, 0].tolist() == [1, 1, 2, 2, 4, 4, 3, 0, 0]
        cycles = [Kind.CYCLE] * 5
        assert found.kind[:, 0].tolist() == [1, 1, *cycles, Kind.CHAOTIC, Kind.DIVERGED]

    def test_at_a_bifurcation_are_undecided_rather_than_wrong(self) -> None:
        found = kinds_of(logistic(3.0), at(1, 1, 1))
        assert found.kind.item() == Kind.UNDECIDED

    def test_on_an_unstable_point_are_undecided(self) -> None:
        assert kinds_of(bistable, at(1, 1, 1, value=0.0)).kind.item() == Kind.UNDECIDED

    def test_of_the_delayed_logistic_map_turn_quasi_periodic_at_two(self) -> None:
        found = kinds_of(delayed_logistic(1.9, 1.98, 2.02, 2.1, 2.27), at(5, 1, 2, value=0.4))
        assert found.kind[:, 0].tolist() == [1, 1, 3, 3, 4]

    @pytest.mark.parametrize("multiplier", [0.99, -0.99, 0.9, -0.9])
    def test_of_what_still_settles_on_zero_is_a_fixed_point(self, multiplier: float) -> None:
        step = linear(at(1, 1, 1, value=multiplier))
        assert kinds_of(step, at(1, 1, 1), transient=100).period.item() == 1

    def test_of_a_spiral_towards_zero_is_a_fixed_point_whatever_its_angle(self) -> None:
        step = linear(rotation(2 * math.pi / 3 + 0.01, 0.97))
        found = kinds_of(step, at(1, 1, 2), transient=500)
        assert (found.kind.item(), found.period.item()) == (Kind.FIXED_POINT, 1)

    def test_of_what_drifts_are_undecided_and_of_a_rotation_quasi_periodic(self) -> None:
        """However slowly: a state that shrinks, a spiral, and one that counts for ever."""

        def kinds(step, members):
            starts = 100 * normal(members, 1, 1, 2, dtype=F64)
            return attractors(step, starts, 400).classes.kind.flatten().tolist()

        rates = torch.tensor([0.999, 0.9995, 0.99999], dtype=F64)[:, None, None]
        assert kinds(lambda x: rates * x, 3) == [Kind.UNDECIDED] * 3
        spirals = torch.cat([rotation(1.0, size) for size in (0.999, 0.9995, 1.0)])
        assert kinds(linear(spirals), 3) == [Kind.UNDECIDED] * 2 + [Kind.QUASI_PERIODIC]
        # One part alternates while the other drifts, as in a network with a counter.
        alternates, drifts = at(2, value=(1, -1)), at(2, value=(-0.5, 0))
        assert kinds(lambda x: x * alternates + drifts, 1) == [Kind.UNDECIDED]

    def test_need_some_states(self) -> None:
        with pytest.raises(ValueError, match="3 states are too few"):
            classify(at(1, 1, 3, 1), at(1, 1, 1))


class TestAttractors:
    def test_of_a_bistable_map_are_two_with_known_basins(self) -> None:
        starts = torch.linspace(-1.2, 1.3, 51, dtype=F64)[None, None, :, None]  # none at zero
        found = attractors(bistable, starts, transient=300, steps=200)
        below = int((starts < 0).sum())
        assert found.count.tolist() == [[2]]
        assert found.shares[0, 0, :3].tolist() == pytest.approx([below / 51, 1 - below / 51, 0])
        assert torch.equal(found.label[0, 0] == 0, starts[0, 0, :, 0] < 0)

    def test_one_cycle_is_one_attractor_at_every_phase(self) -> None:
        starts = torch.linspace(0.1, 0.9, 17, dtype=F64)[None, None, :, None].expand(3, -1, -1, -1)
        found = attractors(logistic(3.2, 3.5, 3.83), starts, 2000, 200)
        assert found.count.flatten().tolist() == [1, 1, 1]
        assert found.classes.period[:, 0, 0].tolist() == [2, 4, 3]
        # Seen every second step, the two phases of a 2-cycle are two fixed points.
        twice = attractors(iterate(logistic(3.2), 2), starts[:1], 500, 200)
        assert twice.count.item() == 2

    def test_chaos_and_closed_curves_are_one_attractor_each(self) -> None:
        starts = torch.linspace(0.11, 0.91, 7, dtype=F64)[None, None, :, None]
        assert attractors(logistic(3.9), starts).count.item() == 1
        starts = at(1, 1, 1, 2, value=0.4) + torch.linspace(0, 0.2, 5, dtype=F64)[:, None]
        assert attractors(delayed_logistic(2.1), starts).count.item() == 1

    def test_starts_that_still_settle_on_one_point_or_cycle_are_one_attractor(self) -> None:
        """After 400 steps at these rates, from a hundred away, they are far apart."""
        rates = torch.tensor([0.98, 0.99, 0.995, 0.997, 0.999], dtype=F64)[:, None, None]
        starts = 1 + 100 * normal(5, 1, 4, 3, dtype=F64)
        found = attractors(lambda x: 1 + rates * (x - 1), starts, 400)
        assert found.count.flatten().tolist() == [1, 1, 1, 1, 0]
        assert found.classes.kind[:, 0, 0].tolist() == [1, 1, 1, 1, Kind.UNDECIDED]
        spirals = torch.cat([rotation(angle, 0.99) for angle in (0.01, 0.3, 2.1)])
        found = attractors(lambda x: 1 + linear(spirals)(x - 1), starts[:3, ..., :2], 400)
        assert found.count.flatten().tolist() == [1] * 3
        # Nearest to repeating itself after seven steps, which is no period of its.
        several = torch.block_diag(rotation(0.62851, 0.9914)[0], rotation(0.90878, 0.99646)[0])[
            None
        ]
        turning = at(1, 1, 4, 4, value=(9e-4, 0, 1e-2, 0)) * at(4, 1, value=[[1], [-2], [3], [4]])
        found = attractors(lambda x: 1 + linear(several)(x - 1), 1 + turning, 25)
        assert found.count.item() == 1
        assert (found.classes.kind == Kind.FIXED_POINT).all() and (found.classes.period == 1).all()
        near = 1 + starts[:3, ..., :1].abs() / 100
        opposite = attractors(lambda x: -x.sign() * (1 + rates[1:4] * (x.abs() - 1)), near, 400)
        assert opposite.classes.period.unique().tolist() == [2]
        assert opposite.count.flatten().tolist() == [1] * 3

    def test_two_close_points_are_two_while_starts_are_farther_from_them_than_they_apart(
        self,
    ) -> None:
        starts = at(1, 1, 4, 1, value=0) + at(4, 1, value=[[100.0], [-90.0], [80.0], [-70.0]])
        found = attractors(lambda x: 5e-3 * x.sign() + 0.99 * (x - 5e-3 * x.sign()), starts, 400)
        assert found.orbits.abs().min() > 0.02
        assert found.label.flatten().tolist() == [0, 1, 0, 1]

    def test_what_drifts_has_reached_no_attractor(self) -> None:
        starts = torch.tensor([-900.0, -500.0, -10.0, 0.5], dtype=F64).reshape(1, 1, 4, 1)
        found = attractors(lambda x: torch.where(x < 0, x - 1, 1 + 0.5 * (x - 1)), starts, 400)
        assert found.label.flatten().tolist() == [-1, -1, -1, 0]
        assert found.main.kind.item() == Kind.FIXED_POINT
        found = attractors(lambda x: x - 1, starts, 400)
        assert (found.count.item(), found.main.kind.item()) == (0, Kind.UNDECIDED)
        # One that rests on an unstable point does not drift.
        assert attractors(bistable, at(1, 1, 2, 1, value=0.0), 400).count.item() == 1

    def test_a_start_that_diverges_reaches_none(self) -> None:
        starts = torch.tensor([7.0, 0.3, 0.4], dtype=F64).reshape(1, 1, 3, 1)
        found = attractors(logistic(3.2), starts)
        assert found.label.flatten().tolist() == [-1, 0, 0]
        assert found.shares[0, 0].tolist() == pytest.approx([2 / 3, 0, 0])
        assert found.main.period.tolist() == [[2]]

    def test_the_main_one_is_that_of_most_starts(self) -> None:
        # Below zero everything falls to -inf; above, there is a 2-cycle or chaos, by the member.
        starts = torch.tensor([-0.5, 0.3, 0.4, 0.5], dtype=F64).expand(2, 3, 4)[..., None]
        found = attractors(logistic(3.2, 3.9), starts).main
        assert found.kind.tolist() == [[Kind.CYCLE] * 3, [Kind.CHAOTIC] * 3]
        assert found.exponent[0, 0] < 0 < found.exponent[1, 0]
        lost = attractors(logistic(3.2), starts[:1, :, :1])
        assert (lost.main.kind == Kind.DIVERGED).all()
        assert (lost.count == 0).all()
