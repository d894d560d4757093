"""`Results`: what MLflow knows of some trials already."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from rnn_study.config import Trial
from rnn_study.search import Course
from rnn_study.tracking.patience import patiently
from rnn_study.tracking.reader import read_histories, read_runs
from rnn_study.tracking.store import connect, experiment_of


class Results:
    """What MLflow knows of trials that are FINISHED or that a search has stopped, read on demand.

    Waits while it is away; raises `TrackingError` where it stays away.
    It is as old as the first question: what is recorded later, the driver hears itself.
    """

    def __init__(self, uri: str, study_name: str) -> None:
        self._uri, self._study_name = uri, study_name
        self._runs: pd.DataFrame | None = None

    def __call__(self, trials: Iterable[Trial]) -> dict[str, Course]:
        """Those of `trials` that it knows, by trial id; FINISHED ones have ended."""
        if self._runs is None:
            self._runs = patiently(self._uri, _runs, self._study_name)
        asked = self._runs[self._runs["trial_id"].isin([trial.id for trial in trials])]
        found = {} if asked.empty else patiently(self._uri, read_histories, asked)
        ended = set(asked["trial_id"][asked["status"] == "FINISHED"])
        return {
            trial_id: Course(
                {str(name): column.to_numpy() for name, column in frame.items()}, trial_id in ended
            )
            for trial_id, frame in found.items()
        }


def _runs(uri: str, study_name: str) -> pd.DataFrame:
    """`read_runs`; empty where there is no such study yet."""
    client = connect(uri, write=False)
    if client is None or experiment_of(client, study_name) is None:
        return pd.DataFrame(columns=["trial_id", "run_id", "status", "stopped_at"])
    return read_runs(uri, study_name)
