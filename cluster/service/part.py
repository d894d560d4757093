"""`Part`: a server of the service, started, asked whether it is well, ended with all it made."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from cluster.service.settings import LOOPBACK, Settings
from rnn_study.errors import InvalidInput

BIN = Path(sys.executable).parent
"""The environment's programs."""
MARK = "RNN_STUDY_SERVICE_PART"
"""Variable in the environment of every process of the service: its folder and part."""


class Broken(RuntimeError):
    """A part that does not start or does not end."""


class Part(ABC):
    """One server."""

    name: str
    needs_seconds = 60.0
    """Longest start."""
    gentle = signal.SIGTERM
    """What asks it to end."""
    patience_seconds = 20.0
    """How long that may take."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def command(self) -> list[str]:
        """What runs in the foreground."""

    @abstractmethod
    def well(self) -> bool:
        """Whether it answers as it should."""

    @abstractmethod
    def ports(self) -> dict[str, int]:
        """The ports it takes, by the setting that changes them."""

    def environment(self) -> Mapping[str, str]:
        """What its environment has more."""
        return {}

    @abstractmethod
    def before(self) -> None:
        """Does what has to be done before it starts."""

    @abstractmethod
    def after(self) -> None:
        """Does what has to be done once it is well, and what is to be checked then."""

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.settings.folder / "logs" / f"{self.name}.log"

    @property
    def mark(self) -> str:
        """The value of `MARK` of its processes."""
        return f"{self.settings.folder}:{self.name}"

    def require_ports(self) -> None:
        """InvalidInput where something else listens at one of its ports."""
        hosts = {LOOPBACK, self.settings.called}
        for name, port in self.ports().items():
            if any(_listens(host, port) for host in hosts):
                allowed = "something listens there already; end it, or choose another port"
                raise InvalidInput(name, port, allowed)

    def start(self) -> None:
        """Starts it and waits until it is well. Raises Broken, with the end of its log."""
        self.before()
        hidden = ("RAY_", "MLFLOW_", "AWS_", "PG")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        with self.log.open("a") as log:
            process = subprocess.Popen(
                self.command(),
                env={**kept, MARK: self.mark, **self.environment()},
                cwd=self.settings.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + self.needs_seconds
        while not self.well():
            if process.poll() is not None:
                raise Broken(f"{self.name} ended with {process.returncode}:\n{self.last_words()}")
            if time.monotonic() > end:
                waited = f"{self.needs_seconds:.0f} s"
                raise Broken(f"{self.name} is not well after {waited}:\n{self.last_words()}")
            time.sleep(0.2)
        self.after()

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-12:]
        return "\n".join(f"  {line}" for line in lines) + f"\n  (all of it: {self.log})"

    def processes(self) -> list[int]:
        """Its processes and what these have started, the oldest first.

        A process of Ray's that has given itself a title has lost its environment, and the mark with
        it; so what shares a session with a marked process, or descends from one, is its own too.
        """
        running = _running()
        marked = {p for p in running if f"{MARK}={self.mark}".encode() in _environment(p)}
        sessions = {running[process].session for process in marked}
        found = marked | {p for p, each in running.items() if each.session in sessions}
        while more := {p for p, each in running.items() if each.parent in found} - found:
            found |= more
        return sorted(found - {os.getpid()}, key=lambda process: (running[process].began, process))

    def stop(self) -> None:
        """Ends it and all that it has started: asked first, then killed. Raises Broken."""
        if self.processes():
            _signal(self.processes()[:1], self.gentle)
            self._wait(self.patience_seconds)
        if left := self.processes():
            _signal(left, signal.SIGKILL)
            self._wait(10)
        if left := self.processes():
            raise Broken(f"{self.name} does not end: processes {left}")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.2)


class _Process(NamedTuple):
    parent: int
    session: int
    began: int


def _running() -> dict[int, _Process]:
    """All processes of this machine that have not ended."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if state != "Z":
                found[int(folder.name)] = _Process(int(rest[0]), int(rest[2]), int(rest[18]))
    return found


def _environment(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []  # it ended meanwhile, or is somebody else's


def _signal(processes: list[int], number: int) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue  # it ended meanwhile


def _listens(host: str, port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
