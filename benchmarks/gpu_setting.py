"""What scripts for a GPU share: sizes of `gpu.py`, the device, its products and its memory."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from rnn_study.environment import environment
from rnn_study.errors import require
from rnn_study.kernels import starts, used_on
from rnn_study.training import Epoch


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
    seconds: float = 1.2
    """For each number."""
    text_hidden: int = 800
    text_length: int = 80
    text_batch: int = 100
    text_vocabulary: int = 33_278
    text_pack: int = 3
    text_segments: int = 10
    """Of the text that is read, of which an epoch of WikiText-2 is reckoned."""


TOY = Setting("cpu", 5, 50, 2, (2, 3), 3, 1, 0.01, 7, 5, 3, 50, 2, 3)


def require_device(device: str) -> None:
    """Raises InvalidInput unless it is a device that is here."""
    require(device in ("cuda", "cpu"), "device", device, "use cuda or cpu")
    seen = device == "cpu" or torch.cuda.is_available()
    require(seen, "device", "cuda", "PyTorch sees no GPU here; use cpu")


def about(device: str) -> dict[str, Any]:
    """When and with what something was found: the date, the command, the device, the versions."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "device": "cpu",
        "environment": environment(),
    }
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
        found["environment"] |= {
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "driver": _driver(),
        }
        found["kernels"] = _kernels()
    return found


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"
    return done.stdout.split("\n")[0].strip()


def _kernels() -> dict[str, Any]:
    """Whether training uses them; how the LSTM's are cut, and into how many parts numbers."""
    found: dict[str, Any] = {"used": used_on(torch.empty(0, device="cuda"))}
    if starts():
        from rnn_study.kernels import lstm

        found |= {name: vars(getattr(lstm, name)) for name in ("FORWARD", "BACKWARD")}
        found |= {name: getattr(lstm, name) for name in ("VALUE_PARTS", "GRADIENT_PARTS")}
    return found


@contextmanager
def changed(module: object, **values: object) -> Iterator[None]:
    """Within it the attributes have other values."""
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


@contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Within it all matrix products are of TF32, or all of float32, cuDNN's LSTM with them.

    Of itself torch multiplies in float32, but lets cuDNN use TF32.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with changed(torch.backends.cudnn, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def whole(epochs: Iterator[Epoch], pack: int) -> Iterator[Epoch]:
    """The epochs of a pack of so many, all together.

    Raises RuntimeError once they are of fewer: where memory ran out a pack has halved itself.
    """
    for epoch in epochs:
        if len(epoch.trials) != pack:
            raise RuntimeError(f"of {pack} networks {len(epoch.trials)} train together")
        yield epoch


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes of the GPU that `work` holds, beside what was held before."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before
