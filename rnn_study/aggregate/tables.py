"""Runs by cell and length, and over their seeds; the rules are those of the package."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

import numpy as np
import pandas as pd

from rnn_study import statistics
from rnn_study.aggregate.grouping import (
    CONDITION,
    check,
    column_of,
    conditions,
    distinguishing,
    finished,
    flags,
    index,
    metric_of,
    sortable,
    start,
    times,
    values,
    varying,
)

STATISTICS: Final = {
    "seeds": "int64",
    "solved": "int64",
    "share": "float64",
    "share_low": "float64",
    "share_high": "float64",
    "min": "float64",
    "q1": "float64",
    "iqm": "float64",
    "iqm_low": "float64",
    "iqm_high": "float64",
    "median": "float64",
    "q3": "float64",
    "max": "float64",
    "epochs_to_solve": "float64",
    "epochs_low": "float64",
    "epochs_high": "float64",
    "epochs_observed": "float64",
    "diverged": "int64",
    "failed": "int64",
    "unfinished": "int64",
}
"""Columns of `seed_sensitivity`, and their types."""

_OF_SOLVING: Final = r"^(solved|share.*|epochs_.*)$"
"""Those that a task without a goal does not have."""


def runs(study_name: str, tracking_uri: str | None = None, task: str | None = None) -> pd.DataFrame:
    """The runs of a study, read back from MLflow: one row a run, without those of its searches.

    Without a `tracking_uri`: MLFLOW_TRACKING_URI, else the SQLite file under the user's home.
    `task`: of this one, where one name was used for several. Raises InvalidInput where there is no
    such study, or its runs cannot be put into one table.
    """
    # A notebook that only makes tables of a frame it has needs no MLflow.
    from rnn_study import tracking
    from rnn_study.execution import Execution

    uri = Execution(tracking_uri=tracking_uri).resolved_tracking_uri
    found = tracking.read_runs(uri, study_name)
    found = found[found["purpose"] != tracking.SEARCH].reset_index(drop=True)
    return check(found if task is None else found[found["task"] == task])


def length_table(runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Median and best of `metric` over the seeds, and seeds solved "k/n", by length and cell.

    `metric`: by default the task's own at the last epoch. Where the task has no goal, the number of
    seeds stands instead of those solved. Rows are lengths, columns (cell, statistic). A learning
    rate that differs within a cell and length, or another setting that varies, becomes a row level
    after the length. Values are rounded to four decimals, finer than 1000 validation sequences
    resolve (errors to four digits), so that three cells print within 80 columns;
    `seed_sensitivity` has them in full. NaN, and 0/0 solved: no seed finished. NaN and no count: no
    such run. (The paper's Table 1, with seeds.)
    """
    table, known = seed_sensitivity(runs, metric), metric_of(runs)
    last = "seeds" if known.goal is None else "solved"
    cells = list(table.index.unique("cell"))
    levels = ["length", *distinguishing(runs)]
    blocks: dict[Hashable, dict[Hashable, object]] = {}
    for key, row in zip(table.index, table.to_dict("records"), strict=True):
        place = dict(zip(table.index.names, key, strict=True))
        block = blocks.setdefault(tuple(place[level] for level in levels), {})
        block[place["cell"], "median"] = known.rounded(row["median"])
        block[place["cell"], "best"] = known.rounded(
            row["max" if known.larger_is_better else "min"]
        )
        count = row["seeds"]
        block[place["cell"], last] = count if known.goal is None else f"{row['solved']}/{count}"
    keys = sorted(blocks, key=sortable)
    columns = pd.MultiIndex.from_tuples(
        [(cell, statistic) for cell in cells for statistic in ("median", "best", last)],
        names=[None, None],
    )
    if not keys:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="length", dtype="int64"))
    filled = [[blocks[key].get(column, math.nan) for column in columns] for key in keys]
    table = pd.DataFrame(filled, columns=columns, index=index(keys, levels))
    counts = [column for column in columns if column[1] == "seeds"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def seed_sensitivity(
    runs: pd.DataFrame, metric: str | None = None, rng: np.random.Generator | None = None
) -> pd.DataFrame:
    """How much a condition's result depends on the seed: one row a condition.

    The index is cell, length, learning rate, and every further setting that varies. Columns, of
    which those of solving are left out where the task has no goal:

    - seeds: finished runs; solved: those that reached the task's goal, validation accuracy one.
    - share, share_low, share_high: solved / seeds, with its exact 95% interval (Clopper and
      Pearson, Biometrika 26, 1934).
    - min, q1, median, q3, max of `metric` over the seeds (quartiles interpolate linearly); iqm:
      interquartile mean, the mean without the floor(n / 4) smallest and largest values; iqm_low,
      iqm_high: its bootstrap interval, from six seeds on.
    - epochs_to_solve: median, by Kaplan and Meier's estimator, the smallest epoch by which at
      least half have solved, censored as in `grouping.times`; NaN where that is not reached.
      epochs_low, epochs_high: its interval, from six seeds on; NaN beyond the last epoch.
    - epochs_observed: the last epoch that any seed was followed to; the median is later than
      that where it is not reached.
    - diverged: of the seeds; failed, unfinished: runs that are missing among the seeds.
    """
    column = column_of(check(runs), metric)
    levels, seed = [*CONDITION, *varying(runs)], start(rng)
    groups = list(conditions(runs, levels))
    rows = [_statistics(group, column, seed) for _, group in groups]
    table = pd.DataFrame(
        rows, columns=list(STATISTICS), index=index([key for key, _ in groups], levels)
    ).astype(STATISTICS)
    goal = metric_of(runs).goal
    return table if goal is not None else table.loc[:, ~table.columns.str.match(_OF_SOLVING)]


def seeds_needed(
    runs: pd.DataFrame,
    metric: str | None = None,
    share_width: float = 0.2,
    metric_width: float | None = None,
) -> pd.DataFrame:
    """How many seeds would give intervals as narrow as wanted: one row a condition.

    Columns: seeds; share_width, what the interval of the share solved is now, and share_seeds, how
    many make it at most `share_width`, if the share stays; iqm_width and iqm_seeds, likewise for
    the interquartile mean of `metric` and `metric_width` (default: the metric's own, which may be a
    share of the mean), if the spread stays. Missing: no finished seed; for iqm_seeds, no spread
    seen, and for iqm_width fewer than six seeds. A guess from few seeds is rough. The columns of
    the share are left out where the task has no goal.
    """
    table, known = seed_sensitivity(runs, metric), metric_of(runs)
    column, levels = column_of(runs, metric), [*CONDITION, *varying(runs)]
    wanted = known.width if metric_width is None else metric_width
    rows = []
    for (_, group), row in zip(conditions(runs, levels), table.to_dict("records"), strict=True):
        found: dict[str, object] = {"seeds": row["seeds"]}
        if known.goal is not None:
            needed = statistics.seeds_for_share(row["solved"], row["seeds"], share_width)
            found |= {"share_width": row["share_high"] - row["share_low"], "share_seeds": needed}
        unit = row["iqm"] if known.relative and metric_width is None else 1.0
        needed = statistics.seeds_for_mean(values(finished(group), column) / unit, wanted)
        rows.append(found | {"iqm_width": row["iqm_high"] - row["iqm_low"], "iqm_seeds": needed})
    share = ["share_width", "share_seeds"] if known.goal is not None else []
    names = ["seeds", *share, "iqm_width", "iqm_seeds"]
    kinds = {name: "float64" if name.endswith("width") else "Int64" for name in names}
    return pd.DataFrame(rows, columns=names, index=table.index).astype(kinds)


def _statistics(group: pd.DataFrame, column: str, seed: int) -> dict[str, int | float]:
    """A row of `seed_sensitivity`: the runs of one condition."""
    seeds = finished(group)
    solved = int(flags(seeds["solved"]).sum())
    found = values(seeds, column)
    low, q1, median, q3, high = [math.nan] * 5
    if len(found):
        # rounded, because interpolation may put 0.9965 a last bit below itself
        low, q1, median, q3, high = np.quantile(found, [0, 0.25, 0.5, 0.75, 1]).round(12).tolist()
    iqm = statistics.interquartile_mean([found], np.random.default_rng(seed))
    share = statistics.share(solved, len(seeds))
    to_solve = times(seeds)
    epochs = statistics.median_time(to_solve)
    failed = int((group["status"] == "FAILED").sum())
    return {
        "seeds": len(seeds),
        "solved": solved,
        "share": share.value,
        "share_low": share.low,
        "share_high": share.high,
        "min": low,
        "q1": q1,
        "iqm": iqm.value,
        "iqm_low": iqm.low,
        "iqm_high": iqm.high,
        "median": median,
        "q3": q3,
        "max": high,
        "epochs_to_solve": epochs.value,
        "epochs_low": epochs.low,
        "epochs_high": epochs.high,
        "epochs_observed": float(max(to_solve.epochs, default=math.nan)),
        "diverged": int(flags(seeds["diverged"]).sum()),
        "failed": failed,
        "unfinished": len(group) - len(seeds) - failed,
    }
