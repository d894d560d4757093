"""`run`: trains what is missing of a study, records it, and reads the study back."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from ray import tune

from rnn_study.config import Pack, Study, Trial, packs
from rnn_study.environment import environment
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.progress import Observer
from rnn_study.scheduling.callback import Listener, stop_without_mlflow
from rnn_study.scheduling.cluster import Resources, address, connection, local_resources
from rnn_study.scheduling.interruption import Signals
from rnn_study.scheduling.lock import study_lock
from rnn_study.tracking import Tracker, read_histories, read_runs
from rnn_study.training import Checkpoints
from rnn_study.worker import train_pack

_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow has the results
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's would return as if all were well
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # recovery needs nothing that Tune saves
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # prints a banner even when told to be quiet; the old one does not
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@dataclass(frozen=True)
class Report:
    """What a run of a study left behind."""

    runs: pd.DataFrame
    """One row a trial of the study, as `tracking.read_runs` gives them."""
    histories: dict[str, pd.DataFrame]
    """Every epoch of each finished trial, by trial id."""
    failures: dict[str, str]
    """Why trials failed, by trial id; a diverged trial has not failed."""
    seconds: dict[str, float]
    """Wall time: `wall` in all; `ray` to start it; `fit` inside Tune; `log` that the writer was
    busy, `log_cpu` its processor time; and `train`, spent by the packs, summed over them."""


def run(study: Study, execution: Execution, observer: Observer) -> Report:
    """Trains every trial of `study` that has not finished, and returns all of them.

    Finished trials are never trained again; others go on from their checkpoints. Raises
    InvalidInput before anything is created, and Interrupted on SIGINT, on SIGTERM and when Ray
    dies, after the unfinished runs are marked KILLED.
    """
    began = time.perf_counter()
    seconds = dict.fromkeys(("ray", "fit", "log", "log_cpu", "train"), 0.0)
    uri = execution.resolved_tracking_uri
    trials = study.trials()
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        # whatever can be refused is refused before anything is written
        joins = address(execution) is not None
        resources = (
            stack.enter_context(connection(execution)) if joins else local_resources(execution)
        )
        tracker = Tracker(uri, study, execution.storage / "artifacts")
        folder = prepare_storage(execution, study)
        stack.enter_context(study_lock(folder, study.name))
        finished = tracker.finished()
        missing = [trial for trial in trials if trial.id not in finished]
        if missing:
            if not joins:
                resources = stack.enter_context(connection(execution))
            seconds["ray"] = time.perf_counter() - began
            failures = _train(tracker, missing, study, execution, resources, observer, folder)
            seconds["fit"] = time.perf_counter() - began - seconds["ray"]
            seconds |= {"log": tracker.seconds, "log_cpu": tracker.cpu_seconds}
        observer.close()
        runs = read_runs(uri, study.name)
        runs = runs[runs["trial_id"].isin({trial.id for trial in trials})].reset_index(drop=True)
        histories = read_histories(uri, runs[runs["status"] == "FINISHED"])
    trained = runs[runs["trial_id"].isin({trial.id for trial in missing})]
    seconds["train"] = float(trained["train_seconds"].sum())
    seconds["wall"] = time.perf_counter() - began
    return Report(runs, histories, failures, seconds)


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
    missing: Sequence[Trial],
    study: Study,
    execution: Execution,
    resources: Resources,
    observer: Observer,
    folder: Path,
) -> dict[str, str]:
    """Trains and records the missing trials; returns why some failed."""
    checkpoints = Checkpoints(execution.checkpoints)
    trials = study.trials()
    with Signals() as signals, stop_without_mlflow():
        listener = Listener(tracker, observer, checkpoints, signals)
        try:
            tracker.open(trials, {**environment(), "device": resources.device})
            states = {trial: checkpoints.load(trial) for trial in missing}
            ended = [trial for trial, state in states.items() if state and state.finished]
            waiting = packs([t for t in missing if t not in ended], execution.pack_size)
            observer.plan(study, waiting, len(trials) - len(missing))
            tracker.start(ended)  # trained, but the driver died before it was recorded
            for trial in ended:
                listener.finish(trial)
            if waiting:
                signals.deferred = True
                _fit(waiting, listener, execution, resources, folder / "ray")
                signals.deferred = False
                signals.check()
        except BaseException:
            tracker.interrupt()
            raise
        tracker.close(failed=bool(listener.failures))
    return listener.failures


def _fit(
    waiting: Sequence[Pack],
    listener: Listener,
    execution: Execution,
    resources: Resources,
    scratch: Path,
) -> None:
    """Runs the packs in Ray Tune, in the order given, as many at once as the resources hold."""
    os.environ.update(_TUNE_SETTINGS)
    shutil.rmtree(scratch, ignore_errors=True)  # left by a driver that was killed
    tuner = tune.Tuner(
        tune.with_resources(train_pack, resources.per_pack(execution)),
        param_space={
            "pack": tune.grid_search([pack.to_json() for pack in waiting]),
            "device": resources.device,
            "checkpoints": str(execution.checkpoints),
            "checkpoint_seconds": execution.checkpoint_seconds,
        },
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name=scratch.name,
            storage_path=str(scratch.parent),
            verbose=0,
            callbacks=[listener],
            failure_config=tune.FailureConfig(max_failures=execution.retries),
        ),
    )
    tuner.fit()
    shutil.rmtree(scratch)
