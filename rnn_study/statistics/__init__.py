"""Estimates over seeds and their 95% intervals: numbers in, numbers out; frames are `aggregate`'s.

Nothing depends on the order of the numbers. What draws takes a generator, and the same generator
gives the same interval. tests/test_coverage.py measures how often the intervals hold the truth.
"""

from rnn_study.statistics.comparisons import holm, log_rank, probability_larger
from rnn_study.statistics.estimates import (
    CONFIDENCE,
    FEWEST_SEEDS,
    RESAMPLES,
    Estimate,
    Times,
    interquartile_mean,
    mean,
    median_time,
    share,
)
from rnn_study.statistics.planning import MOST_SEEDS, seeds_for_mean, seeds_for_share
from rnn_study.statistics.variance import VarianceSplit, variance_split

__all__ = [
    "CONFIDENCE",
    "FEWEST_SEEDS",
    "MOST_SEEDS",
    "RESAMPLES",
    "Estimate",
    "Times",
    "VarianceSplit",
    "holm",
    "interquartile_mean",
    "log_rank",
    "mean",
    "median_time",
    "probability_larger",
    "seeds_for_mean",
    "seeds_for_share",
    "share",
    "variance_split",
]
