"""`run`: trains what is missing of a study, records it, and reads the study back."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from ray import tune

from rnn_study import storage, texts
from rnn_study.config import Condition, Pack, Study, Trial
from rnn_study.environment import environment
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.phrases import about
from rnn_study.progress import Observer
from rnn_study.scheduling import outcomes, proposals
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.callback import Listener, stop_when_away
from rnn_study.scheduling.cluster import (
    Resources,
    address,
    connection,
    local_resources,
    require_device,
)
from rnn_study.scheduling.feed import Feed
from rnn_study.scheduling.interruption import Signals
from rnn_study.scheduling.lock import lease, study_lock
from rnn_study.scheduling.plan import remaining
from rnn_study.scheduling.sizes import pack_sizes, reserved
from rnn_study.tasks.corpus import Corpus
from rnn_study.tracking import SEARCH, Results, Tracker, patiently, read_histories, read_runs
from rnn_study.training import Checkpoints
from rnn_study.worker import Message, train_pack

_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow has the results
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's would return as if all were well
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # recovery needs nothing that Tune saves
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # prints a banner even when told to be quiet; the old one does not
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "200",  # by itself it would hold one pack ready
}


LONG = 86_400.0
"""Seconds on CPUs that a user is warned of: what trains for more than a day is meant for a GPU."""
_SCRATCH = "ray"
"""Tune's folder within that of the study, while packs train."""
OPTUNA = "optuna.db"
"""The Optuna studies of all conditions, one SQLite file, which optuna-dashboard opens."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What a run of a study left behind."""

    runs: pd.DataFrame
    """One row a trial of the study, as `tracking.read_runs` gives them."""
    histories: dict[str, pd.DataFrame]
    """Every epoch of each finished trial, by trial id."""
    trials: list[Trial]
    """The trials of the study and of its searches."""
    failures: dict[str, str]
    """Why trials failed, by trial id; a diverged trial has not failed."""
    unfinished: list[Condition]
    """The conditions whose search has found no rate: of those the tables have no trials."""
    search: outcomes.Outcomes
    """What the searches of learning rates proposed and found."""
    seconds: dict[str, float]
    """Wall time: `wall` in all; `ray` to start it; `fit` inside Tune; `log` that the writer was
    busy, `log_cpu` its processor time; and `train`, spent by the packs, summed over them."""


def run(
    study: Study, execution: Execution, observer: Observer, corpus: Corpus | None = None
) -> Report:
    """Trains every trial of `study` that has not finished, and returns all of them.

    `corpus`: the text that it reads, which is put where the packs find it, unless it is there; a
    search asks for it. Finished trials are never trained again; others go on from their
    checkpoints. Raises InvalidInput before anything is created; Away where MLflow or a bucket stays
    away before or after the training; and Interrupted where it does meanwhile, on SIGINT, on
    SIGTERM and when Ray dies, after the unfinished runs are marked KILLED.
    """
    began = time.perf_counter()
    seconds = dict.fromkeys(("ray", "fit", "log", "log_cpu", "train"), 0.0)
    uri = execution.resolved_tracking_uri
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        # whatever can be refused is refused before anything is written
        joins = address(execution) is not None
        resources = (
            stack.enter_context(connection(execution)) if joins else local_resources(execution)
        )
        require_device(study, resources)
        metric = texts.metric(study, corpus)
        sizes = pack_sizes(execution, resources)
        tracker = Tracker(uri, study, execution.folder / "artifacts", place=execution.place)
        folder = prepare_storage(execution, study)
        stack.enter_context(study_lock(folder, study.name))
        if isinstance(execution.storage, str):
            place = storage.files(execution.published(study))
            tracker.fence(stack.enter_context(lease(place, study.name)).holds)
        tracker.require_alone()
        if corpus is not None:
            texts.save(corpus, execution.corpora)
        finished = tracker.finished()
        agenda = Agenda(study, metric, sizes, finished, Results(uri, study.name))
        left = remaining(agenda, execution, resources)
        if left is not None and left > LONG:
            _log.warning(
                "%s may train for about %s on CPUs: it is of a size for GPUs; --dry-run tells more",
                study.name,
                about(left),
            )
        unclaimed = tracker.finished(SEARCH) & {trial.id for trial in agenda.trials}
        lacking = agenda.searches and not (folder / OPTUNA).exists()
        if not agenda.over or lacking or unclaimed or tracker.left_open():
            if not joins and not agenda.over:
                resources = stack.enter_context(connection(execution))
            seconds["ray"] = time.perf_counter() - began
            failures = _train(tracker, agenda, study, execution, resources, observer, folder)
            seconds["fit"] = time.perf_counter() - began - seconds["ray"]
            seconds |= {"log": tracker.seconds, "log_cpu": tracker.cpu_seconds}
        observer.close()
        every = patiently(uri, read_runs, study.name)
        mine = every["trial_id"].isin({trial.id for trial in agenda.trials})
        runs = every[mine].reset_index(drop=True)
        histories = patiently(uri, read_histories, runs[runs["status"] == "FINISHED"])
    asked = mine | every["trial_id"].isin({trial.id for trial in agenda.tried})
    trained = every[asked & ~every["trial_id"].isin(finished)]
    seconds["train"] = float(trained["train_seconds"].sum())
    seconds["wall"] = time.perf_counter() - began
    search = outcomes.of(agenda.searches.values())
    trials = [*agenda.tried, *agenda.trials]
    return Report(runs, histories, trials, failures, agenda.unfinished, search, seconds)


def prepare_storage(execution: Execution, study: Study) -> Path:
    """The study's folder, made and tried; InvalidInput where it cannot be written."""
    folder = execution.results(study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        allowed = f"use a folder that can be written ({error.strerror})"
        raise InvalidInput("storage", str(execution.storage), allowed) from error
    return folder


def _train(
    tracker: Tracker,
    agenda: Agenda,
    study: Study,
    execution: Execution,
    resources: Resources,
    observer: Observer,
    folder: Path,
) -> dict[str, str]:
    """Trains and records what is missing; returns why some trials failed."""
    checkpoints = Checkpoints(storage.files(execution.checkpoints))
    storage.clear(f"{execution.published(study)}/{_SCRATCH}")  # left by a driver that was killed
    (folder / OPTUNA).unlink(missing_ok=True)
    with Signals() as signals, stop_when_away():
        listener = Listener(tracker, observer, checkpoints, signals, agenda)
        try:
            tracker.open(agenda.trials, {**environment(), "device": resources.device})
            ended = [trial for trial in agenda.fixed if _has_ended(trial, checkpoints)]
            agenda.skip(ended)
            observer.plan(study, agenda.ready, agenda.earlier)
            tracker.start(ended)  # trained, but the driver died before it was recorded
            for trial in ended:
                listener.finish(trial)
            if not agenda.over:
                signals.deferred = True
                _fit(agenda, listener, execution, resources, execution.published(study))
                signals.deferred = False
                signals.check()
            tracker.claim(agenda.trials)
            if agenda.searches:
                _keep(agenda, tracker, folder / OPTUNA)
        except BaseException:
            tracker.interrupt()
            raise
        tracker.close(failed=bool(listener.failures or agenda.unfinished))
    return listener.failures


def _fit(
    agenda: Agenda,
    listener: Listener,
    execution: Execution,
    resources: Resources,
    place: str,
) -> None:
    """Runs packs in Ray Tune as they become due, as many at once as the resources hold.

    Meanwhile Tune has a folder at `place`, the study's, which every node must see.
    """
    os.environ.update(_TUNE_SETTINGS)
    bucket = isinstance(execution.storage, str)

    def train(config: dict[str, Any]) -> Iterator[dict[str, Message]]:
        # within this function, so that an actor gets it as it is and does not import this file
        node = ray.get_runtime_context().get_node_id()
        yield from train_pack({**config, "ray_node": node})

    def reserve(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        wanted = reserved(Pack.from_json(config["pack"]), execution, resources)
        return tune.PlacementGroupFactory([{kind.upper(): n for kind, n in wanted.items()}])

    tuner = tune.Tuner(
        tune.with_resources(train, reserve),
        param_space={
            "device": resources.device,
            "corpora": execution.corpora,
            "checkpoints": execution.checkpoints,
            "checkpoint_seconds": execution.checkpoint_seconds,
            "cuda_graphs": execution.cuda_graphs,
        },
        tune_config=tune.TuneConfig(search_alg=Feed(agenda), num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name=_SCRATCH,
            storage_path=place.removeprefix(storage.S3),
            storage_filesystem=storage.file_system() if bucket else None,
            verbose=0,
            callbacks=[listener],
            failure_config=tune.FailureConfig(max_failures=execution.retries),
        ),
    )
    tuner.fit()
    storage.clear(f"{place}/{_SCRATCH}")


def _keep(agenda: Agenda, tracker: Tracker, path: Path) -> None:
    """Stores what searches proposed and found as artifacts of the parent run, and then, as a sign
    that they are there, its Optuna studies at `path`."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        files = [Path(folder) / path.name]
        for name, text in outcomes.of(agenda.searches.values()).texts().items():
            files.append(Path(folder) / name)
            files[-1].write_text(text)
        proposals.save(agenda.searches.values(), files[0])
        tracker.log_files(files, "search")
        files[0].replace(path)


def _has_ended(trial: Trial, checkpoints: Checkpoints) -> bool:
    state = checkpoints.load(trial)
    return state is not None and state.finished
