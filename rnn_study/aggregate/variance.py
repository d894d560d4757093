"""Crossed designs, every seed trained on every data seed: whose variance is it?

The rules are those of the package.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rnn_study import statistics
from rnn_study.aggregate.grouping import (
    CONDITION,
    check,
    column_of,
    conditions,
    finished,
    index,
    varying,
)
from rnn_study.errors import require
from rnn_study.statistics import Estimate


def crossed(runs: pd.DataFrame) -> bool:
    """Whether a seed was trained on several data seeds: a crossed design."""
    if runs.empty:
        return False
    levels = [*CONDITION, *(name for name in varying(runs) if name != "data_seed"), "seed"]
    return any(group["data_seed"].nunique() > 1 for _, group in conditions(runs, levels))


def variance_split(runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """How much of a condition's variance is the data's, and how much the weights': one row each.

    For a crossed design (`Study.data_seeds`). Columns:

    - data_seeds, weight_seeds: of the full grid, every seed on every data seed, that the numbers
      are of; left_out: finished runs beside it, because others of their data seed or seed are
      missing or were never finite.
    - data, weights, rest: components of the variance of `metric` (`statistics.variance_split`),
      each with _low and _high; rest: what is of neither alone but of the pair.
    - data_share, weights_share, rest_share: of their sum; NaN where nothing varies.

    NaN where the full grid is smaller than two by two. Raises InvalidInput if nothing is crossed.
    """
    column = column_of(check(runs), metric)
    require(
        crossed(runs),
        "runs",
        "no seed on two data seeds",
        "use a study with --data-seeds 2 or more",
    )
    levels = [*CONDITION, *(name for name in varying(runs) if name != "data_seed")]
    groups = list(conditions(runs, levels))
    rows = [_split(finished(group), column) for _, group in groups]
    return pd.DataFrame(rows, index=index([key for key, _ in groups], levels))


def _split(seeds: pd.DataFrame, column: str) -> dict[str, int | float]:
    """A row of `variance_split`."""
    grid = seeds.pivot(index="data_seed", columns="seed", values=column).astype(float)
    grid = grid.where(np.isfinite(grid))
    while (gaps := grid.isna()).to_numpy().any():
        rows, columns = gaps.mean(axis="columns"), gaps.mean(axis="index")
        # the line with most gaps, as its other values are the least loss
        if columns.max() >= rows.max():
            grid = grid.drop(columns=columns.idxmax())
        else:
            grid = grid.drop(index=rows.idxmax())
    row: dict[str, int | float] = {
        "data_seeds": grid.shape[0],
        "weight_seeds": grid.shape[1],
        "left_out": len(seeds) - grid.size,
    }
    empty = min(grid.shape) < 2
    parts = [Estimate()] * 3 if empty else statistics.variance_split(grid.to_numpy())
    names = statistics.VarianceSplit._fields
    for name, part in zip(names, parts, strict=True):
        row |= {name: part.value, f"{name}_low": part.low, f"{name}_high": part.high}
    total = math.fsum(part.value for part in parts)
    shares = (part.value / total if total else math.nan for part in parts)
    return row | {f"{name}_share": share for name, share in zip(names, shares, strict=True)}
