"""`Runs`: the runs of one study in a store, each found by its tag, so that none is there twice."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_study.tracking.patience import Patience
from rnn_study.tracking.points import CLOCK
from rnn_study.tracking.store import (
    FAILURE,
    STOPPED,
    STUDY,
    TRIAL,
    best,
    experiment_of,
    is_away,
    search,
)

ALIVE = ("RUNNING", "SCHEDULED")
"""Statuses of a run that has not ended."""


class Runs:
    """The experiment of a study: its runs are looked up, created, reopened and ended.

    Every call waits while the store is away (`Patience`).
    """

    def __init__(self, client: MlflowClient, patience: Patience, study_name: str) -> None:
        self._client, self._call, self._name = client, patience.call, study_name
        self._experiment = ""
        self.uncertain: dict[tuple[str, str], str] = {}
        """Tags of runs whose creation got no answer at first, and the run's id once it is known."""

    def open_experiment(self, artifacts: Path | None) -> None:
        """Makes the experiment if there is none; `artifacts`: where, unless the server chooses."""

        def look() -> str:
            experiment = experiment_of(self._client, self._name)
            if experiment is not None:
                return experiment.experiment_id
            location = None if artifacts is None else artifacts.as_uri()
            try:
                return self._client.create_experiment(self._name, location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return look()  # another driver was faster

        self._experiment = self._call(look)

    def repair(self, study_id: str, trial_ids: Iterable[str]) -> dict[str, Run]:
        """Puts in order what a crash left, and returns the runs of all trials by trial id.

        Runs that are there twice are deleted but for one; runs that still look alive become
        KILLED, but for those of `trial_ids` and of the declaration `study_id`.
        """

        def look() -> tuple[dict[str, Run], list[Run]]:
            trials, parents = defaultdict(list), []
            for run in search(self._client, self._experiment):
                if TRIAL in run.data.tags:
                    trials[run.data.tags[TRIAL]].append(run)
                elif run.data.tags.get(STUDY, study_id) != study_id:
                    parents.append(run)
            return {trial_id: self._only(runs) for trial_id, runs in trials.items()}, parents

        known, parents = self._call(look)
        mine = set(trial_ids)
        others = {trial_id: run for trial_id, run in known.items() if trial_id not in mine}
        for run in [*others.values(), *parents]:
            if run.info.status in ALIVE:
                self.end(run.info.run_id, "KILLED")
        for trial_id, run in others.items():  # a search may come to it
            if run.info.status in ALIVE:
                known[trial_id] = self.get(run.info.run_id)
        return known

    def get(self, run_id: str) -> Run:
        """A run as it is now."""
        return self._call(self._client.get_run, run_id)

    def alive(self) -> set[str]:
        """The ids of the runs that are RUNNING. Waits for nothing."""
        running = "attributes.status = 'RUNNING'"
        return {run.info.run_id for run in search(self._client, self._experiment, running)}

    def find(self, tag: str, value: str) -> Run | None:
        """The run with this tag, if there is one."""
        return self._call(self._look, tag, value)

    def create(self, tag: str, value: str, name: str, tags: Mapping[str, str]) -> Run:
        """A new run with this tag, RUNNING.

        A creation has no name that the server would know again: a second one makes a second run.
        So when the first gets no answer, the run is looked for before it is created again; and
        again at the end (`settle`), because the first may still arrive after the second.
        """
        tries = 0

        def attempt() -> Run:
            nonlocal tries
            tries += 1
            there = self._look(tag, value) if tries > 1 else None
            return there or self._client.create_run(
                self._experiment, tags={**tags, tag: value}, run_name=name
            )

        self.uncertain[tag, value] = ""
        run = self._call(attempt)
        if tries > 1:
            self.uncertain[tag, value] = run.info.run_id
        else:
            del self.uncertain[tag, value]
        return run

    def reopen(self, run: Run, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Makes a run RUNNING, with these params and tags; sends only what is not there yet."""
        past = {tag: "" for tag in (FAILURE, STOPPED) if run.data.tags.get(tag)}
        wanted = {**tags, **past}
        new = {
            "params": [Param(k, _text(v)) for k, v in params.items() if k not in run.data.params],
            "tags": [RunTag(k, v) for k, v in wanted.items() if run.data.tags.get(k) != v],
        }
        if any(new.values()):
            self._call(self._client.log_batch, run.info.run_id, **new)
        if run.info.status != "RUNNING":
            self._call(self._client.update_run, run.info.run_id, status="RUNNING")

    def epochs(self, run: Run) -> set[int]:
        """The epochs that are stored of a run."""
        if CLOCK not in run.data.metrics:
            return set()
        stored = self._call(self._client.get_metric_history, run.info.run_id, CLOCK)
        return {metric.step for metric in stored}

    def log_json(self, run_id: str, value: Mapping[str, Any], name: str) -> None:
        """Stores `value` as an artifact of a run."""
        self._call(self._client.log_dict, run_id, dict(value), name)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""
        self._call(self._client.log_batch, run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_files(self, run_id: str, files: Iterable[Path], folder: str) -> None:
        """Stores files as artifacts of a run."""
        for path in files:
            self._call(self._client.log_artifact, run_id, str(path), folder)

    def end(self, run_id: str, status: str) -> None:
        """Ends a run."""
        self._call(self._client.set_terminated, run_id, status)

    def settle(self) -> None:
        """Deletes what lost answers have made twice."""
        for (tag, value), run_id in self.uncertain.items():
            self._call(self._look, tag, value, run_id)

    def kill(self, run_id: str) -> None:
        """Ends a run as KILLED, unless somebody has deleted it. Waits for nothing."""
        try:
            self._client.set_terminated(run_id, "KILLED")
        except MlflowException as error:
            if is_away(error):
                raise

    def kill_uncertain(self) -> None:
        """Ends the runs that are being created as KILLED, and waits for nothing."""
        for tag, value in [*self.uncertain]:
            run = self._look(tag, value)
            if run is not None and run.info.status in ALIVE:
                self.kill(run.info.run_id)

    def _look(self, tag: str, value: str, mine: str = "") -> Run | None:
        runs = list(search(self._client, self._experiment, f"tags.`{tag}` = '{value}'"))
        return self._only(runs, mine) if runs else None

    def _only(self, runs: list[Run], mine: str = "") -> Run:
        """The one of `runs` that counts: `mine`, or else the best. The others are deleted."""
        keep = next((run for run in runs if run.info.run_id == mine), None) or best(runs)
        for run in runs:
            if run is not keep:
                self._client.delete_run(run.info.run_id)
        return keep


def _text(value: object) -> str:
    """A value as a param that `reader` reads back exactly: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
