"""`Replay`: the batches of a pack as CUDA graphs, replayed without work of the host.

A small network's batch is thousands of short operations, and starting each from Python takes longer
than it runs. A graph holds them all and starts at once. It reads and writes the same memory each
time: parameters, moments and data stay in buffers of the whole pack, and the number of the batch is
counted on the device.

Members that leave are trained on until half of the buffers' members have left; then the rest is
captured anew. So a pack of S is captured at most log2(S) + 1 times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cache, partial
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.training.adam import Adam
from rnn_study.training.epochs import Means, Runner, means_of, sequences_of
from rnn_study.training.members import Members
from rnn_study.training.step import Sums, evaluate, update_

Body = Callable[[], None]


class Pool:
    """The memory of CUDA graphs.

    Packs that train by turns share one: nothing in it outlasts a replay, so together they need what
    the largest of them needs.

    torch lets a graph into a pool that has lost all of its graphs only once nothing in it is alive;
    and what cuBLAS works in, which it took from the pool during a capture, may live on. So the next
    graph begins another pool then.
    """

    def __init__(self) -> None:
        self._graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()
        self._handle: Any = None

    def capture(self, body: Body) -> Body:
        """The replay of a graph of `body`, on the current device. The graph lives as long as it."""
        graph = torch.cuda.CUDAGraph()
        if not self._graphs:
            self._handle = torch.cuda.graph_pool_handle()
        self._graphs.add(graph)
        with torch.cuda.graph(graph, pool=self._handle):
            body()
        return graph.replay


class Replay(Runner):
    """Replays batches.

    On a CPU nothing is captured: the same operations run on the same buffers, one after the other.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        """`pool`: the memory of the graphs; without, one of its own."""
        self.captures = 0
        """How often buffers were made for the members that were left."""
        self._pool = pool or Pool()
        self._buffers: _Buffers | None = None

    def epoch(self, members: Members, rates: np.ndarray) -> Means:
        held = self._buffers
        if held is None or len(members) * 2 <= held.members:
            self._buffers = held = None  # its memory is free before more is taken
            self._buffers = held = _Buffers(members, self._pool)
            self.captures += 1
        return held.epoch(members, rates)


class _Buffers:
    """The memory of a pack's members that does not move, and the graphs that work on it."""

    def __init__(self, members: Members, pool: Pool) -> None:
        self.members = len(members)
        self._row = {trial.id: s for s, trial in enumerate(members.trials)}
        self._trial = members.trials[0]
        self._network, training, validation = sequences_of(members)
        self._flat, self._adam = members.flat.clone(), members.adam.clone()
        self._training, self._validation = copy(training), copy(validation)
        device, trial = self._flat.device, self._trial
        self._batches = trial.train_size // trial.batch
        self._order = torch.arange(trial.train_size, device=device).repeat(self.members, 1)
        self._corrections = self._flat.new_zeros(self._batches, 2, self.members, 1)
        self._number = torch.zeros(1, dtype=torch.int64, device=device)
        self._places = torch.arange(trial.batch, device=device).expand(self.members, -1)
        self._train_sums: Sums = {}
        self._validation_sums: Sums = {}
        whole, rest = divmod(trial.val_size, trial.batch)
        held_out = ((self._validate, whole), (self._validate_rest, int(rest > 0)))
        self._train, *evaluations = replays(
            [
                (self._update, self._train_sums),
                *((body, self._validation_sums) for body, n in held_out if n),
            ],
            lambda: self._begin(members),
            device,
            pool,
        )
        self._evaluations = list(zip(evaluations, (n for _, n in held_out if n), strict=True))

    def _begin(self, members: Members) -> Tensor:
        """Takes over what `members` are; their rows."""
        rows = torch.tensor([self._row[trial.id] for trial in members.trials]).to(self._flat.device)
        self._flat[rows] = members.flat
        self._adam.first[rows], self._adam.second[rows] = members.adam.first, members.adam.second
        zero(self._number)
        return rows

    def epoch(self, members: Members, rates: np.ndarray) -> Means:
        rows = self._begin(members)
        _, training, _ = sequences_of(members)
        self._order[rows] = training.order(members.trials, members.epochs)
        self._corrections[:, :, rows] = members.adam.corrections(rates, self._batches)
        zero(*self._train_sums.values(), *self._validation_sums.values())
        for _ in range(self._batches):
            self._train()
        zero(self._number)
        for evaluation, times in self._evaluations:
            for _ in range(times):
                evaluation()
        means = means_of(
            self._trial,
            {name: value[rows] for name, value in self._train_sums.items()},
            {name: value[rows] for name, value in self._validation_sums.items()},
        )
        steps = members.adam.steps + self._batches
        adam = Adam(self._adam.first[rows], self._adam.second[rows], steps)
        members.flat, members.adam = self._flat[rows], adam  # at once, for memory may run out here
        return means

    def _update(self) -> None:
        """The batch whose number is in `_number`."""
        columns = self._order.unflatten(1, (self._batches, -1)).index_select(1, self._number)
        (correction,) = self._corrections.index_select(0, self._number)
        x, targets = self._training.chosen(columns.squeeze(1))
        network, trial = self._network, self._trial
        sums = update_(network, trial, self._flat, self._adam, correction, x, targets)
        _add(self._train_sums, sums)
        self._number.add_(1)

    def _validate(self) -> None:
        """Likewise, of the validation data; all of these batches are whole."""
        self._evaluate(self._places + self._number * self._trial.batch)
        self._number.add_(1)

    def _validate_rest(self) -> None:
        """The sequences after the last whole batch."""
        rest = self._trial.val_size % self._trial.batch
        self._evaluate(self._places[:, :rest] + (self._trial.val_size - rest))

    def _evaluate(self, columns: Tensor) -> None:
        x, targets = self._validation.chosen(columns)
        _add(self._validation_sums, evaluate(self._network, self._flat, x, targets))


def _add(sums: Sums, values: dict[str, Float[Tensor, "S"]]) -> None:
    """Adds in place; into memory of its own, that no other graph uses."""
    for name, value in values.items():
        if name not in sums:
            sums[name] = torch.zeros_like(value)
        sums[name].add_(value)


def zero(*tensors: Tensor) -> None:
    """In place."""
    for tensor in tensors:
        tensor.zero_()


def replays(
    bodies: Sequence[tuple[Body, Sums]],
    begin: Callable[[], object],
    device: torch.device,
    pool: Pool,
) -> list[Body]:
    """What repeats each of the bodies, which add to sums, each to its own or to those of others.

    It is tried: a graph that does not what its operations do would spoil results unseen. `begin`
    comes before each, and makes all that they read what it was: that rates are zero yet does not
    keep the parameters of a member with an infinite gradient.

    All run before the first is captured: graphs keep their memory, and share it.
    """

    def once(run: Body, sums: Sums) -> Sums:
        begin()
        zero(*sums.values())
        run()
        return {name: value.clone() for name, value in sums.items()}

    expected = [once(partial(warmed_up, body, device), sums) for body, sums in bodies]
    made = [capture(body, device, pool) for body, _ in bodies]
    for again, (_, sums), first in zip(made, bodies, expected, strict=True):
        found = once(again, sums)
        for name in found.keys() & {"loss", "norm"}:
            if not torch.allclose(found[name], first[name], rtol=1e-3, equal_nan=True):
                raise RuntimeError(
                    f"a replayed CUDA graph gives another {name} than its operations; "
                    "train with --cuda-graphs off"
                )
    return made


def captured(body: Body, device: torch.device) -> Body:
    """Does the work of `body`, and returns what does it again: on CUDA the replay of its graph."""
    warmed_up(body, device)
    return capture(body, device, Pool())


def warmed_up(body: Body, device: torch.device) -> None:
    """Runs `body` as capturing needs it: libraries set themselves up, and tensors that it makes to
    keep are made outside of the graph's memory."""
    if device.type != "cuda":
        return body()
    with torch.cuda.device(device):
        aside = _aside(device)
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            body()
        torch.cuda.current_stream().wait_stream(aside)
    return None


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """Where all warm up: cuBLAS keeps memory for every stream that it has worked on, and no graph's
    may lie outside of its pool, as it would if its stream were warmed up on."""
    return torch.cuda.Stream(device)


def capture(body: Body, device: torch.device, pool: Pool) -> Body:
    """The replay of a graph of `body`, which has been warmed up; off CUDA `body` itself."""
    if device.type != "cuda":
        return body
    with torch.cuda.device(device):
        return pool.capture(body)
