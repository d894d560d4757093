"""Estimates: published worked examples, closed forms, and what no order or unit may change."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from rnn_study import statistics
from rnn_study.errors import InvalidInput
from rnn_study.statistics import Estimate, Times

FREIREICH = [6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], []
"""Weeks in remission of leukaemia patients, relapsed and censored (Freireich, Blood 21, 1963)."""


def times(events: list[int], censored: list[int]) -> Times:
    return Times(
        np.array([*events, *censored], dtype=float),
        np.array([True] * len(events) + [False] * len(censored)),
    )


def draws(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def iqm(*strata: np.ndarray, seed: int = 0) -> Estimate:
    return statistics.interquartile_mean(strata, np.random.default_rng(seed))


class TestInterquartileMean:
    def test_its_interval_is_the_generators(self) -> None:
        values = draws(1, 8)
        assert iqm(values, seed=3) == iqm(values, seed=3)
        assert iqm(values, seed=3) != iqm(values, seed=4)

    def test_no_order_of_values_changes_it(self) -> None:
        first, second = draws(1, 9), draws(2, 7)
        mixed = [np.random.default_rng(5).permutation(each) for each in (first, second)]
        assert iqm(*mixed) == iqm(first, second)

    def test_it_moves_with_its_values(self) -> None:
        values = draws(1, 12)
        plain, moved = np.array(iqm(values)), np.array(iqm(3 * values + 7))
        assert moved == pytest.approx(3 * plain + 7)

    def test_a_large_sample_has_the_normal_interval_of_a_trimmed_mean(self) -> None:
        """Tukey and McLaughlin's standard error: winsorised deviation / ((1 - 2 x 1/4) sqrt n)."""
        values = np.sort(draws(1, 4000))
        winsorised = np.clip(values, values[1000], values[2999]).std(ddof=1)
        error = winsorised / (0.5 * math.sqrt(4000))
        found = iqm(values)
        assert found.value == pytest.approx(values[1000:3000].mean())
        expected = found.value + 1.96 * error * np.array([-1, 1])
        assert (found.low, found.high) == pytest.approx(expected.tolist(), abs=0.1 * error)

    def test_strata_are_resampled_apart(self) -> None:
        """Each stratum is constant, so nothing varies; drawn together, the middle half would."""
        low, middle, high = (np.full(6, value) for value in (0.0, 0.5, 1.0))
        assert iqm(low, middle, high) == (0.5, 0.5, 0.5)
        together = iqm(np.concatenate([low, middle, high]))
        assert together.high - together.low > 0.2

    def test_many_small_strata_are_as_wide_as_one_sample(self) -> None:
        """Of 120 normal values: 2 x 1.98 sqrt(1.196 / 120), by the variance of a trimmed mean."""
        widths = [found.high - found.low for s in range(40) for found in [iqm(*draws(s, 20, 6))]]
        assert np.mean(widths) == pytest.approx(2 * 1.98 * math.sqrt(1.196 / 120), rel=0.05)

    def test_strata_of_unlike_sizes_lose_a_share_of_their_weight(self) -> None:
        """Zeros weigh 1 + 1/7, ones 6/7; of either end 3/13 of the weight of both strata goes."""
        zeros, mostly_ones = np.zeros(6), np.array([0.0] + [1.0] * 6)
        expected = (6 / 7 - 6 / 13) / (2 - 2 * 6 / 13)
        assert iqm(zeros, mostly_ones).value == pytest.approx(expected)

    @pytest.mark.parametrize("n", range(6, 13))
    def test_of_equal_values_it_is_that_value(self, n: int) -> None:
        """The sum of six times 0.1 is not 0.6 to the last bit."""
        assert iqm(np.full(n, 0.1)) == (0.1, 0.1, 0.1)

    def test_six_values_have_an_interval_and_five_have_none(self) -> None:
        assert np.isfinite(iqm(draws(1, 6))).all()
        for few in ([draws(1, 5)], [draws(1, 9), draws(2, 5)]):
            assert np.isfinite(iqm(*few).value)
            assert np.isnan(iqm(*few)[1:]).all()
        assert np.isnan(iqm(np.array([]))).all()


class TestMedianTime:
    def test_freireichs_patients_have_the_intervals_that_sas_prints(self) -> None:
        """Medians 23 (13, none) and 8 (4, 11): PROC LIFETEST, whose default is log-log."""
        assert statistics.median_time(times(*PLACEBO)) == (8, 4, 11)
        treated = statistics.median_time(times(*FREIREICH))
        assert treated[:2] == (23, 13) and math.isnan(treated.high)

    @pytest.mark.parametrize("seed", range(8))
    def test_it_is_that_of_statsmodels(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        epochs = rng.integers(1, 40, 17).astype(float)
        found = Times(np.minimum(epochs, 30), epochs <= 30)
        curve = SurvfuncRight(found.epochs, found.solved.astype(int))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            low, high = curve.quantile_ci(0.5)
        expected = [x if math.isfinite(x) else math.nan for x in (curve.quantile(0.5), low, high)]
        assert list(statistics.median_time(found)) == pytest.approx(expected, nan_ok=True)

    def test_six_that_all_solved_have_the_interval_of_the_sign_test(self) -> None:
        """Their first and last epoch, which hold the median 1 - 2 / 2**6 = 97% of the time."""
        assert statistics.median_time(times([3, 5, 8, 13, 21, 34], [])) == (8, 3, 34)
        assert statistics.median_time(times([7] * 6, [])) == (7, 7, 7)

    def test_without_seeds_or_solved_ones_there_is_none(self) -> None:
        for none in (times([], []), times([], [60, 60])):
            assert np.isnan(statistics.median_time(none)).all()


class TestLogRank:
    def test_freireichs_patients(self) -> None:
        """Chi-square 16.79 (Kleinbaum and Klein, Survival Analysis, 3rd edition, chapter 2)."""
        p = statistics.log_rank(times(*FREIREICH), times(*PLACEBO))
        assert stats.chi2.isf(p, 1) == pytest.approx(16.79, abs=0.005)
        assert statistics.log_rank(times(*PLACEBO), times(*FREIREICH)) == pytest.approx(p)

    def test_few_seeds_cannot_be_rarer_than_their_splits(self) -> None:
        early, late = times([1, 2, 3], []), times([], [60, 60, 60])
        assert statistics.log_rank(early, late) == pytest.approx(2 / 20)
        assert statistics.log_rank(times([1], []), times([], [60] * 9)) == pytest.approx(2 / 10)

    def test_odd_sides(self) -> None:
        none, unsolved = times([], []), times([], [60, 60])
        assert math.isnan(statistics.log_rank(unsolved, unsolved))
        assert math.isnan(statistics.log_rank(times([3, 4], []), none))
        assert statistics.log_rank(times([7, 7], []), times([7, 7], [])) == 1


def test_holms_adjusted_p_values() -> None:
    """By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, each at least the one before; NaN aside."""
    found = statistics.holm([0.04, math.nan, 0.01, 0.03, 0.02])
    assert found == pytest.approx([0.06, math.nan, 0.04, 0.06, 0.06], nan_ok=True)
    assert np.isnan(statistics.holm([math.nan])).all()


class TestProbability:
    def test_hanley_and_mcneils_area(self) -> None:
        """Ratings of 51 abnormal and 58 normal images: area 0.893, standard error 0.032.

        Hanley and McNeil, Radiology 143, 1982, whose error the interval solves for.
        """
        ratings = np.arange(1, 6)
        normal = np.repeat(ratings, [33, 6, 6, 11, 2]).astype(float)
        abnormal = np.repeat(ratings, [3, 2, 2, 11, 33]).astype(float)
        found = statistics.probability_larger(abnormal, normal)
        assert found.value == pytest.approx(0.893, abs=5e-4)
        assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.032, rel=0.1)

    def test_ties_count_half(self) -> None:
        found = statistics.probability_larger(np.array([1.0, 1.0, 0.2]), np.array([1.0, 0.1]))
        assert found.value == pytest.approx((0.5 + 1 + 0.5 + 1 + 0 + 1) / 6)

    def test_sides_change_places(self) -> None:
        one, other = draws(1, 6), draws(2, 9) + 0.7
        found, turned = (
            statistics.probability_larger(*pair) for pair in ((one, other), (other, one))
        )
        assert found == pytest.approx((1 - turned.value, 1 - turned.high, 1 - turned.low))

    @pytest.mark.parametrize("n", [1, 6, 32])
    def test_samples_apart_have_a_width_and_it_is_newcombes(self, n: int) -> None:
        """The lower limit p solves (1 - p) n^2 = z^2 p (1 + (n - 1)(...)) where all pairs agree."""
        found = statistics.probability_larger(np.arange(n) + 100.0, np.arange(n) + 0.0)
        p, z = found.low, stats.norm.ppf(0.975)
        assert (found.value, found.high) == (1, 1)
        right = z**2 * p * (1 + (n - 1) * ((1 - p) / (2 - p) + p / (1 + p)))
        assert (1 - p) * n**2 == pytest.approx(right, rel=1e-6)

    def test_one_draw_a_side_has_wilsons_interval_of_one_trial(self) -> None:
        found = statistics.probability_larger(np.array([1.0]), np.array([0.0]))
        assert found.low == pytest.approx(stats.binomtest(1, 1).proportion_ci(0.95, "wilson").low)

    def test_the_worst_may_be_infinitely_bad(self) -> None:
        found = statistics.probability_larger(np.array([-np.inf, 1.0]), np.array([-np.inf, 0.0]))
        assert found.value == (0.5 + 0 + 1 + 1) / 4

    def test_a_side_without_seeds_is_a_gap(self) -> None:
        assert np.isnan(statistics.probability_larger(np.zeros(0), draws(1, 3))).all()


class TestSeedsNeeded:
    @pytest.mark.parametrize(("solved", "seeds"), [(0, 10), (10, 10)])
    def test_of_none_or_all_solved_in_closed_form(self, solved: int, seeds: int) -> None:
        """The width is 1 - 0.025^(1/n), at most 0.1 from n = log 0.025 / log 0.9 = 35.01 on."""
        assert statistics.seeds_for_share(solved, seeds, 0.1) == 36

    def test_one_seed_is_enough_for_a_wide_interval(self) -> None:
        """Of one seed it is 1 - 0.025 wide."""
        assert statistics.seeds_for_share(0, 1, 0.98) == 1
        assert statistics.seeds_for_share(0, 1, 0.97) == 2

    @pytest.mark.parametrize("width", [0.5, 0.3, 0.1])
    def test_the_share_then_has_the_width(self, width: float) -> None:
        needed = statistics.seeds_for_share(3, 6, width)
        assert needed is not None
        even = needed + needed % 2
        now, before = statistics.share(even // 2, even), statistics.share(even // 2 - 1, even - 2)
        assert now.high - now.low <= width < before.high - before.low

    def test_the_mean_of_normal_seeds_in_closed_form(self) -> None:
        """(2 x 1.96 s / (0.5 w))^2 with s the winsorised deviation, for many seeds."""
        values = np.sort(draws(1, 4000))
        spread = np.clip(values, values[1000], values[2999]).std(ddof=1)
        needed = statistics.seeds_for_mean(values, 0.2)
        assert needed == pytest.approx((2 * 1.96 * spread / (0.5 * 0.2)) ** 2, rel=0.01)

    def test_the_mean_then_has_the_width(self) -> None:
        needed = statistics.seeds_for_mean(draws(1, 200), 0.8)
        assert needed is not None
        widths = [found.high - found.low for s in range(40) for found in [iqm(draws(s, needed))]]
        assert np.mean(widths) == pytest.approx(0.8, rel=0.1)

    def test_so_few_as_have_no_interval_are_never_enough(self) -> None:
        needed = statistics.seeds_for_mean(draws(1, 12), 100.0)
        assert needed == statistics.FEWEST_SEEDS
        assert np.isfinite(iqm(draws(1, needed))).all()
        assert np.isnan(iqm(draws(1, needed - 1)).low)

    def test_a_unit_changes_nothing(self) -> None:
        values = draws(1, 12)
        assert statistics.seeds_for_mean(values, 0.3) == statistics.seeds_for_mean(
            1000 * values, 300.0
        )

    def test_what_cannot_be_known_is_a_gap(self) -> None:
        assert statistics.seeds_for_share(0, 0, 0.1) is None
        assert statistics.seeds_for_mean(np.array([0.5]), 0.1) is None
        assert statistics.seeds_for_mean(np.ones(8), 0.1) is None
        assert statistics.seeds_for_mean(draws(1, 8), 1e-9) is None

    @pytest.mark.parametrize("width", [0.0, -1.0, math.nan])
    def test_a_width_is_a_number_above_zero(self, width: float) -> None:
        for ask in (
            lambda: statistics.seeds_for_share(1, 2, width),
            lambda: statistics.seeds_for_mean(draws(1, 8), width),
        ):
            with pytest.raises(InvalidInput, match=f"width: {width!r} is not allowed; use a"):
                ask()


class TestMean:
    def test_three_values_by_hand(self) -> None:
        """1, 2, 3: Student's 97.5% quantile of two degrees of freedom is 4.3027."""
        half = 4.30265273 / 3**0.5
        np.testing.assert_allclose(
            statistics.mean(np.array([1.0, 2.0, 3.0])), (2, 2 - half, 2 + half)
        )

    def test_one_value_has_no_interval_and_none_no_mean(self) -> None:
        assert statistics.mean(np.array([4.0]))[0] == 4
        assert np.isnan(statistics.mean(np.array([4.0]))[1:]).all()
        assert np.isnan(statistics.mean(np.array([]))).all()
