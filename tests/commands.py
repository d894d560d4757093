"""Runs the study script as a user does: a process of its own, a home folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "studies" / "symbol_length.py"
TABLES = [
    f"{name}.{kind}"
    for name in ("length_table", "seed_sensitivity")
    for kind in ("csv", "md", "tex")
]


class Storage:
    """A storage folder, the commands that write to it, and what they left there."""

    def __init__(
        self, folder: Path, name: str = "symbol-length-smoke", script: Path = SCRIPT
    ) -> None:
        self.folder = folder
        self.script = script
        self.name = name
        self.home = folder.with_name(f"{folder.name}-home")
        self.home.mkdir(parents=True)
        self.driver: subprocess.Popen[str] | None = None

    def command(self, *flags: str) -> list[str]:
        storage = ["--preset", "smoke", "--storage", str(self.folder)]
        return [sys.executable, str(self.script), *storage, *flags]

    def environment(self, **more: str) -> dict[str, str]:
        hidden = ("RAY_", "MLFLOW_", "PYTEST_", "OMP_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        return {**kept, "HOME": str(self.home), "COLUMNS": "80", **more}

    def run(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the study to its end."""
        return self.call(self.command(*flags), **environment)

    def call(self, line: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs another command with this home to its end."""
        return subprocess.run(
            line,
            env=self.environment(**environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def start(self, *flags: str, **environment: str) -> subprocess.Popen[str]:
        """Starts the study; its output goes to a file beside the storage folder."""
        with (self.home / "output.txt").open("w") as output:
            self.driver = subprocess.Popen(
                self.command(*flags),
                env=self.environment(**environment),
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self.driver

    def close(self) -> None:
        """Ends what a failed test left running."""
        if self.driver is not None and self.driver.poll() is None:
            self.driver.terminate()
            self.driver.wait(30)

    @property
    def output(self) -> str:
        return (self.home / "output.txt").read_text()

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def results(self) -> Path:
        return self.folder / "studies" / self.name

    @property
    def runs(self) -> pd.DataFrame:
        """Every child run of the study's experiment."""
        from rnn_study import tracking

        return tracking.read_runs(self.uri, self.name)

    def tables(self) -> dict[str, bytes]:
        return {name: (self.results / name).read_bytes() for name in TABLES}

    def checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("*/epoch-*.json"))

    def wait_for_actors(self) -> None:
        """Until they have ended. Ray's own agents may stay for some minutes after a kill -9; what
        trains must not."""
        wait_until(lambda: not processes(self.home, "ray::Implicit"), 60, "the actors to end")


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Polls `condition`; fails where it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


def processes(home: Path, words: str = "") -> dict[int, str]:
    """Live processes, by id, that were started with this home folder and have `words` in their
    command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                around = (folder / "environ").read_bytes()
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue  # it ended meanwhile, or is not ours
            if line and words in line and f"HOME={home}\0".encode() in around + b"\0":
                found[int(folder.name)] = line
    return found
