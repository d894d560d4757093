"""`Files`: where checkpoints and portraits lie: a `Folder` on a disk, or `storage.Bucket`.

A file is written whole or not at all, and once `write` returns it is there after a crash.
"""

from __future__ import annotations

import os
import secrets
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

ABANDONED = 3600
"""Seconds after which a draft, a file that is being written, is one whose writer was killed."""


class Files(ABC):
    """Named files in a place. Names have no folders in them; `within` leads to those."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file. OSError where there is none, or it cannot be read."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Writes or replaces a file, whole or not at all; it lasts once this returns."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names in this place, sorted; none where there is no such place."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Deletes a file; leaves alone what is none."""

    @abstractmethod
    def tidy(self) -> None:
        """Deletes what writers that were killed have left half-written."""

    @abstractmethod
    def within(self, folder: str) -> Files:
        """The files in a folder of this place, which need not be there yet."""

    @abstractmethod
    def __str__(self) -> str:
        """The address, for people."""


class Folder(Files):
    """A folder on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / name, data)

    def names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted(each.name for each in self.path.iterdir() if not each.name.startswith("."))

    def remove(self, name: str) -> None:
        path = self.path / name
        if not path.is_dir():
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        for draft in self.path.glob(".*"):
            with suppress(FileNotFoundError):  # its writer was alive, or another has deleted it
                if time.time() - draft.stat().st_mtime > ABANDONED:
                    draft.unlink()

    def within(self, folder: str) -> Folder:
        return Folder(self.path / folder)

    def __str__(self) -> str:
        return str(self.path)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` under another name, flushes it to the disk and renames it to `path`.

    That name is nobody else's: process ids would not do, as containers with one disk share them.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # where that failed
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
