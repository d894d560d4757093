"""`Tracker`: the one hand that writes a study's runs to MLflow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID

from rnn_study.config import Study, Trial
from rnn_study.tracking.child import Child
from rnn_study.tracking.environment import settings
from rnn_study.tracking.patience import PATIENCE_SECONDS, Patience, logger
from rnn_study.tracking.points import History, final_point, points
from rnn_study.tracking.runs import ALIVE, Runs
from rnn_study.tracking.signs import DRIVER, STORAGE, Signs, outlive, sign
from rnn_study.tracking.store import (
    CHECK_SECONDS,
    DEVICE,
    FAILURE,
    GRID,
    NODE,
    PURPOSE,
    SEARCH,
    STOPPED,
    STUDY,
    SUMMARY,
    TRIAL,
    any_open,
    connect,
    create_database,
    experiment_of,
    finished,
)
from rnn_study.tracking.writer import Attach, Writer

INTERRUPT_SECONDS = 2.0
"""How long `interrupt` tries to mark runs KILLED."""
LONGEST_REASON = 5000
"""Characters of a failure's reason that are kept; MLflow takes 8000."""


class Tracker:
    """Writes the runs of one study: `open`, then `start`, `log`, `finish`, `fail`, then `close`.

    One process uses it, the driver, from one thread. `log`, `finish` and `fail` queue; a
    background thread writes, and waits while the store is away. What it could not write in the
    end, the next call raises as `TrackingError`.

    A trial has one run in the experiment, whatever happens: it is found by its tag, and goes on
    after a crash. A finished run is never touched again.
    """

    def __init__(
        self,
        uri: str,
        study: Study,
        artifacts: Path,
        *,
        place: str = "",
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Checks that the store at `uri` can be used, and creates nothing.

        `artifacts`: folder for the artifacts of an SQLite store; a server has its own. `place`: the
        study's storage, under a name that no other has. `patience`: seconds that the store may be
        away. Raises `InvalidInput`.
        """
        self._uri, self._study, self._artifacts = uri, study, Path(artifacts).absolute()
        self._client = connect(uri, write=True)
        if self._client is not None:
            with settings(timeout=CHECK_SECONDS):
                experiment_of(self._client, study.name)  # refuses what may not be seen
        self._place = place
        self._patience = Patience(uri, patience)
        self._settings = ExitStack()
        self._opened: tuple[Runs, Writer] | None = None
        self._signs: Signs | None = None
        self._parent = ""
        self._inherited: dict[str, str] = {}  # tags of every child
        self._trials: dict[str, Trial] = {}
        self._known: dict[str, Run] = {}
        self._children: dict[str, Child] = {}
        self._killed = False

    def fence(self, holds: Callable[[float], bool]) -> None:
        """Write only while `holds` is true, which it is given so many seconds to make sure of."""
        self._patience.holds = holds

    def require_alone(self) -> None:
        """InvalidInput where a driver with another storage runs the study; waits a while for those
        that have not said that they ended. Creates nothing."""
        if self._client is not None:
            with settings():
                outlive(self._client, self._patience, self._study.name, self._place)

    @property
    def seconds(self) -> float:
        """Time spent on writing: in calls that the store answered, and on making artifacts."""
        return self._patience.busy

    @property
    def cpu_seconds(self) -> float:
        """Of `seconds`, what took processor time from training; the rest is waiting."""
        return self._patience.cpu

    def finished(self, purpose: str = "") -> set[str]:
        """The ids of the trials whose run is FINISHED; of one purpose, if any. Creates nothing."""
        if self._client is None:
            return set()
        with settings():
            return self._patience.call(finished, self._client, self._study.name, purpose)

    def left_open(self) -> bool:
        """Whether a run of the study has not ended: its driver is dead, where this one is alone;
        or its own was interrupted. Creates nothing."""
        if self._client is None:
            return False
        with settings():
            return self._patience.call(any_open, self._client, self._study.name, self._study.id)

    def open(self, trials: Sequence[Trial], environment: Mapping[str, str]) -> None:
        """Makes or reopens the experiment and the parent run, and repairs what a crash left.

        `environment` becomes tags of the parent; `git_commit` in it is every run's source version.
        Runs that a dead driver left RUNNING become KILLED, but for those of `trials`.
        """
        self._settings.enter_context(settings())
        embedded = self._uri.startswith("sqlite:")
        self._client = self._client or create_database(self._uri, self._artifacts)
        runs = Runs(self._client, self._patience, self._study.name)
        runs.open_experiment(self._artifacts if embedded else None)
        writer = Writer(self._client, self._patience)
        self._opened = runs, writer
        self._trials = {trial.id: trial for trial in trials}
        self._known = runs.repair(self._study.id, self._trials)
        for trial_id in self._trials.keys() & self._known.keys():
            if self._known[trial_id].info.status in ALIVE:
                writer.begin(self._known[trial_id].info.run_id)
        tags = {f"environment.{key}": text for key, text in environment.items()}
        if "git_commit" in environment:
            self._inherited[MLFLOW_GIT_COMMIT] = environment["git_commit"]
        tags |= {**self._inherited, STORAGE: self._place, DRIVER: sign(0)}
        parent = runs.find(STUDY, self._study.id)
        parent = parent or runs.create(STUDY, self._study.id, self._study.name, tags)
        self._parent = self._inherited[MLFLOW_PARENT_RUN_ID] = parent.info.run_id
        declaration = self._study.declaration()
        runs.reopen(parent, declaration, tags)
        runs.log_json(self._parent, declaration, "study.json")
        self._signs = Signs(self._client, self._patience, self._parent, self._place)

    def start(self, trials: Sequence[Trial], purpose: str = GRID) -> None:
        """Creates or reopens one run per trial, RUNNING when this returns.

        A trial that has ended, under this tracker or FINISHED before, is left alone.
        """
        runs, writer = self._check()
        tags = {**self._inherited, PURPOSE: purpose}
        for trial in trials:
            if trial.id in self._children:
                continue
            name = f"{trial.condition}, seed {trial.seed}"
            known = self._known.get(trial.id)
            # as it is now: a finished run is never touched, whoever has finished it
            run = runs.get(known.info.run_id) if known else None
            run = run or runs.create(TRIAL, trial.id, name, tags)
            child = Child(run.info.run_id, trial, ended=run.info.status == "FINISHED")
            if not child.ended:
                writer.begin(child.run_id)
                runs.reopen(run, asdict(trial), tags)
                child.logged = runs.epochs(run)
                child.summarised = SUMMARY in run.data.metrics
            else:
                writer.unfinished.pop(child.run_id, None)
            self._children[trial.id] = child

    def log(self, histories: Mapping[str, History]) -> None:
        """Queues epochs of running trials, by trial id; those that are stored are left out."""
        _, writer = self._check()
        for trial_id, history in histories.items():
            child = self._children[trial_id]
            if not child.ended:
                made = points(history, child.trial.epochs, child.logged)
                child.logged |= made.keys()
                writer.add(child.run_id, made.values())

    def place(self, trial_ids: Iterable[str], node: str, device: str) -> None:
        """Queues where running trials train now."""
        _, writer = self._check()
        for child in (self._children[trial_id] for trial_id in trial_ids):
            if not child.ended and child.place != (node, device):
                child.place = (node, device)
                writer.tag(child.run_id, [RunTag(NODE, node), RunTag(DEVICE, device)])

    def finish(
        self,
        trial_id: str,
        history: History,
        summary: Mapping[str, float],
        attach: Attach | None = None,
    ) -> None:
        """Queues a trial's end: its whole history, its final metrics, FINISHED.

        `attach` writes more artifacts into a folder; in the background, when their turn comes.
        """
        (_, writer), child = self._check(), self._children[trial_id]
        if child.ended:
            return
        # With what an earlier driver trained, but did not store before it was killed.
        made = list(points(history, child.trial.epochs, child.logged, ended=True).values())
        if not child.summarised:
            made.append(final_point(history, summary))
        writer.end(child.run_id, "FINISHED", made, history, attach=attach)
        child.ended = True

    def stop(self, trial_id: str, history: History) -> None:
        """Queues the end of a trial that a search has given up: its history so far, KILLED."""
        (_, writer), child = self._check(), self._children[trial_id]
        if child.ended:
            return
        made = points(history, child.trial.epochs, child.logged, ended=True).values()
        tag = RunTag(STOPPED, str(len(history["epoch"])))
        writer.end(child.run_id, "KILLED", made, history, [tag])
        child.ended = True

    def claim(self, trials: Iterable[Trial]) -> None:
        """Trials that a search has trained to their end count in tables, if a study asks for them
        by their rate."""
        runs, _ = self._check()
        for run in (self._known[trial.id] for trial in trials if trial.id in self._known):
            if run.data.tags.get(PURPOSE) == SEARCH and run.info.status == "FINISHED":
                runs.tag(run.info.run_id, {PURPOSE: GRID})

    def log_files(self, files: Iterable[Path], folder: str) -> None:
        """Stores files as artifacts of the parent run."""
        runs, _ = self._check()
        runs.log_files(self._parent, files, folder)

    def fail(self, trial_ids: Sequence[str], reason: str) -> None:
        """Queues the failure of trials: FAILED, with the reason as a tag."""
        _, writer = self._check()
        self.start([self._trials[i] for i in trial_ids if i not in self._children])
        for child in (self._children[trial_id] for trial_id in trial_ids):
            if not child.ended:
                tag = RunTag(FAILURE, reason[:LONGEST_REASON] or "no reason given")
                writer.end(child.run_id, "FAILED", tags=[tag])
                child.ended = True

    def interrupt(self) -> None:
        """Stops writing at once and marks every unfinished run KILLED, the parent last.

        Takes some two seconds at most: what does not fit in there, the next run repairs.
        """
        if self._patience.stopped:
            return
        self._patience.stop()
        mine = not self._patience.lost and self._patience.holds(0.0)  # else the runs are another's
        if self._opened is not None and mine:
            killer = threading.Thread(target=self._kill, name="interrupt", daemon=True)
            killer.start()  # in a thread, because a call of MLflow's cannot be given up
            killer.join(INTERRUPT_SECONDS)
            if not self._killed:
                logger.warning("some runs stay RUNNING in MLflow until the study runs again")
        self._settings.close()

    def close(self, failed: bool = False) -> None:
        """Writes what is queued and ends the parent run: FINISHED, or FAILED if the study `failed`.

        Runs that were started and have not ended become KILLED.
        """
        if self._opened is None or self._patience.stopped:
            self._settings.close()
            return
        runs, writer = self._opened
        try:
            writer.drain()
            runs.settle()
            for run_id in [*writer.unfinished]:
                runs.end(run_id, "KILLED")
            if self._signs is not None:
                self._signs.stop()
            runs.end(self._parent, "FAILED" if failed else "FINISHED")
        except BaseException:  # a signal's too
            self.interrupt()
            raise
        self._patience.stop()
        self._settings.close()

    def _kill(self) -> None:
        assert self._opened is not None
        runs, writer = self._opened
        try:
            alive = runs.alive()
            for run_id in [*writer.unfinished]:
                if run_id in alive:
                    runs.kill(run_id)
                writer.unfinished.pop(run_id, None)
            runs.kill_uncertain()
            if self._parent:
                runs.kill(self._parent)
        except (MlflowException, OSError):
            return  # the store is away, and there is no time to wait for it
        self._killed = True

    def _check(self) -> tuple[Runs, Writer]:
        """What writes; raises what the background thread has met."""
        if self._opened is None:
            raise RuntimeError("open the tracker first")
        self._opened[1].check()
        self._patience.require()
        return self._opened
