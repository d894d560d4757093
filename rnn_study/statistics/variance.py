"""Whose the variance is, of values whose data seeds and weight seeds are crossed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from rnn_study.errors import require
from rnn_study.statistics.estimates import TAIL, Estimate


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
    freedom = (rows - 1) * (columns - 1)
    of_rows, of_columns = (values.mean(axis, keepdims=True) for axis in (1, 0))
    by_data = float(columns * np.var(of_rows, ddof=1))  # mean squares
    by_weights = float(rows * np.var(of_columns, ddof=1))
    rest = float(np.sum((values - of_rows - of_columns + values.mean()) ** 2) / freedom)
    return VarianceSplit(
        _difference(by_data, rows - 1, rest, freedom, columns),
        _difference(by_weights, columns - 1, rest, freedom, rows),
        Estimate(
            rest,
            rest * freedom / float(stats.chi2.ppf(1 - TAIL, freedom)),
            rest * freedom / float(stats.chi2.ppf(TAIL, freedom)),
        ),
    )


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
        *(max(each, 0.0) / times for each in (above - below, limit(TAIL), limit(1 - TAIL)))
    )
