"""Cells against each other: summed up over the lengths, and compared at each length.

The rules are those of the package.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from rnn_study import statistics
from rnn_study.aggregate.grouping import (
    check,
    column_of,
    conditions,
    distinguishing,
    finished,
    flags,
    index,
    metric_of,
    start,
    times,
    values,
    varying,
)


def cell_summary(
    runs: pd.DataFrame, metric: str | None = None, rng: np.random.Generator | None = None
) -> pd.DataFrame:
    """Each cell over all lengths: one row a cell, and setting that varies within a cell.

    Columns: lengths, how many; seeds, solved (left out where the task has no goal); iqm, iqm_low,
    iqm_high: interquartile mean of `metric` over the seeds of all lengths, and its stratified
    bootstrap interval, a length a stratum (Agarwal et al., NeurIPS 2021); no interval where a
    length has fewer than six seeds. Lengths count alike, as in that paper, whatever the numbers of
    their seeds: cells would not be compared on the same. For that reason too, all are missing where
    a length that `runs` have at all has no finished seed.
    """
    column = column_of(check(runs), metric)
    levels, seed = ["cell", *distinguishing(runs)], start(rng)
    lengths = sorted(set(runs["length"])) if len(runs) else []
    keys, rows = [], []
    for key, group in conditions(runs, levels):
        seeds = finished(group)
        strata = [values(seeds[seeds["length"] == length], column) for length in lengths]
        row = {
            "lengths": len(set(seeds["length"])),
            "seeds": len(seeds),
            "solved": int(flags(seeds["solved"]).sum()),
        }
        whole = all(map(len, strata))
        iqm = statistics.interquartile_mean(strata * whole, np.random.default_rng(seed))
        rows.append(row | {"iqm": iqm.value, "iqm_low": iqm.low, "iqm_high": iqm.high})
        keys.append(key)
    goal = metric_of(runs).goal
    kinds = {"lengths": "int64", "seeds": "int64", "solved": "int64"}
    kinds |= dict.fromkeys(("iqm", "iqm_low", "iqm_high"), "float64")
    table = pd.DataFrame(rows, columns=list(kinds), index=index(keys, levels)).astype(kinds)
    return table if goal is not None else table.drop(columns="solved")


def cell_comparison(runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Does one cell do better than another? One row a length (and setting that varies) and pair.

    The index names both sides with their learning rates; where rates vary within a cell, each is a
    side of its own. Columns:

    - seeds, other_seeds: finished ones of either side.
    - probability: that a seed of `cell` has a better `metric` than one of `other`, ties counted
      half, with its interval low, high (`statistics.probability_larger`). A seed that diverged
      before any finite value is worse than all others.
    - log_rank, log_rank_holm: p-value that both solve at the same pace, and adjusted for the number
      of rows; left out where the task has no goal, NaN where no seed solved.
    """
    column, known = column_of(check(runs), metric), metric_of(runs)
    side = ["cell", "learning_rate"]
    levels = ["length", *varying(runs)]
    keys, rows = [], []
    for key, group in conditions(runs, levels):
        sides = [(name, finished(seeds)) for name, seeds in conditions(group, side)]
        for (name, one), (other_name, other) in combinations(sides, 2):
            pair = (_scores(each, column, known.larger_is_better) for each in (one, other))
            found = statistics.probability_larger(*pair)
            row: dict[str, Any] = {"seeds": len(one), "other_seeds": len(other)}
            row |= {"probability": found.value, "low": found.low, "high": found.high}
            if known.goal is not None:
                row["log_rank"] = statistics.log_rank(times(one), times(other))
            keys.append((*key, *name, *other_name))
            rows.append(row)
    kinds = dict.fromkeys(("seeds", "other_seeds"), "int64")
    kinds |= dict.fromkeys(("probability", "low", "high"), "float64")
    if known.goal is not None:
        kinds["log_rank"] = "float64"
    names = [*levels, *side, *(f"other_{name}" for name in side)]
    names[-2] = "other"
    table = pd.DataFrame(rows, columns=list(kinds), index=index(keys, names)).astype(kinds)
    if known.goal is not None:
        table["log_rank_holm"] = statistics.holm(table["log_rank"].tolist())
    return table


def _scores(seeds: pd.DataFrame, column: str, larger_is_better: bool) -> np.ndarray:
    """The metric of seeds, larger the better; the worst there is, where it was never finite."""
    found = seeds[column].to_numpy(dtype=float, na_value=math.nan)
    return np.where(np.isfinite(found), found if larger_is_better else -found, -math.inf)
