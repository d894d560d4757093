"""`Results`: what MLflow knows of some trials already."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from rnn_study.config import Trial
from rnn_study.search import Course
from rnn_study.tracking.reader import read_histories, read_runs
from rnn_study.tracking.store import connect, experiment_of


class Results:
    """What MLflow knows of trials that are FINISHED or that a search has stopped, read on demand.

    It is as old as the first question: what is recorded later, the driver hears itself.
    """

    def __init__(self, uri: str, study_name: str) -> None:
        self._uri, self._study_name = uri, study_name
        self._runs: pd.DataFrame | None = None

    def __call__(self, trials: Iterable[Trial]) -> dict[str, Course]:
        """Those of `trials` that it knows, by trial id; FINISHED ones have ended."""
        if self._runs is None:
            client = connect(self._uri, write=False)
            there = client is not None and experiment_of(client, self._study_name) is not None
            empty = pd.DataFrame(columns=["trial_id", "run_id", "status", "stopped_at"])
            self._runs = read_runs(self._uri, self._study_name) if there else empty
        asked = self._runs[self._runs["trial_id"].isin([trial.id for trial in trials])]
        found = {} if asked.empty else read_histories(self._uri, asked)
        ended = set(asked["trial_id"][asked["status"] == "FINISHED"])
        return {
            trial_id: Course(
                {str(name): column.to_numpy() for name, column in frame.items()}, trial_id in ended
            )
            for trial_id, frame in found.items()
        }
