"""Model updates per second of packed training on a CPU, against what one would do without it.

One update is one batch of 100 sequences of the symbol task forward, backward and through the
optimiser, for one network. Every row has a rival that this script runs too, one core each:

    serial     one network after the other, as plain PyTorch: for the LSTM torch.nn.LSTM,
               for the orthogonal RNN a loop under autograd with one matrix
               exponential a batch, as the paper's code
    processes  that in one process per core, against packs in one process per core
    vmap       a torch.func.vmap ensemble of the pack's size, at most 16, over the loop

A pack and its rival take turns, and each counts with its fastest turn. Time is that of the core,
not of the clock, so that what else runs on the machine changes little. `limit` is the share of the
rate at which the core does nothing but the products of the time steps, measured at the same shapes.
Prints a table; `--quick` does the rows that are promised, in some minutes. (`gpu.py` is for GPUs.)
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from json_files import require_writable, write_json
from rich.console import Console
from rich.table import Column, Table
from rivals import CLASSES, CLIP, INPUTS, RATE, Loop, Plain, one_thread, plain_name
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Trial
from rnn_study.environment import environment
from rnn_study.errors import require_member, require_positive, require_values, require_whole
from rnn_study.flags import script
from rnn_study.training import bytes_per_member
from rnn_study.training.members import Members
from rnn_study.training.step import update_

BATCH = 100
LARGEST_ENSEMBLE = 16
"""Networks under vmap: autograd keeps so much of each that more of them only run out of memory."""
TURN = 0.02
"""Seconds of one turn, at least: short, so that some turns are undisturbed."""
PROMISED = [
    (cell, hidden, length, pack)
    for cell in ("orthogonal", "lstm")
    for hidden, pack in ((200, 4), (50, 16))
    for length in (50, 100)
]
COLUMNS = ("cell", "hidden", "length", "pack", "updates", "rival", "its", "ratio", "MB", "limit")
Shape = tuple[str, int, int, int]
"""Cell, hidden units, length, networks."""
Update = Callable[[], None]


@dataclass(frozen=True)
class Settings:
    """Which rows are measured."""

    quick: bool = False
    """Eight rows, whatever the sizes; without rivals named, the serial ones."""
    rivals: tuple[str, ...] = ()
    """Of serial, processes, vmap; none: all."""
    cells: tuple[str, ...] = ("lstm", "orthogonal")
    """Architectures."""
    hidden: tuple[int, ...] = (50, 200)
    """Hidden units."""
    lengths: tuple[int, ...] = (50, 100, 200)
    """Time steps."""
    packs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Networks of a pack."""
    seconds: float = 10.0
    """For each row, at least."""
    json: Path | None = None
    """Also write the rows to this file."""

    def __post_init__(self) -> None:
        for name, known in (("rivals", RIVALS), ("cells", CELLS)):
            for each in getattr(self, name):
                require_member(name, each, known)
        for name in ("hidden", "lengths", "packs"):
            for size in require_values(name, getattr(self, name)):
                require_whole(name, size, 1)
        require_positive("seconds", self.seconds)
        require_writable(self.json)


def run(settings: Settings) -> None:
    """Measures the rows that are asked for."""
    one_thread()
    sizes = settings.cells, settings.hidden, settings.lengths, settings.packs
    shapes = PROMISED if settings.quick else [*itertools.product(*sizes)]
    rivals = settings.rivals or (["serial"] if settings.quick else [*RIVALS])
    columns = [Column(name, no_wrap=True) for name in COLUMNS]
    table = Table(*columns, title="Model updates per second, CPU", highlight=True)
    rows = []
    for row in measure(shapes, rivals, settings.seconds):
        rows.append(row)
        table.add_row(*shown(row))
        print(*shown(row), sep="  ", flush=True)
        if settings.json:  # all packs take long: what there is so far is kept
            write_json(settings.json, rows)
    Console(width=110).print(table)


def measure(shapes: list[Shape], rivals: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for every shape and rival, unless the pack fills half of the free memory."""
    about = environment()
    for shape in shapes:
        cell, hidden, length, pack = shape
        each = bytes_per_member(trial(shape, 0))
        for rival in rivals:
            copies = len(os.sched_getaffinity(0)) if rival == "processes" else 1
            if copies * pack * each > free_memory() / 2:
                print(*shape, rival, "left out: too little memory", sep="  ", flush=True)
                continue
            ours, theirs = RIVALS[rival](shape, seconds)
            yield {
                "cell": cell,
                "hidden": hidden,
                "length": length,
                "pack": pack,
                "device": "cpu",
                "updates_per_second": round(ours, 2),
                "rival": f"{rival} {plain_name(cell) if rival != 'vmap' else 'loop'}",
                "rival_updates_per_second": round(theirs, 2),
                "ratio": round(ours / theirs, 2),
                "bytes_per_member": each,
                "of_limit": round(ours / copies / limit(cell, hidden, length), 3),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                **{key: about[key] for key in ("torch", "processor", "git_commit")},
            }


def shown(row: dict[str, Any]) -> list[str]:
    """The cells of the table."""
    mine, its = f"{row['updates_per_second']:.1f}", f"{row['rival_updates_per_second']:.1f}"
    memory = f"{row['bytes_per_member'] / 1e6:.1f}"
    head = [str(row[key]) for key in ("cell", "hidden", "length", "pack")]
    return [*head, mine, row["rival"], its, f"{row['ratio']:.2f}", memory, f"{row['of_limit']:.0%}"]


def trial(shape: Shape, seed: int) -> Trial:
    """At a rate so small that nothing is ever learned."""
    cell, hidden, length, _ = shape
    return Trial(
        task="symbol", cell=cell, length=length, learning_rate=1e-12, seed=seed, hidden=hidden,
        batch=BATCH, train_size=BATCH, val_size=1,
    )  # fmt: skip


def packed(shape: Shape) -> Update:
    """Of this project: one batch of all members, with its choice from the data."""
    trials = tuple(trial(shape, seed) for seed in range(shape[-1]))
    members = Members.start(Pack(trials), torch.device("cpu"))
    assert members is not None
    (correction,) = members.adam.corrections(np.full(len(trials), 1e-12), 1)
    columns = torch.arange(BATCH).expand(len(trials), -1)

    def update() -> None:
        x, targets = members.training.chosen(columns)
        update_(members.network, trials[0], members.flat, members.adam, correction, x, targets)

    return update


def plain(shape: Shape) -> Update:
    """One network, one batch."""
    cell, hidden, length, _ = shape
    network = Plain("orthogonal" if cell == "orthogonal" else "lstm", hidden)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    x, targets = a_batch(length)

    def update() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(x), targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()

    return update


def ensemble(shape: Shape) -> Update:
    """Networks under vmap, their optimiser fused; one batch of all of them."""
    cell, hidden, length, size = shape
    networks = [Loop("orthogonal" if cell == "orthogonal" else "lstm", hidden) for _ in range(size)]
    params, _ = stack_module_state(networks)
    x, targets = a_batch(length)

    def loss(each: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(networks[0], (each, {}), (x,)), targets)

    gradients = vmap(grad(loss))
    stacked = {name: value.detach() for name, value in params.items()}
    optimiser = torch.optim.Adam(stacked.values(), RATE)

    def update() -> None:
        found = gradients(stacked)
        squares = sum(value.flatten(1).square().sum(1) for value in found.values())
        scale = (CLIP / (squares.sqrt() + 1e-6)).clamp_max(1)
        for name, value in stacked.items():
            value.grad = found[name] * scale.view(-1, *[1] * (value.dim() - 1))
        optimiser.step()

    return update


def a_batch(length: int) -> tuple[Tensor, Tensor]:
    """One-hot inputs (B, T, I) and classes (B,)."""
    x = F.one_hot(torch.randint(INPUTS, (BATCH, length)), INPUTS).float()
    return x, torch.randint(CLASSES, (BATCH,))


def serial(shape: Shape, seconds: float) -> tuple[float, float]:
    """Updates per second of the pack, and of one network."""
    ours, theirs = by_turns([packed(shape), plain(shape)], seconds)
    return shape[-1] * ours, theirs


def vmapped(shape: Shape, seconds: float) -> tuple[float, float]:
    """Of the pack, and of an ensemble under vmap."""
    size = min(shape[-1], LARGEST_ENSEMBLE)
    ours, theirs = by_turns([packed(shape), ensemble((*shape[:-1], size))], seconds)
    return shape[-1] * ours, size * theirs


def processes(shape: Shape, seconds: float) -> tuple[float, float]:
    """Of packs and of single networks, in as many processes as there are cores, summed."""
    count = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, one_thread) as pool:
        ours = pool.starmap(alone, [(packed, shape, seconds / 2)] * count, chunksize=1)
        theirs = pool.starmap(alone, [(plain, shape, seconds / 2)] * count, chunksize=1)
    return shape[-1] * sum(ours), sum(theirs)


def alone(make: Callable[[Shape], Update], shape: Shape, seconds: float) -> float:
    """Updates per second in a process of its own."""
    return by_turns([make(shape)], seconds)[0]


RIVALS = {"serial": serial, "processes": processes, "vmap": vmapped}


def by_turns(updates: list[Update], seconds: float) -> list[float]:
    """Calls per second of each, in its fastest turn. Every one has three at least."""
    turns = []
    for update in updates:
        update()
        took = seconds_of(update, 1)
        turns.append((update, max(round(TURN / took), 1)))
    best = [0.0] * len(updates)
    begun, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - begun < seconds:
        for k, (update, calls) in enumerate(turns):
            best[k] = max(best[k], calls / seconds_of(update, calls))
        rounds += 1
    return best


def seconds_of(update: Update, calls: int) -> float:
    """Of so many calls, on the core."""
    began = time.thread_time()
    for _ in range(calls):
        update()
    return time.thread_time() - began


@cache
def limit(cell: str, hidden: int, length: int) -> float:
    """Updates per second if the products of its time steps were all that an update does."""
    width = CELLS[cell].gates * hidden
    weights, states = torch.randn(4, width, hidden), torch.randn(4, hidden, BATCH)
    out = torch.empty(4, width, BATCH)
    (rate,) = by_turns([lambda: torch.bmm(weights, states, out=out)], 1.0)
    products = 3 * length  # forward, and two backward: of the state and of the weights
    return 4 * rate / products


def free_memory() -> int:
    """Bytes, those that the system would take from its caches too."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return int(found["MemAvailable"].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(script.main(Settings, run, __doc__ or ""))
