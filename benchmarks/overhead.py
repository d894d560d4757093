"""What a study costs beside its training: Ray's start, scheduling, logging, and memory.

Runs presets of the symbol-length study in a fresh storage folder, each twice. Shares are of the
core seconds of the same run; the rest is training, timed inside the packs. Prints a table.
"""

from __future__ import annotations

import io
import os
import runpy
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from json_files import require_writable, write_json
from rich.console import Console
from rich.table import Table

from rnn_study import scheduling
from rnn_study.environment import environment
from rnn_study.errors import require_member, require_values
from rnn_study.flags import script
from rnn_study.progress import observer

SCRIPT = Path(__file__).parents[1] / "studies" / "symbol_length.py"
PRESETS = runpy.run_path(str(SCRIPT))["PRESETS"]


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    presets: tuple[str, ...] = ("smoke",)
    """Of the symbol-length study."""
    json: Path | None = None
    """Also write the rows to this file."""

    def __post_init__(self) -> None:
        for preset in require_values("presets", self.presets):
            require_member("presets", preset, PRESETS)
        require_writable(self.json)


def run(settings: Settings) -> None:
    """Measures the presets that were asked for."""
    rows = [measure(preset) for preset in settings.presets]
    table = Table("", *settings.presets, title="What a study costs beside its training")
    for name in rows[0]:
        table.add_row(name, *(str(row[name]) for row in rows))
    Console().print(table)
    if settings.json:
        write_json(settings.json, {"environment": environment(), "rows": rows})


def measure(preset: str) -> dict[str, object]:
    """One row: seconds, and shares of the core seconds that the run held."""
    chosen = PRESETS[preset]
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        server = f"sqlite:///{folder}/mlflow.db"  # not the one that the environment may name
        execution = replace(chosen.execution, storage=Path(folder), tracking_uri=server)
        with PeakMemory() as memory:
            first = scheduling.run(chosen.study, execution, observer(io.StringIO())).seconds
        again = scheduling.run(chosen.study, execution, observer(io.StringIO())).seconds
    return {
        "wall time, s": round(first["wall"], 1),
        "until Ray has started, s": round(first["ray"], 1),
        "core seconds not training, of all": round(1 - first["train"] / (first["wall"] * cores), 3),
        "the same, after Ray's start": round(1 - first["train"] / (first["fit"] * cores), 3),
        "logging thread busy, of training": round(first["log"] / first["train"], 4),
        "logging, CPU of training": round(first["log_cpu"] / first["train"], 4),
        "peak memory, MiB": round(memory.peak / 2**20),
        "the same command again, s": round(again["wall"], 1),
    }


class PeakMemory:
    """The largest memory of this process and its children, in bytes, pages they share once."""

    def __enter__(self) -> PeakMemory:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(1.0):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.NoSuchProcess:
                    continue  # it ended meanwhile
            self.peak = max(self.peak, total)


if __name__ == "__main__":
    sys.exit(script.main(Settings, run, __doc__ or ""))
