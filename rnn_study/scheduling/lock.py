"""One driver a study and storage, whatever is started: `study_lock`, and `lease` on a bucket."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnn_study.errors import InvalidInput
from rnn_study.storage import StorageAway
from rnn_study.training.files import Files

BEAT_SECONDS = 5.0
"""Between two signs of life of a driver that holds a lease."""
DEAD_SECONDS = 30.0
"""Without a sign of life, a driver counts as dead after this time."""
SETTLE_SECONDS = 3.0
"""At most from the last look of a driver that waits to its removal of a file that seems dead."""
PREFIX = "lease-"

_log = logging.getLogger(__name__)


@contextmanager
def study_lock(folder: Path, name: str) -> Iterator[None]:
    """Holds the lock of the study in `folder`; the system frees it if the process dies.

    InvalidInput, naming the holder, where another driver runs the study.
    """
    path = folder / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _held(name, file.read().strip()) from error
        except OSError as error:
            allowed = f"use a folder whose file system has locks ({error.strerror})"
            raise InvalidInput("storage", str(folder), allowed) from error
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


class Lease:
    """A driver's own file, which a thread of its own renews; whether it is still held."""

    def __init__(self, files: Files) -> None:
        self.file = f"{PREFIX}{uuid.uuid4().hex}"
        self._files = files
        self._count = 0
        self._lost = False
        self._changed = threading.Condition()
        self._renewed = _now()
        files.write(self.file, _sign(0))

    def holds(self, seconds: float) -> bool:
        """Whether nobody can have taken this driver for dead, so that it may write.

        By its own watch; where that is in doubt, as after a pause of the process, it waits at most
        `seconds` for the next sign of life. False also where none succeeds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lost or self._is_fresh(), seconds)
            return not self._lost and self._is_fresh()

    def renew(self) -> bool:
        """Gives a sign of life; False where another driver is taking over. Raises StorageAway."""
        began = _now()
        there = self.file in self._files.names()
        if there:
            self._count += 1
            self._files.write(self.file, _sign(self._count))
        if there and not self._is_fresh():
            # another may have looked before, and remove it yet; or it was removed already, and has
            # just been written again: then the other's file is there
            time.sleep(SETTLE_SECONDS)
            there = [each for each in self._files.names() if each.startswith(PREFIX)] == [self.file]
        with self._changed:
            self._renewed, self._lost = began, not there
            self._changed.notify_all()
        return there

    def _is_fresh(self) -> bool:
        return _now() - self._renewed < DEAD_SECONDS - 2 * BEAT_SECONDS


@contextmanager
def lease(files: Files, name: str) -> Iterator[Lease]:
    """Holds a study in a place without locks, such as a bucket.

    Every driver writes a file of its own there and then looks for others, so that of two drivers
    the later one always sees the earlier; two at the very same time may both be refused. A file
    that does not change for `DEAD_SECONDS`, on the watch of the one who waits, is a dead driver's,
    and removed; clocks are not compared. A driver whose own file is gone stops: it was taken for
    dead. InvalidInput, naming the holder, where another driver runs the study.
    """
    mine = Lease(files)
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(mine, over), name="lease", daemon=True)
    heart.start()
    try:
        _outlive(files, mine.file, name)
        yield mine
    finally:
        over.set()
        heart.join()
        try:
            files.remove(mine.file)
        except StorageAway as error:  # not in the place of why the study ends
            _log.warning("the lease stays, and counts as dead in %.0f s: %s", DEAD_SECONDS, error)


def _beat(mine: Lease, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        try:
            if not mine.renew():
                _log.error("another driver took this one for dead and runs the study; stopping")
                signal.raise_signal(signal.SIGTERM)
                return
        except StorageAway as error:
            _log.warning("no sign of life: %s", error)


def _outlive(files: Files, mine: str, name: str) -> None:
    """Waits until the drivers that are there turn out to be dead; refuses if one lives."""
    seen = _others(files, mine)
    end = time.monotonic() + DEAD_SECONDS
    while seen and time.monotonic() < end:
        time.sleep(min(1.0, DEAD_SECONDS / 10))
        now = _others(files, mine)
        for file in seen.keys() & now.keys():
            if now[file] != seen[file]:
                raise _held(name, now[file].decode().partition("\n")[0])
        seen = {file: seen[file] for file in seen.keys() & now.keys()}
    for file in seen:
        files.remove(file)


def _others(files: Files, mine: str) -> dict[str, bytes]:
    found = {}
    for file in files.names():
        if file.startswith(PREFIX) and file != mine:
            try:
                found[file] = files.read(file)
            except FileNotFoundError:
                continue  # its driver ended meanwhile
    return found


def _now() -> float:
    """Seconds, on a watch that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _sign(count: int) -> bytes:
    return f"{_me()}\n{count}".encode()


def _me() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def _held(name: str, holder: str) -> InvalidInput:
    allowed = f"this study is being run by {holder or 'another process'}"
    return InvalidInput("name", name, f"{allowed}; wait for it, or use another name")
