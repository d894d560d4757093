"""What a member of a pack needs in memory, known before anything trains.

An optimiser step runs once on torch's `meta` device, where tensors have shapes but no values, and
the bytes that are alive at the same time are counted. So the numbers follow the code, whatever the
cell and the task.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rnn_study.cells import CELLS
from rnn_study.kernels import in_place
from rnn_study.tasks import TASKS, sequence_task
from rnn_study.training import reading
from rnn_study.training.adam import Adam
from rnn_study.training.cross_entropy import aligned
from rnn_study.training.network import Network
from rnn_study.training.step import update_
from rnn_study.training.streams import Segment
from rnn_study.training.tied import TiedNetwork
from rnn_study.trials import Trial, pack_shape

_STEPS = 32
"""Time steps of the measured batch, at most; see `_step`."""
_MANY = 16
"""Members of a measured pack, where they share something."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one member of a pack in training, and of what all of them share."""

    state: int
    """Parameters and both moments, twice: an epoch works on copies."""
    data: int
    """Its sequences with their targets, training and validation, and their order. Members with the
    same data seed share them, so this is the most that they take."""
    step: int
    """The most that is alive within an optimiser step beside these: activations, gradients."""
    shared: int = 0
    """What a step needs once, however many the members: on `cuda` the outputs of a language
    model, which are made for one member after another."""

    @property
    def total(self) -> int:
        """All of one member."""
        return self.state + self.data + self.step

    def of_pack(self, members: int) -> int:
        """All of a pack."""
        return self.shared + members * self.total

    def members(self, budget: float) -> int:
        """How many fit into so many bytes together."""
        return max(0, int((budget - self.shared) / self.total))


def bytes_per_member(trial: Trial, device: str = "cpu") -> int:
    """What one member of a pack of such trials needs, without what a pack needs once."""
    return footprint(trial, device).total


def footprint(trial: Trial, device: str = "cpu") -> Footprint:
    """What a pack of such trials needs, by what it is for.

    On `cuda` it is what the kernels need: they keep more, to work faster. Takes some 0.2 s, 0.5 s
    with kernels; the first 2 s more, as torch then imports its compiler.
    """
    return _footprint(pack_shape(trial), device == "cuda")


@lru_cache(maxsize=1024)
def _footprint(shape: Trial, kernels: bool) -> Footprint:
    if TASKS[shape.task].reads_text:
        inputs, found = shape.hidden, _footprint_of_reading(shape, kernels)
    else:
        inputs, network = sequence_task(shape.task).inputs, Network(shape)
        found = Footprint(2 * 3 * 4 * network.size, _data(shape), _step(shape, network))
    if not kernels:
        return found
    sizes = shape.length, shape.batch, inputs, shape.hidden, found.step
    return replace(found, step=found.step + CELLS[shape.cell].kernel_bytes(*sizes))


def _data(shape: Trial) -> int:
    drawn = sequence_task(shape.task).sequences(0, "train", shape.length, 1)
    sequences = shape.train_size + shape.val_size
    return sequences * (drawn.inputs.nbytes + drawn.targets.nbytes) + 8 * shape.train_size


def _step(shape: Trial, network: Network) -> int:
    """The most bytes that are alive within `update_`.

    Measured on a batch of the same number of time steps in all, in sequences that are at most
    `_STEPS` long: what is kept over time is the same, and the loop over time is short. What lives
    for one step only is counted too wide, by some percent of the whole.
    """
    task = network.task
    drawn = task.sequences(0, "train", shape.length, 1)
    steps = min(shape.length, _STEPS)
    batch = math.ceil(shape.batch * shape.length / steps)
    flat, correction = torch.empty(1, network.size, device="meta"), torch.empty(2, 1, 1).to("meta")
    adam = Adam.zeros(flat)
    every = (batch, steps) if task.every_step else (batch,)
    targets = torch.empty(1, *every, dtype=torch.from_numpy(drawn.targets).dtype, device="meta")
    first = task.encode(torch.from_numpy(drawn.inputs[:, :1]))  # (1, 1, I)
    with _Alive() as alive:
        x = first.new_empty(1, steps, batch, *first.shape[2:], device="meta")
        update_(network, shape, flat, adam, correction, x, targets)
    return alive.most


def _footprint_of_reading(shape: Trial, kernels: bool) -> Footprint:
    """Likewise, of a segment of a text. Its members read the same tokens."""
    network = (_InPlace if kernels else TiedNetwork)(shape)
    data = 4 * (shape.train_size + shape.val_size + shape.test_size)
    one = _step_of_reading(shape, network, 1)
    if not kernels:
        return Footprint(2 * 3 * 4 * network.size, data, one)
    # the most is alive in the loss, shared part and all, or in what each does for itself later on:
    # a share of a pack of many is enough for both
    each = _step_of_reading(shape, network, _MANY) // _MANY
    return Footprint(2 * 3 * 4 * network.size, data, each, one - each)


class _InPlace(TiedNetwork):
    """Its loss needs the memory that the kernel's does."""

    @staticmethod
    def loss(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        return in_place.linear_cross_entropy(
            hidden, *aligned(weight, bias), targets, lambda outputs, *_: outputs[:, 0].clone()
        )


def _step_of_reading(shape: Trial, network: TiedNetwork, members: int) -> int:
    """The most bytes that are alive within `reading.update_` of so many."""
    steps = min(shape.length, _STEPS)
    batch = math.ceil(shape.batch * shape.length / steps)
    flat = torch.empty(members, network.size, device="meta")
    adam, correction = Adam.zeros(flat), torch.empty(2, members, 1, device="meta")
    words = torch.empty(steps, batch, dtype=torch.int32, device="meta")
    state = flat.new_empty(members, batch, network.cell.state_size(shape.hidden))
    with _Alive() as alive:
        keys = words.new_empty(members, dtype=torch.int64)
        segment = Segment(words, words)
        reading.update_(network, shape, flat, adam, correction, segment, state, keys)
    return alive.most


class _Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are made within it and have not been freed."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return  # a view, or changed in place

        def free(_: object) -> None:
            del self._known[key]
            self._now -= size

        self._known[key] = weakref.ref(storage, free)
        self._now += size
        self.most = max(self.most, self._now)
