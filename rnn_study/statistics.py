"""Estimates over seeds and their 95% intervals: numbers in, numbers out; frames are `aggregate`'s.

Nothing depends on the order of the numbers. What draws takes a generator, and the same generator
gives the same interval. tests/test_coverage.py measures how often the intervals hold the truth.
"""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from rnn_study.errors import require, require_positive

CONFIDENCE: Final = 0.95
"""Of every interval, two-sided with equal tails."""
_TAIL: Final = (1 - CONFIDENCE) / 2

RESAMPLES: Final = 9999
"""Of a bootstrap."""

FEWEST_SEEDS: Final = 6
"""In a stratum, for an interval of `interquartile_mean`."""

MOST_SEEDS: Final = 10**6
"""Where `seeds_for_share` and `seeds_for_mean` give up."""


class Estimate(NamedTuple):
    """A number and its interval; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


class Times(NamedTuple):
    """When seeds solved, or until when they were followed without solving, in epochs."""

    epochs: np.ndarray
    solved: np.ndarray
    """Whether; a seed that did not is censored."""

    @property
    def sample(self) -> stats.CensoredData:
        return stats.CensoredData(
            uncensored=self.epochs[self.solved], right=self.epochs[~self.solved]
        )


def mean(values: np.ndarray) -> Estimate:
    """The mean, with Student's interval (Biometrika 6, 1908); NaN ends for fewer than two values.

    It takes the values as normal, which few seeds cannot show; it is the one to use below six.
    """
    if len(values) == 0:
        return Estimate()
    centre = float(np.mean(values))
    if len(values) == 1:
        return Estimate(centre)
    half = stats.t.ppf(1 - _TAIL, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Estimate(centre, centre - float(half), centre + float(half))


def share(solved: int, seeds: int) -> Estimate:
    """The share of seeds solved, with its exact interval (Clopper, Pearson, Biometrika 26, 1934).

    Exact means that it covers at least 95% of the time: for few seeds, 97 to 99%.
    """
    if seeds == 0:
        return Estimate()
    interval = stats.binomtest(solved, seeds).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(solved / seeds, float(interval.low), float(interval.high))


def interquartile_mean(strata: Sequence[np.ndarray], rng: np.random.Generator) -> Estimate:
    """The mean without the floor(n / 4) smallest and largest of n values, of all strata together.

    Its interval is a bootstrap's that resamples within each stratum (Agarwal et al., NeurIPS 2021),
    by percentiles. Plain percentiles are too narrow for few seeds (90% at six), so they are taken
    at the tails of Student's t, one degree of freedom less than seeds a stratum. (After Hesterberg,
    The American Statistician 69, 2015; his second factor, the root of n / (n - 1), is too wide for
    this mean of one stratum. What several lose beyond it is made up for.) NaN where a stratum has
    fewer than six values: no resample lies outside of their range, and that of four holds the mean
    87% of the time. Several strata of only six each cover 90 to 96%. Values that are all equal give
    no width.
    """
    sorted_ = [np.sort(np.asarray(values, dtype=float)) for values in strata if len(values)]
    if not sorted_:
        return Estimate()
    value = round(float(_trimmed(*sorted_)), 12)
    seeds, strata_ = sum(map(len, sorted_)), len(sorted_)
    if min(map(len, sorted_)) < FEWEST_SEEDS:
        return Estimate(value)
    freedom = seeds - strata_
    tail = stats.norm.cdf(stats.t.ppf(_TAIL, freedom) * math.sqrt((seeds - 1) / freedom))
    interval = stats.bootstrap(
        sorted_,
        _trimmed,
        n_resamples=RESAMPLES,
        confidence_level=1 - 2 * tail,
        method="percentile",
        vectorized=True,
        rng=rng,
    ).confidence_interval
    # rounded, because the mean of equal values may be a last bit beside them
    low, high = (round(float(limit), 12) for limit in interval)
    return Estimate(value, low, high)


def median_time(times: Times) -> Estimate:
    """The smallest epoch by which at least half have solved, by Kaplan and Meier's estimator.

    The interval is that of Brookmeyer and Crowley (Biometrics 38, 1982) with the log-log
    transformation: the epochs at which the survival's interval holds one half. NaN: not reached
    by the last epoch. Where all have solved, the survival is taken to be zero for certain. It
    covers 95 to 98% of the time, as it steps from seed to seed.
    """
    if len(times.epochs) == 0:
        return Estimate()
    survival = stats.ecdf(times.sample).sf
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # no interval where survival is 0 or 1
        limits = survival.confidence_interval(CONFIDENCE, method="log-log")
    at_zero = survival.probabilities <= 0

    def reached(probabilities: np.ndarray) -> float:
        # the tolerance: a product of ratios that is one half may be computed just above it
        by_then = survival.quantiles[(probabilities <= 0.5 + 1e-9) | at_zero]
        return float(by_then[0]) if len(by_then) else math.nan

    low, high = limits.low.probabilities, limits.high.probabilities
    return Estimate(reached(survival.probabilities), reached(low), reached(high))


def log_rank(one: Times, other: Times) -> float:
    """Two-sided p-value that both solve at one pace (log-rank test: Mantel 1966, Peto 1972).

    Its normal approximation is somewhat bold for few seeds: of six a side that do not differ, 8%
    are below 0.05. It is never taken below what the rarest split of the seeds in two would have.
    NaN where no seed solved, or one side has no seed.
    """
    m, n = len(one.epochs), len(other.epochs)
    if min(m, n) == 0 or not (one.solved.any() or other.solved.any()):
        return math.nan
    with np.errstate(all="ignore"):
        found = float(stats.logrank(one.sample, other.sample).pvalue)
    rarest = min(1.0, 2 / math.comb(m + n, m))
    return max(found, rarest) if math.isfinite(found) else 1.0  # they all solved at once


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979).

    NaN stays NaN and is not counted.
    """
    found = np.asarray(p_values, dtype=float)
    adjusted, tested = found.copy(), np.isfinite(found)
    if tested.any():
        adjusted[tested] = multipletests(found[tested], method="holm")[1]
    return adjusted


def probability_larger(one: np.ndarray, other: np.ndarray) -> Estimate:
    """The probability that a draw of `one` exceeds one of `other`, ties counted half.

    Mann and Whitney's U by the number of pairs, with Newcombe's score interval (Statistics in
    Medicine 25, 2006, part 2, method 5), which has a width where the samples do not overlap. It
    takes the two spreads to be alike: where one is three times the other, it covers 90 to 96%.
    """
    m, n = len(one), len(other)
    if min(m, n) == 0:
        return Estimate()
    found = float(stats.mannwhitneyu(one, other).statistic) / (m * n)
    z = float(stats.norm.ppf(1 - _TAIL))

    def outside(p: float) -> float:
        """Positive where `p` is further from what was found than z standard errors at `p`."""
        spread = 1 + ((m + n) / 2 - 1) * ((1 - p) / (2 - p) + p / (1 + p))
        return (p - found) ** 2 - z**2 * p * (1 - p) * spread / (m * n)

    edge = 1e-9  # beside which the sign is sure: 0 and 1 themselves are zeros of `outside`
    low = optimize.brentq(outside, 0, found - edge) if found > edge else 0.0
    high = optimize.brentq(outside, found + edge, 1) if found < 1 - edge else 1.0
    return Estimate(found, float(low), float(high))


class VarianceSplit(NamedTuple):
    """Components of the variance of one value, which add up to it."""

    data: Estimate
    """Of the data seed, whatever the weights."""
    weights: Estimate
    """Of the weight seed, whatever the data."""
    rest: Estimate
    """Of the pair: their interaction. (A pair is trained once and has no other noise.)"""


def variance_split(values: np.ndarray) -> VarianceSplit:
    """Variance by data seed (rows) and weight seed (columns) of a full crossed design.

    Two random factors without replication; the components are those of the analysis of variance
    (mean squares equal to their expectations), zero where negative. The rest has its exact
    interval, the others that of a difference of mean squares (Ting, Burdick, Graybill, Jeyaratnam
    and Lu, Journal of Statistical Computation and Simulation 35, 1990), at least zero. Raises
    InvalidInput for fewer than two rows or columns, or a gap.
    """
    rows, columns = values.shape
    shape = f"{rows} data seeds x {columns} weight seeds"
    require(min(rows, columns) >= 2, "design", shape, "use at least two of each")
    gaps = int((~np.isfinite(values)).sum())
    require(gaps == 0, "design", f"{shape}, {gaps} missing", "use every pair once")
    if np.ptp(values) == 0:
        return VarianceSplit(*[Estimate(0.0, 0.0, 0.0)] * 3)  # sums would leave a last bit
    data, weights = (axis.ravel() for axis in np.indices(values.shape))
    frame = pd.DataFrame({"value": values.ravel(), "data": data, "weights": weights})
    squares = anova_lm(ols("value ~ C(data) + C(weights)", frame).fit())["mean_sq"]
    by_data, by_weights = float(squares["C(data)"]), float(squares["C(weights)"])
    rest, freedom = float(squares["Residual"]), (rows - 1) * (columns - 1)
    return VarianceSplit(
        _difference(by_data, rows - 1, rest, freedom, columns),
        _difference(by_weights, columns - 1, rest, freedom, rows),
        Estimate(
            rest,
            rest * freedom / float(stats.chi2.ppf(1 - _TAIL, freedom)),
            rest * freedom / float(stats.chi2.ppf(_TAIL, freedom)),
        ),
    )


def seeds_for_share(solved: int, seeds: int, width: float) -> int | None:
    """How many seeds give the share solved an interval no wider than `width`.

    If the share stays what it is. None: no seed so far, or more than `MOST_SEEDS`.
    """
    require(0 < width < 1, "width", width, "use a number between 0 and 1")
    if seeds == 0:
        return None
    p = solved / seeds

    def wide(n: int) -> float:
        # Clopper and Pearson's, for a number of solved seeds that need not be whole
        low = stats.beta.ppf(_TAIL, p * n, (1 - p) * n + 1) if p > 0 else 0.0
        high = stats.beta.ppf(1 - _TAIL, p * n + 1, (1 - p) * n) if p < 1 else 1.0
        return float(high - low)

    return _smallest(wide, width, 1)


def seeds_for_mean(values: np.ndarray, width: float) -> int | None:
    """How many seeds give the interquartile mean an interval no wider than `width`.

    By the standard error of a trimmed mean from the winsorised variance of `values` (Tukey and
    McLaughlin, Sankhya A 25, 1963), if their spread stays what it is. None: fewer than two values,
    or all equal, which says nothing of the spread; or more than `MOST_SEEDS`.
    """
    width = require_positive("width", width)
    if len(values) < 2:
        return None
    cut = len(values) // 4
    ordered = np.sort(np.asarray(values, dtype=float))
    spread = float(np.clip(ordered, ordered[cut], ordered[-1 - cut]).std(ddof=1))
    if spread == 0:
        return None

    def wide(n: int) -> float:
        kept = (len(ordered) - 2 * cut) / len(ordered)
        return float(2 * stats.t.ppf(1 - _TAIL, n - 1) * spread / (kept * math.sqrt(n)))

    return _smallest(wide, width, 2)


def _trimmed(*strata: np.ndarray, axis: int = -1) -> Any:
    return stats.trim_mean(np.concatenate(strata, axis=axis), 0.25, axis=axis)


def _difference(above: float, above_df: int, below: float, below_df: int, times: int) -> Estimate:
    """The component (above - below) / times of two mean squares, with its interval."""

    def limit(tail: float) -> float:
        """The lower limit for `tail` below one half, the upper one above."""
        ratio = float(stats.f.ppf(1 - tail, above_df, below_df))
        one = 1 - above_df / float(stats.chi2.ppf(1 - tail, above_df))
        two = below_df / float(stats.chi2.ppf(tail, below_df)) - 1
        both = ((ratio - 1) ** 2 - (one * ratio) ** 2 - two**2) / ratio
        square = (one * above) ** 2 + (two * below) ** 2 + both * above * below
        return above - below - math.copysign(math.sqrt(max(square, 0.0)), 0.5 - tail)

    return Estimate(
        *(max(each, 0.0) / times for each in (above - below, limit(_TAIL), limit(1 - _TAIL)))
    )


def _smallest(wide: Callable[[int], float], width: float, least: int) -> int | None:
    """The smallest number of seeds at which a width that falls with their number is `width`."""
    if wide(least) <= width:
        return least
    high = least
    while wide(high) > width:
        high *= 2
        if high > MOST_SEEDS:
            return None
    return bisect.bisect_left(range(high), True, lo=high // 2, key=lambda n: wide(n) <= width)
