"""What a member of a pack needs in memory, known before anything trains.

An optimiser step runs once on torch's `meta` device, where tensors have shapes but no values, and
the bytes that are alive at the same time are counted. So the numbers follow the code, whatever the
cell and the task.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rnn_study.cells import CELLS
from rnn_study.kernels import more_bytes
from rnn_study.tasks import TASKS, sequence_task
from rnn_study.training import reading
from rnn_study.training.adam import Adam
from rnn_study.training.network import Network
from rnn_study.training.step import update_
from rnn_study.training.streams import Segment
from rnn_study.training.tied import TiedNetwork
from rnn_study.trials import Trial, pack_shape

_STEPS = 32
"""Time steps of the measured batch, at most; see `_step`."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one member of a pack in training."""

    state: int
    """Parameters and both moments, twice: an epoch works on copies."""
    data: int
    """Its sequences with their targets, training and validation, and their order. Members with the
    same data seed share them, so this is the most that they take."""
    step: int
    """The most that is alive within an optimiser step beside these: activations, gradients."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.data + self.step


def bytes_per_member(trial: Trial, device: str = "cpu") -> int:
    """What one member of a pack of such trials needs; a pack of S needs S times that.

    On `cuda` it is what the kernels need: they keep more, to work faster.
    """
    found = footprint(trial)
    if device != "cuda":
        return found.total
    task, gates = TASKS[trial.task], CELLS[trial.cell].gates
    inputs = trial.hidden if task.reads_text else sequence_task(trial.task).inputs
    sizes = gates, trial.length, trial.batch, inputs, trial.hidden
    return found.total + more_bytes(*sizes, found.step)


def footprint(trial: Trial) -> Footprint:
    """What one member of a pack of such trials needs, by what it is for. Takes some 0.2 s."""
    return _footprint(pack_shape(trial))


@lru_cache(maxsize=1024)
def _footprint(shape: Trial) -> Footprint:
    if TASKS[shape.task].reads_text:
        return _footprint_of_reading(shape)
    network = Network(shape)
    return Footprint(2 * 3 * 4 * network.size, _data(shape), _step(shape, network))


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


def _footprint_of_reading(shape: Trial) -> Footprint:
    """Likewise, of a segment of a text. Its members read the same tokens."""
    network = TiedNetwork(shape)
    steps = min(shape.length, _STEPS)
    batch = math.ceil(shape.batch * shape.length / steps)
    flat, correction = torch.empty(1, network.size, device="meta"), torch.empty(2, 1, 1).to("meta")
    adam = Adam.zeros(flat)
    words = torch.empty(steps, batch, dtype=torch.int32, device="meta")
    state = flat.new_empty(1, batch, network.cell.state_size(shape.hidden))
    with _Alive() as alive:
        keys = words.new_empty(1, dtype=torch.int64)
        segment = Segment(words, words)
        reading.update_(network, shape, flat, adam, correction, segment, state, keys)
    data = 4 * (shape.train_size + shape.val_size + shape.test_size)
    return Footprint(2 * 3 * 4 * network.size, data, alive.most)


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
