"""The conditions among runs: which runs belong together, and in what order tables have them.

- Only FINISHED runs count as seeds.
- Runs that differ in anything but seed and data are never put together: a setting that varies
  gives rows of its own.
- The runs are of one task, and no trial is among them twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import pandas as pd

from rnn_study.cells import CELLS
from rnn_study.config import Trial
from rnn_study.errors import require, require_member
from rnn_study.statistics import Times
from rnn_study.tasks import TASKS, Metric

CONDITION: Final = ("cell", "length", "learning_rate")
"""What always tells two conditions apart."""

SETTINGS: Final = tuple(
    field.name for field in fields(Trial) if field.name not in (*CONDITION, "seed")
)
"""What tells two conditions apart only where it varies."""


def check(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs`, if they can be put into one table; InvalidInput otherwise.

    That needs the columns of `tracking.read_runs`, runs of one task, and every trial once: two
    studies, or two versions of the software, that trained one trial would count its seed twice.
    """
    if runs.empty:
        return runs
    names = [field.name for field in fields(Trial)]
    needed = [*names, "status", "solved", "diverged", "epochs_trained", "epochs_to_solve"]
    missing = [name for name in needed if name not in runs]
    require(not missing, "runs", f"no column {', '.join(missing)}", "use those of aggregate.runs")
    metric = metric_of(runs)
    require(metric.column in runs, "runs", f"no column {metric.column}", "use those of one task")
    seen: set[tuple[Any, ...]] = set()
    for row in runs[names].to_numpy(object):
        trial = tuple(map(_value, row))
        if trial in seen:
            at = dict(zip(names, trial, strict=True))
            twice = f"{at['cell']}, length {at['length']}, seed {at['seed']}"
            require(False, "runs", f"{twice} twice", "use each trial once, of one study")
        seen.add(trial)
    return runs


def metric_of(runs: pd.DataFrame) -> Metric:
    """The metric of the task that `runs` are of; without any run, of the first with its column."""
    of_columns = [task for task, known in TASKS.items() if known.metric.column in runs.columns]
    tasks = sorted(set(runs["task"])) if len(runs) else (of_columns or [*TASKS])[:1]
    require(len(tasks) == 1, "runs", tasks, "choose the runs of one task")
    require_member("task", tasks[0], TASKS)
    return TASKS[tasks[0]].metric


def column_of(runs: pd.DataFrame, metric: str | None) -> str:
    """The column that `metric` names: `accuracy` is `val_accuracy`, and so is None."""
    known = metric_of(runs)
    column = known.column if metric in (None, known.name) else metric
    require_member("metric", column, known.columns)
    return str(column)


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
    for key in sorted(places, key=lambda key: sortable(key, levels)):
        yield key, runs.iloc[places[key]]


def distinguishing(runs: pd.DataFrame) -> list[str]:
    """What tells apart two runs of one cell and length, if anything: the rate, and `varying`.

    Learning rates that differ between cells or lengths only, as a search finds them, tell no two
    of them apart.
    """
    return ["learning_rate"] * _varies(runs, "learning_rate") + varying(runs)


def varying(runs: pd.DataFrame) -> list[str]:
    """The settings beyond cell, length and learning rate in which `runs` differ.

    The data's seed is none where the data are the same for all, nor where every run draws its
    data from its own seed. Nor are decay epochs and rates that differ between cells only.
    """
    names = [name for name in SETTINGS if _varies(runs, name)]
    if "data_seed" in names and bool((runs["data_seed"] == runs["seed"]).all()):
        names.remove("data_seed")
    return names


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that count as seeds."""
    return runs[runs["status"] == "FINISHED"] if len(runs) else runs


def one(runs: pd.DataFrame, **settings: Any) -> pd.Series:
    """The one finished run with these values in these columns.

    Raises InvalidInput where there is none, with the values that there are; and where there are
    several, with what tells them apart.
    """
    found, described = finished(runs), ""
    for name, value in settings.items():
        require_member("column", name, [*map(str, runs.columns)])
        there = f"the finished runs{described} have {_listed(found, name)}"
        found = found[found[name] == value]
        require(len(found) > 0, name, value, there)
        described = f"{described or ' of'} {name} {value}"
    require(len(found) > 0, "runs", 0, "no run has finished")
    own = [name for name in ("cell", "length", "seed") if _varies(found, name)]
    apart = [*own, *distinguishing(found), "trial_id"]
    choices = "; ".join(f"{name} {_listed(found, name)}" for name in apart)
    allowed = f"finished runs{described} differ: choose by {choices}"
    require(len(found) == 1, "runs", len(found), allowed)
    return found.iloc[0]


def _listed(runs: pd.DataFrame, name: str) -> str:
    """The values of a column, each once."""
    values = {_value(value) for value in runs[name]}
    return ", ".join(str(value) for value in sorted(values, key=lambda v: sortable((v,)))) or "none"


def trial_of(row: pd.Series) -> Trial:
    """The trial of a row of `tracking.read_runs`."""
    found = {name: row[name] for name in Trial.__dataclass_fields__}
    values: dict[str, Any] = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in found.items()
    }
    return Trial(**values)


def flags(column: pd.Series) -> np.ndarray:
    """A yes-or-no column as booleans, where missing means no."""
    return column.to_numpy(dtype=float, na_value=0.0) == 1


def values(seeds: pd.DataFrame, column: str) -> np.ndarray:
    """A metric of finished runs in ascending order; without what is not finite.

    Ascending: sums must not depend on the order of rows.
    """
    found = np.sort(seeds[column].to_numpy(dtype=float, na_value=math.nan))
    return found[np.isfinite(found)]


def times(seeds: pd.DataFrame) -> Times:
    """When finished runs solved their task.

    An unsolved seed is censored at its last epoch. A diverged one will never solve, so it is
    censored at the limit of epochs: censored where it diverged, it would count as a seed that might
    have solved like the rest.
    """
    if seeds.empty:
        return Times(np.zeros(0), np.zeros(0, dtype=bool))
    solved = flags(seeds["solved"])
    limit = seeds["epochs"].to_numpy(dtype=float)
    last = seeds["epochs_trained"].to_numpy(dtype=float, na_value=math.nan)
    last = np.where(np.isfinite(last) & ~flags(seeds["diverged"]), last, limit)
    first = seeds["epochs_to_solve"].to_numpy(dtype=float, na_value=math.nan)
    return Times(np.where(solved & np.isfinite(first), first, last), solved)


def _value(value: Any) -> Any:
    """A setting as a hashable value that equals itself."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _varies(runs: pd.DataFrame, name: str) -> bool:
    """Whether runs differ in a setting; for what a study sets by cell, those of one cell.

    Of learning rates, which a search finds for each cell and length, those of one cell and length.
    """
    of_cell = {name: ["cell"] for name in ("decay_epochs", "orthogonal_rate")}
    by = {"learning_rate": ["cell", "length"], **of_cell}.get(name)
    groups = [group for _, group in runs.groupby(by)] if by and len(runs) else [runs]
    return any(len({_value(value) for value in group.get(name, ())}) > 1 for group in groups)


def sortable(key: Any, levels: Sequence[str] = ()) -> tuple[Any, ...]:
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


def start(rng: np.random.Generator | None) -> int:
    """A seed for the generator that each row of a table starts with; without `rng`, always one.

    Each row its own: a condition's interval must not depend on which others are there.
    """
    return 0 if rng is None else int(rng.integers(2**63))


def index(keys: Sequence[Any], levels: Sequence[str]) -> pd.Index:
    """The index of a table, a level a setting."""
    if len(levels) == 1:
        return pd.Index([key[0] for key in keys], name=levels[0])
    # not from_tuples, which would take a setting that is a tuple apart
    columns = ([key[place] for key in keys] for place in range(len(levels)))
    arrays = [pd.Index(values, tupleize_cols=False) for values in columns]
    return pd.MultiIndex.from_arrays(arrays, names=list(levels))
