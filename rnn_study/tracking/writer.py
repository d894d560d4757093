"""`Writer`: the background thread that writes what is queued for runs, and ends them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.parquet  # noqa: F401 (here, not first in the thread that writes: it has crashed there)
from mlflow.entities import RunTag
from mlflow.tracking import MlflowClient

from rnn_study.tracking.patience import Patience, Stopped, TrackingError
from rnn_study.tracking.points import History, Point, batches
from rnn_study.tracking.store import HISTORY, brief

FLUSH_SECONDS, LONGEST_FLUSH_SECONDS = 5.0, 60.0
"""Seconds between two reports of running trials: at least, and at most."""
FLUSH_SHARE = 0.01
"""Share of the time that reports of running trials take at most; the pause grows for it."""

Attach = Callable[[Path], None]
"""Writes more artifacts of a run into a folder."""


@dataclass
class _Report:
    """What is queued for a run."""

    points: list[Point] = field(default_factory=list)
    history: History | None = None
    attach: Attach | None = None
    tags: list[RunTag] = field(default_factory=list)
    status: str = ""
    """How the run ends; empty while it goes on."""


class Writer:
    """Writes in the background, one run after the other, in as few calls as possible.

    Whatever is queued for a run between two reports goes in one call. A run that ends is written
    at once, the others every few seconds.
    """

    def __init__(self, client: MlflowClient, patience: Patience) -> None:
        self.unfinished: dict[str, None] = {}
        """Ids of the runs whose end is not written, in the order in which they began."""
        self._client, self._patience, self._wake = client, patience, patience.wake
        self._pending: dict[str, _Report] = {}
        self._closing = False
        self._error: BaseException | None = None
        self._due = time.monotonic() + FLUSH_SECONDS
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def begin(self, run_id: str) -> None:
        """A run is RUNNING from here on."""
        self.unfinished[run_id] = None

    def add(self, run_id: str, points: Iterable[Point]) -> None:
        """Queues points of a run."""
        with self._wake:
            self._pending.setdefault(run_id, _Report()).points += points
            self._wake.notify_all()

    def tag(self, run_id: str, tags: Iterable[RunTag]) -> None:
        """Queues tags of a run."""
        with self._wake:
            self._pending.setdefault(run_id, _Report()).tags += tags
            self._wake.notify_all()

    def end(
        self,
        run_id: str,
        status: str,
        points: Iterable[Point] = (),
        history: History | None = None,
        tags: Iterable[RunTag] = (),
        attach: Attach | None = None,
    ) -> None:
        """Queues a run's last points, its artifacts, its tags and then its status."""
        with self._wake:
            self.add(run_id, points)
            report = self._pending[run_id]
            report.history, report.status = history, status
            report.tags += tags
            report.attach = attach

    def check(self) -> None:
        """Raises what has ended the writer, if something has."""
        if isinstance(self._error, TrackingError):
            raise TrackingError(str(self._error)) from self._error
        if self._error is not None:
            raise TrackingError(f"tracking failed: {brief(self._error)}") from self._error

    def drain(self) -> None:
        """Writes all that is queued and ends the thread. Raises what has ended it before."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()
        self.check()

    def _run(self) -> None:
        try:
            while batch := self._next():
                busy = self._patience.busy
                for run_id, report in batch.items():
                    self._write(run_id, report)
                if not all(report.status for report in batch.values()):
                    pause = (self._patience.busy - busy) / FLUSH_SHARE
                    pause = max(FLUSH_SECONDS, min(pause, LONGEST_FLUSH_SECONDS))
                    self._due = time.monotonic() + pause
        except Stopped:
            pass
        except BaseException as error:  # whoever calls next must hear of it, whatever it is
            self._error = error

    def _next(self) -> dict[str, _Report]:
        """What to write next, when it is time; nothing when the writer closes."""
        with self._wake:
            while True:
                if self._patience.stopped:
                    raise Stopped
                wait = self._due - time.monotonic()
                if self._closing or wait <= 0:
                    batch, self._pending = self._pending, {}
                else:
                    batch = {i: report for i, report in self._pending.items() if report.status}
                    for run_id in batch:
                        del self._pending[run_id]
                if batch or self._closing:
                    return batch
                self._wake.wait(max(wait, 0.0) if self._pending else None)

    def _write(self, run_id: str, report: _Report) -> None:
        """A run's status goes last: a run that is FINISHED has its artifacts and its metrics."""
        call, client = self._patience.call, self._client
        if report.history is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / HISTORY
                with self._patience.work():
                    pd.DataFrame(dict(report.history)).to_parquet(path, index=False)
                    if report.attach is not None:
                        report.attach(path.parent)
                call(client.log_artifacts, run_id, folder)
        for metrics in batches(report.points):
            call(client.log_batch, run_id, metrics=metrics)
        if report.tags:
            call(client.log_batch, run_id, tags=report.tags)
        if report.status:
            call(client.set_terminated, run_id, report.status)
            self.unfinished.pop(run_id, None)
