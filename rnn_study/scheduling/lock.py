"""`study_lock`: one driver a study and storage folder, whatever else is started."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnn_study.errors import InvalidInput


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
            holder = file.read().strip() or "another process"
            allowed = f"this study is being run by {holder}; wait for it, or use another name"
            raise InvalidInput("name", name, allowed) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
