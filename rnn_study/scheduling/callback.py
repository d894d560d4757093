"""`Listener`: hears of packs from Ray Tune and tells the tracker and the observer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from rnn_study.config import Pack, Trial
from rnn_study.errors import Away
from rnn_study.progress import Observer
from rnn_study.reporting import albums
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.interruption import Interrupted, Signals
from rnn_study.search import Course
from rnn_study.tasks import TASKS
from rnn_study.tracking import Tracker
from rnn_study.training import Checkpoint, Checkpoints, summary
from rnn_study.worker import Message

LOOK_SECONDS = 5.0
"""Between two looks at whether Ray is still there."""


class Listener(tune.Callback):
    """Lives in the driver, the only place that writes to MLflow."""

    def __init__(
        self,
        tracker: Tracker,
        observer: Observer,
        checkpoints: Checkpoints,
        signals: Signals,
        agenda: Agenda,
    ) -> None:
        self.failures: dict[str, str] = {}
        """Why trials failed, by trial id."""
        self._tracker = tracker
        self._observer = observer
        self._checkpoints = checkpoints
        self._signals = signals
        self._agenda = agenda
        self._open: dict[str, dict[str, Trial]] = {}
        """Unfinished trials by id, of each Tune trial that has started."""
        self._looked = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks to restore them, which is never asked of it here."""
        return {}

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Stops for a signal, and for a dead cluster, for which Tune would wait for ever."""
        self._signals.check()
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if not any(node["Alive"] for node in ray.nodes()):
            raise Interrupted("Ray has died: none of its nodes is alive.", 1)

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Before a pack trains, at its first start and after each crash."""
        pack = _pack(trial)
        if trial.trial_id not in self._open:
            self._open[trial.trial_id] = {member.id: member for member in pack.trials}
            with self._reaching():
                self._tracker.start(pack.trials, trial.config["purpose"])
            self._observer.started(pack)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: Mapping[str, Any],
        **info: Any,
    ) -> None:
        message: Message = result["message"]
        with self._reaching():
            self._tracker.place(message.histories, message.node, message.device)
            self._tracker.log(message.histories)
        self._observer.epochs(_pack(trial), message.histories)
        for trial_id in message.finished:
            member = self._open[trial.trial_id].pop(trial_id, None)
            if member is not None:
                self.finish(member, may_stop=bool(trial.config["rule"]))

    def finish(self, trial: Trial, may_stop: bool = False) -> None:
        """Records a trial that finished, or that was stopped if it `may`; from its checkpoint."""
        with self._reaching():
            state = self._checkpoints.load(trial)
        if state is None or not (state.finished or may_stop):
            raise RuntimeError(
                f"trial {trial.id} has ended, but {self._checkpoints.of(trial)} does not "
                "say so; every node must see the storage"
            )
        with self._reaching():
            if state.finished:
                numbers = summary(state.history, state.status, TASKS[trial.task].metric)
                self._tracker.finish(trial.id, state.history, numbers, self._album(trial, state))
            else:
                numbers = {"epochs_trained": float(state.epoch), "stopped": 1.0}
                self._tracker.stop(trial.id, state.history)
        self._observer.finished(trial, numbers)
        with self._reaching():  # the histories of earlier trials
            due, earlier = self._agenda.learn(trial.id, Course(state.history, state.finished))
        if due or earlier:
            self._observer.more(due, earlier)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Around what needs MLflow or the storage, which may be away: a signal ends the wait."""
        with self._signals.at_once(), stop_when_away():
            yield

    def _album(self, trial: Trial, state: Checkpoint) -> Callable[[Path], None] | None:
        """What writes the portraits of a trial's attractors into a folder, if it has any."""
        if not trial.dynamics_every:
            return None
        return partial(albums.write, trial, self._checkpoints.portraits(trial), state.epoch)

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        for member in self._open.pop(trial.trial_id).values():
            # ended before a crash whose message was lost
            self.finish(member, may_stop=bool(trial.config["rule"]))
        self._agenda.ended()
        self._observer.ended(_pack(trial))

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """After the last retry. What ended before the crash has not failed."""
        if trial.trial_id not in self._open:  # its process was killed before it could start
            self.on_trial_start(iteration, trials, trial)
        reason = reason_of(Path(trial.error_file).read_text())
        members = []
        for member in self._open.pop(trial.trial_id).values():
            with self._reaching():
                state = self._checkpoints.load(member)
            if state is not None and state.finished:
                self.finish(member)
            else:
                members.append(member)
        self.failures |= {member.id: reason for member in members}
        with self._reaching():
            self._tracker.fail([member.id for member in members], reason)
        self._observer.failed(members, reason)
        self._agenda.ended()
        self._observer.ended(_pack(trial))


@contextmanager
def stop_when_away() -> Iterator[None]:
    """Ends the study when MLflow or a bucket is gone for good; Tune would end with a traceback."""
    try:
        yield
    except Away as error:
        raise Interrupted(f"{error}.", 1) from error


def _pack(trial: TuneTrial) -> Pack:
    return _read(trial.config["pack"])


_read = lru_cache(maxsize=1024)(Pack.from_json)  # for every message: to check it takes a while


def reason_of(failures: str) -> str:
    """The line that names the error of the last of a pack's failures, else that failure's first
    line: Ray adds much more, and colours. `failures`: what Tune has written about them."""
    failure = re.sub(r"\x1b\[[\d;]*m", "", failures).rpartition("Failure #")[2]
    lines = failure.strip().splitlines()[1:]  # the first has its number and time
    named = [line for line in lines if re.match(r"(\w+\.)*[A-Z]\w*(: |$)", line)]
    return (named[-1:] or lines)[0].strip()
