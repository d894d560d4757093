"""A number over seeds and its interval: means, shares, and times until seeds solve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE: Final = 0.95
"""Of every interval, two-sided with equal tails."""
TAIL: Final = (1 - CONFIDENCE) / 2

RESAMPLES: Final = 9999
"""Of a bootstrap."""

FEWEST_SEEDS: Final = 6
"""For an interval of `median_time`; in a stratum, for one of `interquartile_mean`."""


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
    half = stats.t.ppf(1 - TAIL, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
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

    Every stratum has the same weight: where their numbers differ, that of a value is one through
    the number of its stratum, and what is left out is the share floor(n / 4) / n of the weight.

    Its interval is a bootstrap's that resamples within each stratum (Agarwal et al., NeurIPS 2021),
    by percentiles. Plain percentiles are too narrow for few seeds (90% at six), so they are taken
    at the tails of Student's t, one degree of freedom less than seeds a stratum. (After Hesterberg,
    The American Statistician 69, 2015; his second factor, the root of n / (n - 1), is too wide for
    this mean of one stratum. What several lose beyond it is made up for.) NaN where a stratum has
    fewer than six values: no resample lies outside of their range, and that of four holds the mean
    87% of the time. Several strata of only six each cover 90 to 96%, of 32 and 6 89 to 93%.
    Values that are all equal give no width.
    """
    sorted_ = [np.sort(np.asarray(values, dtype=float)) for values in strata if len(values)]
    if not sorted_:
        return Estimate()
    value = round(float(_trimmed(*sorted_)), 12)
    seeds, strata_ = sum(map(len, sorted_)), len(sorted_)
    if min(map(len, sorted_)) < FEWEST_SEEDS:
        return Estimate(value)
    freedom = seeds - strata_
    tail = stats.norm.cdf(stats.t.ppf(TAIL, freedom) * math.sqrt((seeds - 1) / freedom))
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
    steps from seed to seed: where all solve it covers 97% of the time for six of them, 93% for
    seven, 96% for eight, and 94 to 98% for more. NaN ends for fewer than six seeds: two hold the
    median half of the time, four 88%.
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

    median = reached(survival.probabilities)
    if len(times.epochs) < FEWEST_SEEDS:
        return Estimate(median)
    low, high = limits.low.probabilities, limits.high.probabilities
    return Estimate(median, reached(low), reached(high))


def _trimmed(*strata: np.ndarray, axis: int = -1) -> Any:
    """Without the share floor(n / 4) / n of the weight at either end; `axis` is the last."""
    values, sizes = np.concatenate(strata, axis=axis), [each.shape[axis] for each in strata]
    if len(set(sizes)) == 1:
        return stats.trim_mean(values, 0.25, axis=axis)  # the same, several times faster
    order = values.argsort(axis=axis)
    weight = np.repeat([1 / size for size in sizes], sizes)[order]
    end = weight.cumsum(axis=axis)
    cut = sum(sizes) // 4 / sum(sizes) * len(strata)
    kept = end.clip(cut, len(strata) - cut) - (end - weight).clip(cut, len(strata) - cut)
    kept_values = kept * np.take_along_axis(values, order, axis=axis)
    return kept_values.sum(axis=axis) / kept.sum(axis=axis)
