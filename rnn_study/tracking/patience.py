"""`Patience`: calls a tracking store, and waits while it is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException

from rnn_study.errors import Away
from rnn_study.tracking.store import NoAnswer, brief, is_away, shown

Result = TypeVar("Result")

logger = logging.getLogger("rnn_study.tracking")

FIRST_WAIT, LONGEST_WAIT = 1.0, 10.0
"""Seconds between two tries: doubled from the first to the longest."""
PATIENCE_SECONDS = 900.0
"""How long a store may be away before a study gives up."""


class TrackingError(Away):
    """MLflow refused what was sent, or was away for too long.

    Nothing is lost: every trial's history is in its checkpoint, and the next run of the study
    writes what is missing.
    """


class Stopped(TrackingError):
    """The tracker was interrupted while it had something to write."""


class Patience:
    """Calls a store until it answers, from several threads, and counts the time that takes."""

    def __init__(self, uri: str, seconds: float) -> None:
        """`seconds`: how long the store may be away before a call gives up."""
        self.wake = threading.Condition()
        """Guards what the threads share; notified when something happens."""
        self.stopped = False
        self.holds: Callable[[float], bool] = lambda seconds: True
        """Whether this process may write, made sure of within so many seconds."""
        self.lost = False
        """Whether another driver has taken over what this process writes."""
        self.busy = 0.0
        """Seconds of `work`, and of calls that were answered."""
        self.cpu = 0.0
        """Of these, seconds of processor time."""
        self._uri = shown(uri)
        self._limit = seconds
        self._waiting = 0

    def stop(self) -> None:
        """Ends every wait: calls that wait or begin raise `Stopped`."""
        with self.wake:
            self.stopped = True
            self.wake.notify_all()

    def require(self) -> None:
        """Raises TrackingError where another process may write in this one's place."""
        if self.lost or not self.holds(self._limit):
            raise TrackingError("another driver took this one for dead, so it writes no more")

    def call(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """The result of `function`, called again while the store is away.

        Raises `TrackingError` if the store refuses, or stays away for too long.
        """
        failures, away_since, told = 0, 0.0, False
        try:
            while True:
                if self.stopped:
                    raise Stopped("the tracker was interrupted")
                self.require()
                began = time.monotonic()
                try:
                    with self.work():
                        result = function(*args, **kwargs)
                except (MlflowException, OSError, NoAnswer) as error:
                    if not is_away(error):
                        message = f"the tracking store {self._uri} refused: {brief(error)}"
                        raise TrackingError(message) from error
                    failures += 1
                    away_since = away_since or began
                    if time.monotonic() - away_since > self._limit:
                        raise self._gone(error) from error
                    # One failure may be a connection that the server closed between two calls.
                    told = told or (failures == 2 and self._went(error))
                    self._pause(failures)
                else:
                    if told:
                        self._came_back(time.monotonic() - away_since)
                    return result
        finally:
            if told:
                with self.wake:
                    self._waiting -= 1

    @contextmanager
    def work(self) -> Iterator[None]:
        """Counts the time of what is done inside, unless that fails."""
        began, cpu = time.monotonic(), time.thread_time()
        yield
        with self.wake:
            self.busy += time.monotonic() - began
            self.cpu += time.thread_time() - cpu

    def _pause(self, failures: int) -> None:
        longer = FIRST_WAIT * 2 ** min(failures - 2, 10)
        with self.wake:
            pause = min(longer, LONGEST_WAIT) if failures > 1 else 0.1
            self.wake.wait_for(lambda: self.stopped, timeout=pause)

    def _went(self, error: Exception) -> bool:
        with self.wake:
            self._waiting += 1
            if self._waiting == 1:  # the first thread to notice tells it
                logger.warning(
                    "the tracking store %s is away (%s); what there is to log waits for it",
                    self._uri,
                    brief(error),
                )
        return True

    def _came_back(self, seconds: float) -> None:
        with self.wake:
            if self._waiting == 1:  # the last thread that waited tells it
                logger.warning("the tracking store %s is back after %.0f s", self._uri, seconds)

    def _gone(self, error: Exception) -> TrackingError:
        return TrackingError(
            f"the tracking store {self._uri} was away for {self._limit / 60:.0f} minutes"
            f" ({brief(error)}); nothing is lost, the same command writes the rest once it is back"
        )


def patiently(uri: str, read: Callable[..., Result], *args: Any) -> Result:
    """`read(uri, *args)`, asked again while the store is away.

    For what is read once a study has trained. Raises `TrackingError` as `Patience.call` does.
    """
    return Patience(uri, PATIENCE_SECONDS).call(read, uri, *args)
