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
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


@contextmanager
def lease(files: Files, name: str) -> Iterator[None]:
    """Holds a study in a place without locks, such as a bucket.

    Every driver writes a file of its own there and then looks for others, so that of two drivers
    the later one always sees the earlier; two at the very same time may both be refused. A file
    that does not change for `DEAD_SECONDS`, on the watch of the one who waits, is a dead driver's,
    and removed; clocks are not compared. A driver whose own file is gone stops: it was taken for
    dead. InvalidInput, naming the holder, where another driver runs the study.
    """
    mine = f"{PREFIX}{uuid.uuid4().hex}"
    files.write(mine, _sign(0))
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(files, mine, over), name="lease", daemon=True)
    heart.start()
    try:
        _outlive(files, mine, name)
        yield
    finally:
        over.set()
        heart.join()
        files.remove(mine)


def _beat(files: Files, mine: str, over: threading.Event) -> None:
    count = 0
    while not over.wait(BEAT_SECONDS):
        count += 1
        try:
            if mine not in files.names():
                _log.error("another driver took this one for dead and runs the study; stopping")
                signal.raise_signal(signal.SIGTERM)
                return
            files.write(mine, _sign(count))
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


def _sign(count: int) -> bytes:
    return f"{_me()}\n{count}".encode()


def _me() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def _held(name: str, holder: str) -> InvalidInput:
    allowed = f"this study is being run by {holder or 'another process'}"
    return InvalidInput("name", name, f"{allowed}; wait for it, or use another name")
