"""How many seeds an interval of a given width takes."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import stats

from rnn_study.errors import require, require_positive
from rnn_study.statistics.estimates import FEWEST_SEEDS, TAIL

MOST_SEEDS: Final = 10**6
"""Where `seeds_for_share` and `seeds_for_mean` give up."""


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
        low = stats.beta.ppf(TAIL, p * n, (1 - p) * n + 1) if p > 0 else 0.0
        high = stats.beta.ppf(1 - TAIL, p * n + 1, (1 - p) * n) if p < 1 else 1.0
        return float(high - low)

    return _smallest(wide, width, 1)


def seeds_for_mean(values: np.ndarray, width: float) -> int | None:
    """How many seeds give the interquartile mean an interval no wider than `width`.

    By the standard error of a trimmed mean from the winsorised variance of `values` (Tukey and
    McLaughlin, Sankhya A 25, 1963), if their spread stays what it is. At least
    `FEWEST_SEEDS`: fewer have no interval. None: fewer than two values, or all equal, which says
    nothing of the spread; or more than `MOST_SEEDS`.
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
        return float(2 * stats.t.ppf(1 - TAIL, n - 1) * spread / (kept * math.sqrt(n)))

    return _smallest(wide, width, FEWEST_SEEDS)


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
