"""Runs and histories read back from MLflow, as data frames."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient

from rnn_study.config import Study, Training, Trial
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS
from rnn_study.tracking.environment import settings
from rnn_study.tracking.patience import logger
from rnn_study.tracking.store import (
    ALBUM,
    BIFURCATIONS,
    FAILURE,
    GRID,
    HISTORY,
    PURPOSE,
    STOPPED,
    SUMMARY,
    TRIAL,
    best,
    connect,
    experiment_of,
    finished,
    search,
    shown,
)
from rnn_study.training import Album

RETRIES = 3
"""How often MLflow asks a server again that does not answer."""
DOWNLOADS = 8
"""Histories that are fetched from a server at once."""
IDS = 100
"""Run ids in one search."""

_INHERITED = {field.name for field in fields(Training)}
_FIELDS = sorted(fields(Trial), key=lambda field: field.name in _INHERITED)  # its own come first
_TYPES = get_type_hints(Trial)


def _dtype(name: str) -> Any:
    """The column type of a field of `Trial`."""
    kind = _TYPES[name]
    if get_origin(kind) is tuple:
        return "object"
    return {int: "int64", float: "float64", bool: "bool"}.get(kind, "str")


def _columns(tasks: Collection[str]) -> dict[str, Any]:
    """The columns of a frame of runs of these tasks, and their types; of all tasks, if of none."""
    metrics = [name for task in TASKS if task in tasks or not tasks for name in _metrics(task)]
    return (
        {"trial_id": "str", "run_id": "str", "status": "str"}
        | {field.name: _dtype(field.name) for field in _FIELDS}
        | dict.fromkeys((*metrics, SUMMARY, "epochs_to_solve"), "float64")
        | {"solved": "bool", "diverged": "bool", "train_seconds": "float64", "failure": "object"}
        | {"purpose": "str", "stopped_at": "float64"}
    )


def _metrics(task: str) -> tuple[str, ...]:
    return TASKS[task].metric.columns


def read_runs(uri: str, study_name: str) -> pd.DataFrame:
    """The runs of a study's trials, one row a trial, by cell, length, learning rate and seed.

    Columns: `trial_id`, `run_id`, `status` (MLflow's), every field of `Trial`, and what a finished
    trial's summary holds: `val_accuracy`, `best_val_accuracy` (after the metric of its task),
    `epochs_trained`, `epochs_to_solve`, `solved`, `diverged`, `train_seconds` (NaN or False where
    there is none), `failure` (the reason, or None), `purpose` (`grid`, `search` or `confirmation`),
    `stopped_at` (the epoch after which a search gave it up, or NaN). Raises `InvalidInput`.
    """
    client = _open(uri)
    with settings(retries=RETRIES):
        experiment = experiment_of(client, study_name)
        if experiment is None:
            names = [each.name for each in client.search_experiments() if each.name != "Default"]
            known = ", ".join(sorted(names)) or "none"
            raise InvalidInput("study", study_name, f"known studies: {known}")
        trials = defaultdict(list)
        for run in search(client, experiment.experiment_id):
            if TRIAL in run.data.tags:
                trials[run.data.tags[TRIAL]].append(run)
    rows = [row for runs in trials.values() if (row := _row(best(runs))) is not None]
    kinds = _columns({row["task"] for row in rows})
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in kinds.items()
    }
    frame = pd.DataFrame(columns)
    order = ["cell", "length", "learning_rate", "seed", "data_seed", "trial_id"]
    return frame.sort_values(order, ignore_index=True)


def read_histories(uri: str, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The whole histories of those of `runs` (rows of `read_runs`) that are FINISHED, by trial id,
    and what there is of those that a search has stopped.

    A history has the columns `epoch`, the metrics and `seconds`, one row an epoch. A finished run
    without one, whose artifact somebody has deleted, is left out with a warning.
    """
    chosen = runs[(runs["status"] == "FINISHED") | runs["stopped_at"].notna()]
    return _tables(uri, chosen, HISTORY, pd.read_parquet)


def read_bifurcations(uri: str, runs: pd.DataFrame) -> pd.DataFrame:
    """The bifurcations that finished runs passed, as `reporting.albums.COLUMNS` has them.

    With `trial_id`, for those of `runs` (rows of `read_runs`) whose attractors were watched.
    """
    watched = runs[(runs["status"] == "FINISHED") & (runs["dynamics_every"] > 0)]
    tables = _tables(uri, watched, BIFURCATIONS, pd.read_csv)
    rows = [table.assign(trial_id=trial_id) for trial_id, table in tables.items() if len(table)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["trial_id"])


def _tables(
    uri: str, runs: pd.DataFrame, name: str, parse: Callable[[Path], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """An artifact of each run that has it, by trial id."""
    trials = dict(zip(runs["run_id"], runs["trial_id"], strict=True))
    client = _open(uri)

    def read(run: Run, folder: Path) -> pd.DataFrame | None:
        path = _fetched(uri, run, name, folder)
        return None if path is None else parse(path)

    with settings(retries=RETRIES), tempfile.TemporaryDirectory() as folder:
        found = _runs_of(client, list(trials))
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            frames = pool.map(lambda run: (run.info.run_id, read(run, Path(folder))), found)
            by_run = {run_id: frame for run_id, frame in frames if frame is not None}
    return {trial_id: by_run[run_id] for run_id, trial_id in trials.items() if run_id in by_run}


def read_album(uri: str, run_id: str) -> Album | None:
    """The attractors of a finished run, epoch by epoch; None where they were not watched."""
    client = _open(uri)
    with settings(retries=RETRIES), tempfile.TemporaryDirectory() as folder:
        run = client.get_run(run_id)
        if run.data.params.get("dynamics_every", "0") == "0":
            return None
        path = _fetched(uri, run, ALBUM, Path(folder))
        return None if path is None else Album.load(path)


def experiment_page(uri: str, study_name: str) -> str:
    """Where a study's runs are in the UI, below its address.

    (MLflow 3's own links open a page on traces, which a study has none of; and its own view of
    runs has no column for what they found, unlike that of `description.view`.)
    """
    experiment = experiment_of(_open(uri), study_name)
    if experiment is None:
        raise InvalidInput("study", study_name, "use the name of a study that has run")
    view = "workflowType=machine_learning&viewStateShareKey=study"
    return f"#/experiments/{experiment.experiment_id}/runs?{view}"


def finished_trials(uri: str, study: Study) -> set[str]:
    """The ids of the trials of a study's experiment whose run is FINISHED. Creates nothing."""
    client = connect(uri, write=False)
    if client is None:
        return set()
    with settings(retries=RETRIES):
        return finished(client, study.name)


def _fetched(uri: str, run: Run, name: str, folder: Path) -> Path | None:
    """An artifact of a run as a file, in `folder` if it has to be fetched; None if missing."""
    repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
    target = folder / run.info.run_id
    try:
        if isinstance(repository, LocalArtifactRepository):
            path = Path(repository.download_artifacts(name))
            path.stat()
            return path
        target.mkdir(exist_ok=True)
        return Path(repository.download_artifacts(name, str(target)))
    except (MlflowException, OSError):
        # what a server answered to a download, MLflow does not tell
        if name in {each.path for each in repository.list_artifacts()}:
            raise
        logger.warning("run %s has no %s in MLflow", run.info.run_id, name)
        return None


def _open(uri: str) -> MlflowClient:
    client = connect(uri, write=False)
    if client is None:
        raise InvalidInput("tracking_uri", shown(uri), "no study has made this file yet")
    return client


def _row(run: Run) -> dict[str, Any] | None:
    """A run as a row; None if its driver died before it wrote what trial it is."""
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    missing = {field.name for field in _FIELDS if field.name not in params}
    if any(field.name in missing and field.default is MISSING for field in _FIELDS):
        return None
    row = {f.name: f.default if f.name in missing else _value(f.name, params) for f in _FIELDS}
    if SUMMARY not in metrics:
        metrics = {}  # only epochs so far: no result
    row |= {name: metrics.get(name) for name in _columns([params["task"]]) if name not in row}
    row |= {name: metrics.get(name, 0.0) == 1.0 for name in ("solved", "diverged")}
    return row | {
        "trial_id": tags[TRIAL],
        "run_id": run.info.run_id,
        "status": run.info.status,
        "failure": tags.get(FAILURE) or None,
        "purpose": tags.get(PURPOSE, GRID),
        "stopped_at": float(tags[STOPPED]) if tags.get(STOPPED) else None,
    }


def _value(name: str, params: Mapping[str, str]) -> Any:
    """A param in the type that `Trial` has it in."""
    kind, text = _TYPES[name], params[name]
    if kind is int or kind is float:
        return kind(text)
    if kind is bool:
        return bool(json.loads(text))
    return tuple(json.loads(text)) if get_origin(kind) is tuple else text


def _runs_of(client: MlflowClient, run_ids: list[str]) -> Iterator[Run]:
    """The runs with these ids, of one experiment."""
    if not run_ids:
        return
    experiment_id = client.get_run(run_ids[0]).info.experiment_id
    for first in range(0, len(run_ids), IDS):
        quoted = ", ".join(f"'{run_id}'" for run_id in run_ids[first : first + IDS])
        yield from search(client, experiment_id, f"attributes.run_id IN ({quoted})")
