"""What packed training is compared with: one network after the other, and processes at once.

And how it takes the time. Needs torch alone.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from gpu_setting import Setting, products
from torch import Tensor, nn

INPUTS, CLASSES, CLIP, RATE = 6, 4, 0.25, 1e-3
START = 90.0
"""Seconds that a process waits for the others before all begin."""


class Plain(nn.Module):
    """One network as plain PyTorch would have it; the orthogonal RNN as a loop under autograd."""

    def __init__(self, cell: str, hidden: int) -> None:
        super().__init__()
        self.hidden, self.read = hidden, nn.Linear(hidden, CLASSES)
        self.lstm = nn.LSTM(INPUTS, hidden, batch_first=True) if cell == "lstm" else None
        if self.lstm is None:
            self.w_x = nn.Linear(INPUTS, hidden, bias=False)
            self.skew = nn.Parameter(torch.randn(hidden, hidden) * 0.01)
            self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) to (B, O)."""
        if self.lstm is not None:
            return self.read(self.lstm(x)[0][:, -1])
        upper = self.skew.triu(1)
        matrix = torch.linalg.matrix_exp(upper - upper.mT)
        state = x.new_zeros(len(x), self.hidden)
        for x_t in x.unbind(1):
            z = self.w_x(x_t) + state @ matrix
            state = z.sign() * F.relu(z.abs() + self.bias)
        return self.read(state)


class Loop(Plain):
    """The LSTM as a loop too: `torch.nn.LSTM` has no batching rule under vmap."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) to (B, O)."""
        if self.lstm is None:
            return super().forward(x)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        w_x, w_h, b_x, b_h = (getattr(self.lstm, name) for name in names)
        h = c = x.new_zeros(len(x), self.hidden)
        for x_t in x.unbind(1):
            i, f, g, o = (F.linear(x_t, w_x, b_x) + F.linear(h, w_h, b_h)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.read(h)


def plain_name(cell: str) -> str:
    """What a network is without this project."""
    return "loop" if cell == "orthogonal" else "torch.nn.LSTM"


def serial(cell: str, setting: Setting, start: Callable[[], object] = lambda: None) -> float:
    """Updates per second of one network in float32; `start` is called before the clock starts."""
    network = Plain(cell, setting.hidden).to(setting.device)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    x = torch.randn(setting.batch, setting.length, INPUTS, device=setting.device)
    targets = torch.randint(CLASSES, (setting.batch,), device=setting.device)

    def update() -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(x), targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()

    with products(tf32=False):
        update()
        start()
        return 1 / timed(update, setting)


def concurrent(cell: str, setting: Setting) -> float:
    """Updates per second of one network in each of several processes, all together.

    The error of a process ends all and is raised; BrokenBarrierError where one does not come.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(setting.processes, timeout=START)
    with context.Pool(setting.processes, _begin, (barrier,)) as pool:
        return sum(pool.imap_unordered(_serial, [(cell, setting)] * setting.processes))


_BARRIER: list[Any] = []
"""Of a process: where it waits for the others."""


def _begin(barrier: Any) -> None:
    _BARRIER.append(barrier)
    one_thread()


def _serial(job: tuple[str, Setting]) -> float:
    return serial(*job, _BARRIER[0].wait)


def timed(work: Callable[[], object], setting: Setting) -> float:
    """Seconds of a call: the median of as many as there is time for, but for the first two."""
    took: list[float] = []
    for _ in calls(setting.seconds):
        began = time.perf_counter()
        work()
        if setting.device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return statistics.median(took[2:])


def calls(seconds: float) -> Iterator[None]:
    """Three at least."""
    end = time.monotonic() + seconds
    count = 0
    while count < 3 or time.monotonic() < end:
        yield
        count += 1


def one_thread() -> None:
    """Nobody gets a second core within a process, and none computes with subnormal numbers."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
