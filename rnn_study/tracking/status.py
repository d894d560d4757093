"""`read_status`: how far a study is, asked from outside while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from mlflow.entities import Run

from rnn_study.errors import InvalidInput
from rnn_study.tracking.environment import settings
from rnn_study.tracking.points import CLOCK
from rnn_study.tracking.reader import RETRIES, read_runs
from rnn_study.tracking.store import (
    DEVICE,
    NODE,
    STUDY,
    TRIAL,
    connect,
    experiment_of,
    search,
    shown,
)


@dataclass(frozen=True)
class Status:
    """A study as MLflow knows it."""

    runs: pd.DataFrame
    """`read_runs`, with `epoch` (the last that MLflow has, or NaN), `node` and `device` (or "")."""
    running: bool
    """Whether a driver says that it runs it; one that was killed has not said that it ended."""
    heard: float | None
    """When MLflow last heard of it: seconds since 1970, by the driver's clock."""
    host: str
    """Where its last driver ran."""


def read_status(uri: str, study_name: str) -> Status | None:
    """How far a study is; None where MLflow knows no study of this name. Creates nothing."""
    client = connect(uri, write=False)
    if client is None:
        return None
    with settings(retries=RETRIES):
        experiment = experiment_of(client, study_name)
        if experiment is None:
            return None
        found = list(search(client, experiment.experiment_id))
    children = {run.info.run_id: run for run in found if TRIAL in run.data.tags}
    parents = [run for run in found if STUDY in run.data.tags]
    if not parents:
        raise InvalidInput("name", study_name, f"{shown(uri)} has no study in this experiment")
    runs = read_runs(uri, study_name)
    mine = [children.get(run_id) for run_id in runs["run_id"]]
    runs["epoch"] = [_epoch(run) if run else float("nan") for run in mine]
    for column, tag in (("node", NODE), ("device", DEVICE)):
        runs[column] = [run.data.tags.get(tag, "") if run else "" for run in mine]
    latest = max(parents, key=lambda run: (run.info.status == "RUNNING", run.info.start_time))
    heard = max((time for run in found for time in _times(run)), default=0)
    return Status(
        runs,
        latest.info.status == "RUNNING",
        heard / 1000 if heard else None,
        latest.data.tags.get("environment.host", ""),
    )


def _epoch(run: Run) -> float:
    return next((float(m.step) for m in run.data._metric_objs if m.key == CLOCK), float("nan"))


def _times(run: Run) -> list[int]:
    """Milliseconds since 1970 at which something was written."""
    metrics = [metric.timestamp for metric in run.data._metric_objs]
    return [*metrics, run.info.start_time, *([run.info.end_time] if run.info.end_time else [])]
