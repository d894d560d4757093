"""How many trials train in a pack, where `--pack-size auto` leaves it to the memory there is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rnn_study.cells.scratch import CACHE
from rnn_study.config import Pack, Trial
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.scheduling.cluster import Resources, smallest_gpu_here
from rnn_study.training import footprint

MOST = 256
"""Trials in a pack: more gain nothing, and all of them wait for one process."""
_CONTEXT = 0.6e9
"""Bytes of a GPU that each process takes before it trains: CUDA's own, its libraries' and their
workspace."""
_FILLED = 0.9
"""Share of the rest that packs are planned to fill: allocators leave gaps."""


@dataclass(frozen=True)
class PackSizes:
    """The most trials of a shape in one pack."""

    largest: Callable[[Trial], int]
    """Of a trial of the shape."""
    at_once: int
    """Packs that run at the same time, among which trials are shared out; 1: not."""

    def __call__(self, trial: Trial, due: int) -> int:
        """`due`: how many trials of the shape of `trial` are to be trained."""
        return max(1, min(self.largest(trial), -(-due // self.at_once)))


def pack_sizes(execution: Execution, resources: Resources) -> PackSizes:
    """As the user says, or `auto`: on a GPU what its memory holds, on a CPU what its cache does.

    InvalidInput where the size follows from a GPU that this machine cannot see.
    """
    size = execution.pack_size
    if size != "auto":
        return PackSizes(lambda trial: int(size), 1)
    at_once = resources.packs_at_once(execution)
    if resources.device == "cuda":
        return PackSizes(_filling(_of_gpu(execution), "cuda"), at_once)
    filling = _filling(_of_host(execution, at_once), "cpu")
    return PackSizes(lambda trial: min(filling(trial), _cached(trial)), at_once)


def reserved(pack: Pack, execution: Execution, resources: Resources) -> dict[str, float]:
    """What a pack reserves, in Ray's names."""
    cpus = {"cpu": execution.cpus_per_pack}
    if resources.device != "cuda":
        return cpus
    if execution.gpus_per_pack != "auto":
        return {**cpus, "gpu": execution.gpus_per_pack}
    assert resources.gpu_bytes is not None
    return {**cpus, "gpu": gpu_share(pack, resources.gpu_bytes)}


def gpu_share(pack: Pack, gpu_bytes: float) -> float:
    """The share of a GPU that a pack needs, in hundredths, rounded up; at most all of it."""
    need = _CONTEXT + footprint(pack.trials[0], "cuda").of_pack(len(pack.trials)) / _FILLED
    return min(1.0, math.ceil(100 * need / gpu_bytes) / 100)


def _filling(budget: float, device: str) -> Callable[[Trial], int]:
    return lambda trial: min(MOST, footprint(trial, device).members(budget))


def _cached(trial: Trial) -> int:
    """Members whose weights and activations of one time step lie in the cache together."""
    need = footprint(trial)
    return int(CACHE / (need.state / 6 + need.step / trial.length))


def _of_gpu(execution: Execution) -> float:
    """Bytes that a pack may fill: its share of this machine's GPU, or what the user says."""
    if execution.memory_per_pack is not None:
        return execution.memory_per_pack * 1e9
    if not torch.cuda.is_available():
        raise InvalidInput(
            "pack_size", "auto", "this machine sees no GPU: give --memory-per-pack, or a number"
        )
    total = smallest_gpu_here()
    share = execution.gpus_per_pack
    assert share != "auto"  # it follows from the size: `Execution` refuses both
    return _FILLED * (total * share - _CONTEXT)


def _of_host(execution: Execution, at_once: int) -> float:
    """Bytes that a pack may fill: its share of half of this machine's memory."""
    if execution.memory_per_pack is not None:
        return execution.memory_per_pack * 1e9
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container, under Linux
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        memory = min(memory, int(text))
    return memory / 2 / at_once
