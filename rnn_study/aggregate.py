"""Runs to tables: what a study found, by cell and length and over its seeds.

Both tables take the frame of `tracking.read_runs`, one row a run, and never depend on the order
of its rows. Rules that both follow:

- Only FINISHED runs count as seeds. FAILED runs are counted as failed, and RUNNING, KILLED and
  SCHEDULED ones as unfinished; neither enters a statistic.
- A diverged seed is a finished one: it is unsolved, and its metric is the last finite value that
  was logged. Where no value was ever finite, it is left out of the quantiles and still counts in
  `seeds` and `diverged`.
- Runs that differ in anything but seed and data are never put together: a setting that varies
  gives rows of its own.
- The runs are of one task. Its metric says which value is better, and whether there is a goal that
  solves the task; where there is none, nothing is said about solving.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from rnn_study.cells import CELLS
from rnn_study.config import Trial
from rnn_study.errors import require, require_member
from rnn_study.tasks import TASKS, Metric

CONDITION: Final = ("cell", "length", "learning_rate")
"""What always tells two conditions apart."""

SETTINGS: Final = tuple(
    field.name for field in fields(Trial) if field.name not in (*CONDITION, "seed")
)
"""What tells two conditions apart only where it varies."""

STATISTICS: Final = {
    "seeds": "int64",
    "solved": "int64",
    "share": "float64",
    "share_low": "float64",
    "share_high": "float64",
    "min": "float64",
    "q1": "float64",
    "iqm": "float64",
    "median": "float64",
    "q3": "float64",
    "max": "float64",
    "epochs_to_solve": "float64",
    "epochs_observed": "float64",
    "diverged": "int64",
    "failed": "int64",
    "unfinished": "int64",
}
"""Columns of `seed_sensitivity`, and their types."""

_OF_SOLVING: Final = r"^(solved|share.*|epochs_.*)$"
"""Those that a task without a goal does not have."""


def runs(study_name: str, tracking_uri: str | None = None) -> pd.DataFrame:
    """The runs of a study, read back from MLflow: one row a run.

    Without a `tracking_uri`: MLFLOW_TRACKING_URI, else the SQLite file under the user's home.
    """
    # A notebook that only makes tables of a frame it has needs no MLflow.
    from rnn_study import tracking
    from rnn_study.execution import Execution

    uri = Execution(tracking_uri=tracking_uri).resolved_tracking_uri
    return tracking.read_runs(uri, study_name)


def metric_of(runs: pd.DataFrame) -> Metric:
    """The metric of the one task that `runs` are of; without any run, of the first in `TASKS`."""
    tasks = sorted(set(runs["task"])) if len(runs) else [*TASKS][:1]
    require(len(tasks) == 1, "runs", tasks, "choose the runs of one task")
    return TASKS[tasks[0]].metric


def column_of(runs: pd.DataFrame, metric: str | None) -> str:
    """The column that `metric` names: `accuracy` is `val_accuracy`, and so is None."""
    known = metric_of(runs)
    column = known.column if metric in (None, known.name) else metric
    require_member("metric", column, known.columns)
    return str(column)


def length_table(runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Median and best of `metric` over the seeds, and seeds solved "k/n", by length and cell.

    `metric`: by default the task's own at the last epoch. Where the task has no goal, the number of
    seeds stands instead of those solved. Rows are lengths, columns (cell, statistic). A learning
    rate that differs within a cell, or another setting that varies, becomes a row level after the
    length. Values are rounded to four decimals, finer than 1000 validation sequences resolve
    (errors to four digits), so that three cells print within 80 columns; `seed_sensitivity` has
    them in full. NaN, and 0/0 solved: no seed finished. NaN and no count: no such run. (The
    paper's Table 1, with seeds.)
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
    keys = sorted(blocks, key=_sortable)
    columns = pd.MultiIndex.from_tuples(
        [(cell, statistic) for cell in cells for statistic in ("median", "best", last)],
        names=[None, None],
    )
    if not keys:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="length", dtype="int64"))
    filled = [[blocks[key].get(column, math.nan) for column in columns] for key in keys]
    table = pd.DataFrame(filled, columns=columns, index=_index(keys, levels))
    counts = [column for column in columns if column[1] == "seeds"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def seed_sensitivity(runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """How much a condition's result depends on the seed: one row a condition.

    The index is cell, length, learning rate, and every further setting that varies. Columns, of
    which those of solving are left out where the task has no goal:

    - seeds: finished runs; solved: those that reached the task's goal, validation accuracy one.
    - share, share_low, share_high: solved / seeds, with its exact 95% interval (Clopper and
      Pearson, Biometrika 26, 1934).
    - min, q1, median, q3, max of `metric` over the seeds (quartiles interpolate linearly); iqm:
      interquartile mean, the mean without the floor(n / 4) smallest and largest values.
    - epochs_to_solve: median, by Kaplan and Meier's estimator, the smallest epoch by which at
      least half have solved; NaN where that is not reached. An unsolved seed is censored at its
      last epoch. A diverged one will never solve, so it is censored at the limit of epochs:
      censored where it diverged, it would count as a seed that might have solved like the rest.
    - epochs_observed: the last epoch that any seed was followed to; the median is later than
      that where it is not reached.
    - diverged: of the seeds; failed, unfinished: runs that are missing among the seeds.
    """
    column = column_of(runs, metric)
    levels = [*CONDITION, *varying(runs)]
    groups = list(conditions(runs, levels))
    rows = [_statistics(group, column) for _, group in groups]
    index = _index([key for key, _ in groups], levels)
    table = pd.DataFrame(rows, columns=list(STATISTICS), index=index).astype(STATISTICS)
    goal = metric_of(runs).goal
    return table if goal is not None else table.loc[:, ~table.columns.str.match(_OF_SOLVING)]


def conditions(
    runs: pd.DataFrame, levels: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Runs that agree in `levels`, in the tables' order: cells as in `CELLS`, numbers ascending."""
    if runs.empty:
        return
    keys = [tuple(_value(value) for value in row) for row in runs[list(levels)].to_numpy(object)]
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    for key in sorted(places, key=lambda key: _sortable(key, levels)):
        yield key, runs.iloc[places[key]]


def distinguishing(runs: pd.DataFrame) -> list[str]:
    """What tells apart two runs of one cell and length, if anything: the rate, and `varying`.

    Learning rates that differ between cells only, one rate a cell, tell no two of them apart.
    """
    return ["learning_rate"] * _varies(runs, "learning_rate") + varying(runs)


def varying(runs: pd.DataFrame) -> list[str]:
    """The settings beyond cell, length and learning rate in which `runs` differ.

    The data's seed is none where the data are the same for all, nor where every run draws its
    data from its own seed. Nor are decay epochs that differ between cells only.
    """
    names = [name for name in SETTINGS if _varies(runs, name)]
    if "data_seed" in names and bool((runs["data_seed"] == runs["seed"]).all()):
        names.remove("data_seed")
    return names


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that count as seeds."""
    return runs[runs["status"] == "FINISHED"] if len(runs) else runs


def flags(column: pd.Series) -> np.ndarray:
    """A yes-or-no column as booleans, where missing means no."""
    return column.to_numpy(dtype=float, na_value=0.0) == 1


def _statistics(group: pd.DataFrame, column: str) -> dict[str, int | float]:
    """A row of `seed_sensitivity`: the runs of one condition."""
    seeds = finished(group)
    solved = int(flags(seeds["solved"]).sum())
    values = np.sort(seeds[column].to_numpy(dtype=float, na_value=math.nan))
    values = values[np.isfinite(values)]  # sorted: sums must not depend on the order of rows
    low, q1, median, q3, high, iqm = [math.nan] * 6
    if len(values):
        # rounded, because interpolation may put 0.9965 a last bit below itself
        low, q1, median, q3, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).round(12).tolist()
        iqm = round(float(stats.trim_mean(values, 0.25)), 12)
    share_low, share_high = _clopper_pearson(solved, len(seeds))
    to_solve, observed = _median_epochs(seeds)
    failed = int((group["status"] == "FAILED").sum())
    return {
        "seeds": len(seeds),
        "solved": solved,
        "share": solved / len(seeds) if len(seeds) else math.nan,
        "share_low": share_low,
        "share_high": share_high,
        "min": low,
        "q1": q1,
        "iqm": iqm,
        "median": median,
        "q3": q3,
        "max": high,
        "epochs_to_solve": to_solve,
        "epochs_observed": observed,
        "diverged": int(flags(seeds["diverged"]).sum()),
        "failed": failed,
        "unfinished": len(group) - len(seeds) - failed,
    }


def _clopper_pearson(solved: int, seeds: int) -> tuple[float, float]:
    """The exact 95% interval of a share."""
    if seeds == 0:
        return math.nan, math.nan
    interval = stats.binomtest(solved, seeds).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def _median_epochs(seeds: pd.DataFrame) -> tuple[float, float]:
    """Median epochs to solve, NaN if not reached, and the last epoch observed."""
    if seeds.empty:
        return math.nan, math.nan
    solved = flags(seeds["solved"])
    limit = seeds["epochs"].to_numpy(dtype=float)
    last = seeds["epochs_trained"].to_numpy(dtype=float, na_value=math.nan)
    last = np.where(np.isfinite(last) & ~flags(seeds["diverged"]), last, limit)
    first = seeds["epochs_to_solve"].to_numpy(dtype=float, na_value=math.nan)
    times = np.where(solved & np.isfinite(first), first, last)
    sample = stats.CensoredData(uncensored=times[solved], right=times[~solved])
    survival = stats.ecdf(sample).sf
    # the tolerance: a product of ratios that is one half may be computed just above it
    reached = survival.quantiles[survival.probabilities <= 0.5 + 1e-9]
    return float(reached[0]) if len(reached) else math.nan, float(times.max())


def _value(value: Any) -> Any:
    """A setting as a hashable value that equals itself."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _varies(runs: pd.DataFrame, name: str) -> bool:
    """Whether runs differ in a setting; for what a study sets by cell, those of one cell."""
    by_cell = name in ("learning_rate", "decay_epochs")
    groups = [group for _, group in runs.groupby("cell")] if by_cell and len(runs) else [runs]
    return any(len({_value(value) for value in group.get(name, ())}) > 1 for group in groups)


def _sortable(key: Any, levels: Sequence[str] = ()) -> tuple[Any, ...]:
    """A sort key for settings of any types: cells as in `CELLS`, unset values first."""
    order = list(CELLS)
    ranks: list[Any] = []
    for place, value in enumerate(key):
        if place < len(levels) and levels[place] == "cell":
            known = value in order
            ranks.append((not known, order.index(value) if known else 0, str(value)))
        elif isinstance(value, (int, float, np.number)):
            ranks.append((1, "", float(value)))
        else:
            ranks.append(
                (0 if value is None else 2, type(value).__name__, "" if value is None else value)
            )
    return tuple(ranks)


def _index(keys: Sequence[Any], levels: Sequence[str]) -> pd.Index:
    if len(levels) == 1:
        return pd.Index([key[0] for key in keys], name=levels[0])
    # not from_tuples, which would take a setting that is a tuple apart
    columns = ([key[place] for key in keys] for place in range(len(levels)))
    arrays = [pd.Index(values, tupleize_cols=False) for values in columns]
    return pd.MultiIndex.from_arrays(arrays, names=list(levels))
