"""What scripts for a GPU share: sizes and findings of `gpu.py`, the device, what is noted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from rnn_study.environment import environment
from rnn_study.errors import require


@dataclass(frozen=True)
class Setting:
    """On what and how large."""

    device: str = "cuda"
    hidden: int = 200
    length: int = 100
    batch: int = 100
    packs: tuple[int, ...] = (1, 16, 64, 128)
    pack: int = 64
    """Where the goals are measured."""
    processes: int = 8
    seconds: float = 4.0
    """For each number."""
    text_hidden: int = 800
    text_length: int = 80
    text_batch: int = 100
    text_vocabulary: int = 33_278
    text_pack: int = 3
    text_segments: int = 10
    """Of the text that is read, of which an epoch of WikiText-2 is reckoned."""


TOY = Setting("cpu", 5, 50, 2, (2, 3), 3, 1, 0.01, 7, 5, 3, 50, 2, 3)


@dataclass
class Notes:
    """What has been found, for the table and for the file."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    """What, its number, and what it should be."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    failed: bool = False

    def number(self, name: str, value: float, unit: str = "", goal: str = "") -> None:
        """A measured number; `goal` is for people."""
        self.numbers[name] = value
        self.lines.append((name, f"{value:.4g} {unit}".strip(), goal))

    def check(self, name: str, error: float, allowed: float) -> None:
        """An error that must be at most `allowed`; NaN is not."""
        fails = not error <= allowed
        self.numbers[name] = error
        self.lines.append((name, f"{error:.2g}", f"{'FAILS' if fails else 'ok'}, <= {allowed:g}"))
        self.failed |= fails

    def broken(self, name: str, error: BaseException) -> None:
        """A part that raised an error."""
        self.failed = True
        self.lines.append((name, f"{type(error).__name__}: {error}".splitlines()[0][:60], "BROKEN"))

    def left_out(self, name: str, why: str) -> None:
        """A part that was not run."""
        self.lines.append((name, f"not run: {why}", ""))


def require_device(device: str) -> None:
    """Raises InvalidInput unless it is a device that is here."""
    require(device in ("cuda", "cpu"), "device", device, "use cuda or cpu")
    seen = device == "cpu" or torch.cuda.is_available()
    require(seen, "device", "cuda", "PyTorch sees no GPU here; use cpu")


def about(device: str) -> dict[str, Any]:
    """When and with what something was found: the date, the device by its name, the versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "device": name, "environment": environment()}
