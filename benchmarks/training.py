"""Model updates per second of packed training, against what one would do without it.

One update is one batch of 100 sequences of the symbol task forward, backward and through the
optimiser, for one network. Every row has a rival that this script runs too, in the same process or
from it, minutes apart:

- `serial`: one network after the other, as plain PyTorch. For the LSTM `torch.nn.LSTM`; for the
  orthogonal RNN a loop under autograd with one matrix exponential a batch, as the paper's code.
- `processes`: the serial rival in one process per core, each with one thread.
- `vmap`: a `torch.func.vmap` ensemble over the plain loop of the cell.

Prints a table; `--quick` does a few rows in some minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from rnn_study.config import Pack, Trial
from rnn_study.environment import environment
from rnn_study.training import train

BATCH, INPUTS, CLASSES, CLIP, RATE = 100, 6, 4, 0.25, 1e-3
QUICK = [("lstm", 50, 50, 4), ("lstm", 200, 50, 4), ("orthogonal", 50, 50, 4),
         ("orthogonal", 200, 50, 4)]  # fmt: skip


def main() -> None:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four rows, serial rivals alone")
    parser.add_argument("--rivals", nargs="+", choices=[*RIVALS], help="default: all")
    parser.add_argument("--hidden", nargs="+", type=int, default=[50, 200])
    parser.add_argument("--lengths", nargs="+", type=int, default=[50, 100, 200])
    parser.add_argument("--packs", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=8.0, help="at least, for each number")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    one_thread()
    shapes = QUICK if options.quick else [
        (cell, hidden, length, pack)
        for cell in ("lstm", "orthogonal")
        for hidden in options.hidden
        for length in options.lengths
        for pack in options.packs
    ]  # fmt: skip
    rivals = options.rivals or (["serial"] if options.quick else [*RIVALS])
    rows = list(measure(shapes, rivals, device, options.seconds))
    table = Table(*rows[0], title=f"Model updates per second, {device}")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    if options.json:
        about = {"environment": environment(), "rows": rows}
        options.json.write_text(json.dumps(about, indent=1) + "\n")


def measure(
    shapes: list[tuple[str, int, int, int]], rivals: list[str], device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """A row for every shape and rival; a rival is measured once a cell, size and length."""
    known: dict[tuple[Any, ...], float] = {}
    for cell, hidden, length, pack in shapes:
        ours = packed(cell, hidden, length, pack, device, seconds)
        for name in rivals:
            size = pack if name == "vmap" else 1
            key = (name, cell, hidden, length, size)
            if key not in known:
                known[key] = RIVALS[name](cell, hidden, length, size, device, seconds)
            theirs = known[key]
            yield {
                "cell": cell,
                "hidden": hidden,
                "length": length,
                "pack": pack,
                "device": device,
                "updates_per_second": round(ours, 2),
                "rival": f"{name} {'torch.nn.LSTM' if cell == 'lstm' else 'loop'}",
                "rival_updates_per_second": round(theirs, 2),
                "ratio": round(ours / theirs, 2),
            }


def packed(cell: str, hidden: int, length: int, pack: int, device: str, seconds: float) -> float:
    """Of this project, all members together, with the data's shuffling and a small validation.

    At a rate so small that none solves the task and leaves.
    """
    trials = [
        Trial(
            task="symbol", cell=cell, length=length, learning_rate=1e-12, seed=seed, hidden=hidden,
            batch=BATCH, train_size=5 * BATCH, val_size=50, epochs=10_000,
        )
        for seed in range(pack)
    ]  # fmt: skip
    epochs = train(Pack(tuple(trials)), device)
    next(epochs)
    spent, best = 0.0, 0.0
    while spent < seconds:
        took = float(next(epochs).metrics["seconds"].sum())
        spent, best = spent + took, max(best, 5 * pack / took)
    return best


class Plain(nn.Module):
    """One network as plain PyTorch would have it."""

    def __init__(self, cell: str, hidden: int) -> None:
        super().__init__()
        self.cell, self.hidden = cell, hidden
        self.read = nn.Linear(hidden, CLASSES)
        if cell == "lstm":
            self.rnn = nn.LSTM(INPUTS, hidden, batch_first=True)
        else:
            self.w_x = nn.Linear(INPUTS, hidden, bias=False)
            self.skew = nn.Parameter(torch.randn(hidden, hidden) * 0.01)
            self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) to (B, O)."""
        if self.cell == "lstm":
            return self.read(self.rnn(x)[0][:, -1])
        upper = self.skew.triu(1)
        matrix = torch.linalg.matrix_exp(upper - upper.mT)
        state = x.new_zeros(len(x), self.hidden)
        for x_t in x.unbind(1):
            z = self.w_x(x_t) + state @ matrix
            state = z.sign() * F.relu(z.abs() + self.bias)
        return self.read(state)


class Loop(Plain):
    """The same with the LSTM as a loop: `torch.nn.LSTM` has no batching rule under vmap."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) to (B, O)."""
        if self.cell != "lstm":
            return super().forward(x)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        w_x, w_h, b_x, b_h = (getattr(self.rnn, name) for name in names)
        h = c = x.new_zeros(len(x), self.hidden)
        for x_t in x.unbind(1):
            i, f, g, o = (F.linear(x_t, w_x, b_x) + F.linear(h, w_h, b_h)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.read(h)


def serial(cell: str, hidden: int, length: int, size: int, device: str, seconds: float) -> float:
    """One network, one batch at a time."""
    network = Plain(cell, hidden).to(device)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    x, targets = batch(length, device)

    def update() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(x), targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()

    return rate_of(update, device, seconds)


def processes(cell: str, hidden: int, length: int, size: int, device: str, seconds: float) -> float:
    """The serial rival in as many processes as there are cores (eight on one GPU)."""
    count = 8 if device == "cuda" else len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, one_thread) as pool:
        work = [(cell, hidden, length, size, device, seconds)] * count
        return sum(pool.starmap(serial, work, chunksize=1))


def vmapped(cell: str, hidden: int, length: int, size: int, device: str, seconds: float) -> float:
    """An ensemble of `size` networks under vmap, their optimiser fused; all together."""
    networks = [Loop(cell, hidden).to(device) for _ in range(size)]
    params, buffers = stack_module_state(networks)
    x, targets = batch(length, device)

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

    assert not buffers
    return size * rate_of(update, device, seconds)


RIVALS: dict[str, Callable[..., float]] = {
    "serial": serial,
    "processes": processes,
    "vmap": vmapped,
}


def batch(length: int, device: str) -> tuple[Tensor, Tensor]:
    """One-hot inputs (B, T, I) and classes (B,)."""
    x = F.one_hot(torch.randint(INPUTS, (BATCH, length)), INPUTS).float()
    return x.to(device), torch.randint(CLASSES, (BATCH,)).to(device)


def rate_of(update: Callable[[], None], device: str, seconds: float) -> float:
    """Updates per second: the best of groups of five, as for packs."""
    update()
    spent, best = 0.0, 0.0
    while spent < seconds:
        began = time.perf_counter()
        for _ in range(5):
            update()
        if device == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - began
        spent, best = spent + took, max(best, 5 / took)
    return best


def one_thread() -> None:
    """Nobody gets a second core within a process, and none computes with subnormal numbers."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


if __name__ == "__main__":
    main()
