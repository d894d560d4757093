"""How often intervals hold the truth: drawn again and again from what is known, with fixed seeds.

95% intervals should cover 93 to 97% of the time. Where that cannot be had, the test says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from rnn_study import statistics
from rnn_study.statistics import Estimate, Times, estimates

Draw = Callable[[np.random.Generator, int], np.ndarray]


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """999 find the tails well enough on average, in a tenth of the time."""
    monkeypatch.setattr(estimates, "RESAMPLES", 999)


def covered(intervals: Iterator[Estimate], truth: float) -> float:
    """Per cent of the intervals that hold `truth`; no upper limit means infinity."""
    found = [each.low <= truth and not each.high < truth for each in intervals]
    return 100 * sum(found) / len(found)


def solved_or_not(rng: np.random.Generator, n: int) -> np.ndarray:
    """Accuracies: half of the seeds near one, half near chance, as at a length of transition."""
    return np.where(rng.random(n) < 0.5, rng.uniform(0.2, 0.4, n), rng.beta(40, 1, n))


DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: rng.lognormal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
    "solved or not": solved_or_not,
}


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("normal", 6),
        ("skewed", 6),
        ("solved or not", 6),
        ("heavy tails", 32),
        ("solved or not", 32),
    ],
)
def test_interquartile_mean_from_six_seeds_on(name: str, n: int) -> None:
    rng = np.random.default_rng([n, 1])
    truth = stats.trim_mean(DRAWS[name](rng, 1_000_000), 0.25)
    found = (statistics.interquartile_mean([DRAWS[name](rng, n)], rng) for _ in range(600))
    assert 93 <= covered(found, truth) <= 97


@pytest.mark.parametrize("sizes", [(12, 12, 12), (16, 12, 8)])
def test_interquartile_mean_of_three_strata(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)

    def strata(*sizes: int) -> list[np.ndarray]:
        return [
            place + DRAWS["skewed"](rng, n) for place, n in zip((0, 0.3, 1), sizes, strict=True)
        ]

    truth = stats.trim_mean(np.concatenate(strata(*[1_000_000] * 3)), 0.25)
    found = (statistics.interquartile_mean(strata(*sizes), rng) for _ in range(600))
    assert 93 <= covered(found, truth) <= 97


@pytest.mark.parametrize("n", [6, 32])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_probability_to_be_larger_from_six_seeds_a_side_on(n: int, shift: float) -> None:
    rng = np.random.default_rng([n, int(shift)])
    found = (
        statistics.probability_larger(rng.normal(shift, 1, n), rng.normal(0, 1, n))
        for _ in range(600)
    )
    assert 93 <= covered(found, float(stats.norm.cdf(shift / math.sqrt(2)))) <= 97


@pytest.mark.parametrize("limit", [1.0, math.inf])
@pytest.mark.parametrize("n", [6, 32])
def test_median_epochs(n: int, limit: float) -> None:
    """The waiting times are exponential and censored at `limit`."""
    rng = np.random.default_rng([n, 3])

    def sample() -> Times:
        epochs = rng.exponential(size=n)
        return Times(np.minimum(epochs, limit), epochs <= limit)

    found = (statistics.median_time(sample()) for _ in range(600))
    assert 94 <= covered(found, math.log(2)) <= 98.5


@pytest.mark.parametrize(
    ("n", "coverage"), [(6, 96.9), (7, 93.0), (8, 96.1), (9, 97.9), (15, 93.7), (32, 96.5)]
)
def test_median_epochs_where_all_solve(n: int, coverage: float) -> None:
    """In closed form: the limits are two of the sorted epochs, from one of which to the next they
    step, and the number of seeds faster than the median is binomial."""
    found = statistics.median_time(Times(np.arange(1.0, n + 1), np.ones(n, dtype=bool)))
    below = stats.binom(n, 0.5)
    held = below.cdf(found.high - 1) - below.cdf(found.low - 1)
    assert 100 * held == pytest.approx(coverage, abs=0.05)


@pytest.mark.parametrize("n", range(1, statistics.FEWEST_SEEDS))
def test_median_epochs_of_few_seeds_have_no_interval(n: int) -> None:
    """Even from the first to solve to the last would hold the median less than 95% of the time."""
    for solved in (np.ones(n, dtype=bool), np.arange(n) > 0):
        found = statistics.median_time(Times(np.arange(1.0, n + 1), solved))
        assert math.isnan(found.low) and math.isnan(found.high)
    assert stats.binom(n, 0.5).pmf([0, n]).sum() > 0.05


@pytest.mark.parametrize("n", [6, 12, 32, 100])
def test_shares_solved_are_covered_at_least_as_often_as_said(n: int) -> None:
    """Summed over all outcomes, not drawn. Exact intervals never cover less, and often more."""
    intervals = [statistics.share(solved, n) for solved in range(n + 1)]
    shares = np.linspace(0.01, 0.99, 99)
    coverage = [
        sum(
            stats.binom.pmf(solved, n, p)
            for solved, each in enumerate(intervals)
            if each.low <= p <= each.high
        )
        for p in shares
    ]
    assert min(coverage) >= 0.95
    assert n < 100 or np.mean(coverage) < 0.97


@pytest.mark.parametrize("variances", [(0.5, 4.0, 1.0)])
def test_variances_of_four_data_seeds_and_eight_weight_seeds(variances: tuple[float, ...]) -> None:
    rng = np.random.default_rng(4)
    data, weights, rest = np.sqrt(variances)
    splits = [
        statistics.variance_split(
            rng.normal(0, data, (4, 1)) + rng.normal(0, weights, 8) + rng.normal(0, rest, (4, 8))
        )
        for _ in range(250)
    ]
    for part, truth in zip(zip(*splits, strict=True), variances, strict=True):
        assert 93 <= covered(iter(part), truth) <= 97


def test_log_rank_rejects_one_in_twenty_of_equals() -> None:
    rng = np.random.default_rng(5)

    def sample() -> Times:
        epochs = rng.exponential(size=32)
        return Times(np.minimum(epochs, 2), epochs <= 2)

    p = [statistics.log_rank(sample(), sample()) for _ in range(1000)]
    assert 3 <= 100 * np.mean(np.array(p) <= 0.05) <= 7


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_mean_of_few_normal_values(n: int) -> None:
    rng = np.random.default_rng([n, 9])
    found = (statistics.mean(rng.normal(5, 2, n)) for _ in range(4000))
    assert 94 <= covered(found, 5) <= 96
