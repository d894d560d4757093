"""Signs of life of the drivers of a study, on its parent runs: two with different storages see no
lock of each other's, but they share MLflow."""

from __future__ import annotations

import os
import platform
import threading
import time

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_study.errors import InvalidInput
from rnn_study.tracking.patience import Patience, logger
from rnn_study.tracking.store import STUDY, brief, is_away, search_study

STORAGE = "rnn_study.storage"
"""Tag of a parent run: the storage of its last driver."""
DRIVER = "rnn_study.driver"
"""Tag of a parent run: its last driver, and the number of its last sign of life."""
BEAT_SECONDS = 10.0
"""Between two signs of life."""
DEAD_SECONDS = 40.0
"""Without a sign of life, a driver counts as dead after this time."""


def sign(count: int) -> str:
    """The value of `DRIVER`, of this process."""
    return f"process {os.getpid()} on {platform.node()}, sign {count}"


class Signs:
    """Gives signs of life on a parent run from a thread of its own, until `stop`.

    Where the run was ended or has another storage now, another driver runs the study: then the
    `patience` is `lost`, and nothing is written any more.
    """

    def __init__(self, client: MlflowClient, patience: Patience, run_id: str, place: str) -> None:
        self._client, self._patience = client, patience
        self._run_id, self._place = run_id, place
        self._over = False
        self._thread = threading.Thread(target=self._beat, name="signs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends them, and waits until they have."""
        with self._patience.wake:
            self._over = True
            self._patience.wake.notify_all()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while not self._wait():
            try:
                run = self._client.get_run(self._run_id)
                if run.info.status != "RUNNING" or run.data.tags.get(STORAGE) != self._place:
                    self._patience.lost = True
                    return
                count += 1
                self._client.set_tag(self._run_id, DRIVER, sign(count))
            except (MlflowException, OSError) as error:
                if not is_away(error):  # that it is away, `Patience` tells
                    logger.warning("no sign of life in MLflow: %s", brief(error))

    def _wait(self) -> bool:
        """Until the next sign; True where there is none."""
        patience = self._patience
        with patience.wake:
            return patience.wake.wait_for(lambda: self._over or patience.stopped, BEAT_SECONDS)


def outlive(client: MlflowClient, patience: Patience, study_name: str, place: str) -> None:
    """Waits until the drivers of other storages than `place` turn out to be dead.

    By their signs, on the watch of the one who waits; clocks are not compared. InvalidInput,
    naming both storages, where one lives.
    """

    def look() -> dict[str, Run]:
        return patience.call(_others, client, study_name, place)

    seen = look()
    for run in seen.values():
        driver, theirs = _told(run)
        logger.warning(
            "%s has begun to run this study with --storage %s; looking for %.0f s whether it does"
            " still",
            *(driver, theirs, DEAD_SECONDS),
        )
    end = time.monotonic() + DEAD_SECONDS
    while seen and time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 10)
        now = look()
        for run_id in seen.keys() & now.keys():
            if _told(now[run_id], whole=True) != _told(seen[run_id], whole=True):
                raise _held(*_told(now[run_id]), place)
        seen = {run_id: seen[run_id] for run_id in seen.keys() & now.keys()}


def _others(client: MlflowClient, study_name: str, place: str) -> dict[str, Run]:
    """The parent runs that drivers of other storages have not ended, by run id."""
    condition = f"attributes.status = 'RUNNING' and tags.`{STUDY}` != ''"
    runs = search_study(client, study_name, condition)
    return {run.info.run_id: run for run in runs if run.data.tags.get(STORAGE, place) != place}


def _told(run: Run, whole: bool = False) -> tuple[str, str]:
    """The driver, with its sign or without, and the storage of a parent run."""
    driver = run.data.tags.get(DRIVER, "")
    return driver if whole else driver.partition(", sign ")[0], run.data.tags[STORAGE]


def _held(driver: str, theirs: str, mine: str) -> InvalidInput:
    allowed = (
        f"{driver} runs this study with --storage {theirs}, and both would write the same runs; "
        "wait for it or stop it, or use another --name"
    )
    return InvalidInput("storage", mine, allowed)
