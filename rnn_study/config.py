"""What is asked: `Study`, `Trial` and `Pack`, frozen, validated and hashed.

A `Study` expands to its `Trial`s. A trial's `id` is a hash of everything that determines its
result, so the same trial has the same id in every study, on every machine and in every pack.
How trials run (devices, packs, folders) is `execution.Execution`; it never changes a result.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from rnn_study.cells import CELLS
from rnn_study.errors import (
    require,
    require_member,
    require_positive,
    require_values,
    require_whole,
)
from rnn_study.search import Search
from rnn_study.tasks import TASKS

NUMERICS = 1
"""Raised by hand when a change of the code changes results; part of every trial's id."""

Condition = tuple[str, int]
"""Cell and length: what a searched learning rate belongs to."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one network is trained. The defaults are those of the paper's symbol classification."""

    hidden: int = 200
    """Hidden units of the recurrent layer."""
    epochs: int = 15_000
    """Most epochs (passes over the training data) of a trial; it ends earlier when solved."""
    batch: int = 100
    """Sequences in a batch; the training data must divide into whole batches."""
    train_size: int = 1000
    """Training sequences."""
    val_size: int = 1000
    """Validation sequences."""
    decay_epochs: tuple[int, ...] | Mapping[str, tuple[int, ...]] = (500, 1000, 2000)
    """Epochs after which the learning rate is multiplied by --decay: for all cells, or for those
    named alone, as `lstm=500,1000`."""
    decay: float = 0.1
    """Factor of the learning rate at each of --decay-epochs."""
    clip: float = 0.25
    """Largest norm of a network's gradient; a larger gradient is scaled down to it."""
    batch_loss: Literal["mean", "sum"] = "mean"
    """A batch's loss is the mean over its sequences, or their sum as in the authors' code."""
    dynamics_every: int = 0
    """Epochs between two looks at a network's attractors; it also has one at its end. 0: none."""

    def __post_init__(self) -> None:
        for name in ("hidden", "epochs", "batch", "train_size", "val_size"):
            self._set(name, require_whole(name, getattr(self, name), 1))
        self._set("decay_epochs", _by_cell("decay_epochs", self.decay_epochs, _epochs))
        self._set("decay", require_positive("decay", self.decay))
        self._set("clip", require_positive("clip", self.clip))
        require_member("batch_loss", self.batch_loss, ("mean", "sum"))
        every = require_whole("dynamics_every", self.dynamics_every, 0)
        self._set("dynamics_every", every)
        require(
            self.train_size % self.batch == 0,
            "batch",
            self.batch,
            f"use a divisor of train_size = {self.train_size}",
        )

    def _set(self, name: str, value: object) -> None:
        """Stores a value in its plain type: equal settings are written, and hashed, alike."""
        object.__setattr__(self, name, value)

    def training(self) -> dict[str, Any]:
        """The fields of `Training` alone, by name."""
        return {f.name: getattr(self, f.name) for f in fields(Training)}


@dataclass(frozen=True, kw_only=True)
class Trial(Training):
    """One condition (cell, length, learning rate) with one seed: one network, one MLflow run."""

    task: str
    """A name in `TASKS`."""
    cell: str
    """A name in `CELLS`."""
    length: int
    """Sequence length, time steps."""
    learning_rate: float
    """Adam's initial learning rate."""
    seed: int
    """Draws the initial weights and the order of the batches."""
    data_seed: int = 0
    """Draws the data."""
    decay_epochs: tuple[int, ...] = (500, 1000, 2000)
    """Epochs after which the learning rate is multiplied by `decay`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_member("task", self.task, TASKS)
        require_member("cell", self.cell, CELLS)
        of_study = isinstance(self.decay_epochs, Mapping)
        require(not of_study, "decay_epochs", self.decay_epochs, "use the epochs of this cell")
        low = TASKS[self.task].min_length
        self._set("length", require_whole("length", self.length, 1))
        require(
            self.length >= low,
            "length",
            self.length,
            f"the {self.task} task needs at least {low} time steps",
        )
        self._set("learning_rate", require_positive("learning_rate", self.learning_rate))
        self._set("seed", require_whole("seed", self.seed, 0))
        self._set("data_seed", require_whole("data_seed", self.data_seed, 0))

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, equal for equal trials on every machine."""
        return _digest({"numerics": NUMERICS, **asdict(self)})

    @property
    def condition(self) -> str:
        """Cell, length and learning rate, as people write them: `lstm, length 50, rate 0.01`."""
        return f"{self.cell}, length {self.length}, rate {self.learning_rate:g}"

    @property
    def cost(self) -> float:
        """Floating-point operations of the recurrent products, if it trains to its last epoch."""
        sequences = self.epochs * (3 * self.train_size + self.val_size)  # backward costs twice
        return 2.0 * sequences * self.length * CELLS[self.cell].gates * self.hidden**2


@dataclass(frozen=True)
class Pack:
    """Trials that train together as one stacked computation; only seeds and rates differ."""

    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        require(len(self.trials) > 0, "pack", self.trials, "use at least one trial")
        ids = {trial.id for trial in self.trials}
        require(len(ids) == len(self.trials), "pack", sorted(ids), "use each trial once")
        shapes = {pack_shape(trial) for trial in self.trials}
        require(len(shapes) == 1, "pack", len(shapes), "use trials of one shape")

    @property
    def cost(self) -> float:
        """Floating-point operations of all its trials, at most."""
        return sum(trial.cost for trial in self.trials)

    @property
    def name(self) -> str:
        """What its members share, for people: `lstm, length 50, 8 trials`."""
        first = self.trials[0]
        return f"{first.cell}, length {first.length}, {len(self.trials)} trials"

    def to_json(self) -> str:
        return json.dumps([asdict(trial) for trial in self.trials])

    @classmethod
    def from_json(cls, text: str) -> Pack:
        return cls(tuple(Trial(**fields_) for fields_ in json.loads(text)))


def pack_shape(trial: Trial) -> Trial:
    """What trials must share to train in one pack: all but seeds and learning rate."""
    return replace(trial, seed=0, data_seed=0, learning_rate=1.0)


def packs(trials: Iterable[Trial], size: int) -> list[Pack]:
    """Trials of equal shape in packs of at most `size`, evenly filled, the costliest pack first."""
    require_whole("pack_size", size, 1)
    by_shape: dict[Trial, list[Trial]] = {}
    for trial in trials:
        by_shape.setdefault(pack_shape(trial), []).append(trial)
    made = []
    for members in by_shape.values():
        count = math.ceil(len(members) / size)
        bounds = [round(i * len(members) / count) for i in range(count + 1)]
        made += [Pack(tuple(members[a:b])) for a, b in pairwise(bounds)]
    return sorted(made, key=lambda pack: -pack.cost)


@dataclass(frozen=True, kw_only=True)
class Study(Training):
    """The declared grid of trials: every cell at every length with every seed."""

    name: str
    """Name of the study, of its MLflow experiment and of its results folder."""
    task: str
    """Data set, loss and metrics."""
    cells: tuple[str, ...]
    """Recurrent architectures to compare."""
    lengths: tuple[int, ...]
    """Sequence lengths, time steps."""
    seeds: Sequence[int]
    """One number n means the seeds 0 to n - 1; several numbers mean those; a:b means a to b - 1."""
    learning_rate: float | Search | Mapping[str, float | Search]
    """Adam's initial learning rate: one number, one per cell as `lstm=1e-2 orthogonal=1e-3`, or
    LOW:HIGH, to search between them for each cell and length."""
    data_seed: int = 0
    """Draws the data, the same for every seed."""
    tie_seeds: bool = False
    """Draw the data from each trial's own seed, as the authors' code does."""
    data_seeds: int = 1
    """Data seeds, from --data-seed on; every seed is trained on each: a crossed design, which tells
    the data's part in the variance from the weights'."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.name, str)
            and bool(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", self.name)),
            "name",
            self.name,
            "use at most 100 letters, digits, '.', '_' and '-', a letter or digit first",
        )
        for axis in ("cells", "lengths", "seeds"):
            self._set(axis, require_values(axis, getattr(self, axis)))
        for cell in self.cells:
            require_member("cells", cell, CELLS)
        for axis in ("lengths", "seeds"):
            self._set(axis, tuple(require_whole(axis, value, 0) for value in getattr(self, axis)))
        self._set("data_seed", require_whole("data_seed", self.data_seed, 0))
        require_member("task", self.task, TASKS)
        self._set("learning_rate", _by_cell("learning_rate", self.learning_rate, _rate))
        require(isinstance(self.tie_seeds, bool), "tie_seeds", self.tie_seeds, "use True or False")
        self._set("data_seeds", require_whole("data_seeds", self.data_seeds, 1))
        crossed_and_tied = self.tie_seeds and self.data_seeds > 1
        require(not crossed_and_tied, "data_seeds", self.data_seeds, "use 1 with tie_seeds")
        searches = self.searches()
        for search in searches.values():
            search.check(TASKS[self.task].metric, self.seeds)
        self.trials({condition: search.low for condition, search in searches.items()})  # check all

    def decay_epochs_of(self, cell: str) -> tuple[int, ...]:
        """The epochs after which the rate of `cell` falls; none where only others are named."""
        epochs = self.decay_epochs
        return epochs.get(cell, ()) if isinstance(epochs, Mapping) else epochs

    def learning_rate_of(self, cell: str) -> float | Search:
        """The initial learning rate of `cell`, or how it is found."""
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            needed = f"give one for each cell, {cell} too"
            require(cell in rate, "learning_rate", dict(rate), needed)
            rate = rate[cell]
        return rate

    def searches(self) -> dict[Condition, Search]:
        """The conditions whose learning rate is searched, in the order of `trials`."""
        rates = {cell: self.learning_rate_of(cell) for cell in self.cells}
        return {
            (cell, length): rate
            for cell, rate in rates.items()
            for length in self.lengths
            if isinstance(rate, Search)
        }

    def trials(self, rates: Mapping[Condition, float] | None = None) -> list[Trial]:
        """Every trial of the grid, by cell, then length, then seed, then data seed.

        `rates`: what searches have found. Conditions whose search has found none are left out.
        """
        return [
            self.trial(cell, length, rate, seed, data_seed)
            for cell in self.cells
            for length in self.lengths
            if (rate := self._found(cell, length, rates or {})) is not None
            for seed in self.seeds
            for data_seed in range(self.data_seed, self.data_seed + self.data_seeds)
        ]

    def trial(
        self,
        cell: str,
        length: int,
        learning_rate: float,
        seed: int,
        data_seed: int | None = None,
    ) -> Trial:
        """A trial with the settings of this study, and its data unless others are named."""
        own = self.data_seed if data_seed is None else data_seed
        return Trial(
            **self.training() | {"decay_epochs": self.decay_epochs_of(cell)},
            task=self.task,
            cell=cell,
            length=length,
            learning_rate=learning_rate,
            seed=seed,
            data_seed=seed if self.tie_seeds else own,
        )

    def _found(self, cell: str, length: int, rates: Mapping[Condition, float]) -> float | None:
        rate = self.learning_rate_of(cell)
        return rates.get((cell, length)) if isinstance(rate, Search) else rate

    @property
    def size(self) -> int:
        """Trials of its tables."""
        return len(self.trials(dict.fromkeys(self.searches(), 1.0)))

    @property
    def id(self) -> str:
        """16 hexadecimal digits, equal for equal declarations."""
        return _digest(self.declaration())

    def declaration(self) -> dict[str, Any]:
        """The study as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))


def _rate(name: str, value: Any) -> float | Search:
    return value if isinstance(value, Search) else require_positive(name, value)


def _by_cell(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
    """A setting that is one value for all cells, or a value for each of some, checked."""
    if not isinstance(value, Mapping):
        return check(name, value)
    for cell in value:
        require_member(name, cell, CELLS)
    return {cell: check(name, each) for cell, each in value.items()}


def _epochs(name: str, values: Any) -> tuple[int, ...]:
    return tuple(require_whole(name, each, 1) for each in require_values(name, values, least=0))


_ABSENT = {"dynamics_every": 0, "data_seeds": 1}
"""Fields that came after the first ids were given, and the value that leaves those as they were."""


def _digest(values: Mapping[str, Any]) -> str:
    present = {k: v for k, v in values.items() if k not in _ABSENT or v != _ABSENT[k]}
    text = json.dumps(present, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
