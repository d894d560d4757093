"""`Trial` and `Pack`: what trains, frozen, validated and hashed.

A trial's `id` is a hash of everything that determines its result, so the same trial has the same id
in every study, on every machine and in every pack.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from rnn_study.cells import CELLS
from rnn_study.errors import (
    require,
    require_member,
    require_positive,
    require_share,
    require_values,
    require_whole,
)
from rnn_study.tasks import TASKS

NUMERICS = 7
"""Raised by hand when a change of the code changes results; part of every trial's id."""

WIDEST = 4096
"""Most hidden units: the weights of one LSTM take 0.3 GB then, and an epoch hours."""
LEVELS = 256
"""Dropout is decided by a byte."""
LONGEST = 6000
"""Most characters of a setting as JSON: MLflow would cut a longer one, and it could not be read."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one network is trained. The defaults are those of the paper's symbol classification."""

    hidden: int = 200
    """Hidden units of the recurrent layer, at most 4096."""
    epochs: int = 15_000
    """Most epochs (passes over the training data) of a trial; it ends earlier when solved."""
    batch: int = 100
    """Sequences in a batch; the training data must divide into whole batches."""
    train_size: int = 1000
    """Training sequences; of a text, tokens from its beginning (0: all)."""
    val_size: int = 1000
    """Validation sequences; of a text, tokens from its beginning (0: all)."""
    test_size: int = 0
    """Tokens of the test text, from its beginning (0: all); of a task that reads a text."""
    decay_epochs: tuple[int, ...] | Mapping[str, tuple[int, ...]] = (500, 1000, 2000)
    """Epochs after which the learning rate is multiplied by --decay: for all cells, or for those
    named alone, as `lstm=500,1000`."""
    decay: float = 0.1
    """Factor of the learning rate at each of --decay-epochs."""
    clip: float = 0.25
    """Largest norm of a network's gradient; a larger gradient is scaled down to it."""
    batch_loss: Literal["mean", "sum"] = "mean"
    """A batch's loss is the mean over its sequences, or their sum as in the authors' code."""
    tf32: bool = False
    """Multiply matrices in TF32, with 10 bits of mantissa instead of 23: faster on a GPU that has
    it, and other results. It needs --device cuda."""
    dynamics_every: int = 0
    """Epochs between two looks at a network's attractors; it also has one at its end. 0: none."""
    patience: int = 0
    """The learning rate is multiplied by --decay after more than so many epochs without a better
    validation loss, instead of at --decay-epochs; 0: it is not."""
    least_rate: float = 0.0
    """A trial ends when its learning rate falls below this."""
    orthogonal_rate: float = 1.0
    """Learning rate of an orthogonal recurrent matrix as a share of the other parameters', for the
    cells that have one."""
    dropout: float = 0.0
    """Share of the recurrent layer's inputs and outputs that training leaves out, in steps of
    1/256; of a task that reads a text."""
    vocabulary: int = 0
    """Most frequent words that a network knows, the others are <unk>; of a text. 0: all."""
    words: tuple[str, ...] = ()
    """Words of a text that are held as inputs when attractors are looked at, and fed as the first
    when a network reads its own words; their outputs are watched."""

    def __post_init__(self) -> None:
        self._set("hidden", require_whole("hidden", self.hidden, 1, WIDEST))
        for name in ("epochs", "batch"):
            self._set(name, require_whole(name, getattr(self, name), 1))
        task = TASKS.get(str(getattr(self, "task", "")))
        least = 0 if task is not None and task.reads_text else 1
        for name in ("train_size", "val_size"):
            self._set(name, require_whole(name, getattr(self, name), least))
        for name in ("test_size", "patience", "vocabulary"):
            self._set(name, require_whole(name, getattr(self, name), 0))
        self._set("decay_epochs", by_cell("decay_epochs", self.decay_epochs, _epochs))
        self._set("decay", require_positive("decay", self.decay))
        self._set("clip", require_positive("clip", self.clip))
        require_member("batch_loss", self.batch_loss, ("mean", "sum"))
        # NumPy's too: rows of data frames hold it
        either = isinstance(self.tf32, (bool, np.bool_))
        require(either, "tf32", self.tf32, "use True or False")
        self._set("tf32", bool(self.tf32))
        every = require_whole("dynamics_every", self.dynamics_every, 0)
        self._set("dynamics_every", every)
        self._set("least_rate", require_share("least_rate", self.least_rate))
        self._set("orthogonal_rate", require_positive("orthogonal_rate", self.orthogonal_rate))
        self._set("dropout", require_share("dropout", self.dropout))
        happens = self.dropout == 0 or 0 < round(self.dropout * LEVELS) < LEVELS
        require(happens, "dropout", self.dropout, f"use 0, or from 1/{LEVELS} to 255/{LEVELS}")
        self._set("words", _brief("words", require_values("words", self.words, least=0)))

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
    corpus: str = ""
    """The text that is read, as `Corpus.id`: a hash of its content."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_member("task", self.task, TASKS)
        require_member("cell", self.cell, CELLS)
        of_study = isinstance(self.decay_epochs, Mapping)
        require(not of_study, "decay_epochs", self.decay_epochs, "use the epochs of this cell")
        require(isinstance(self.corpus, str), "corpus", self.corpus, "use the id of a text")
        TASKS[self.task].check(self)
        require(
            self.orthogonal_rate == 1 or CELLS[self.cell].orthogonal is not None,
            "orthogonal_rate",
            self.orthogonal_rate,
            f"use 1, as {self.cell} has no orthogonal matrix",
        )
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
        return digest({"numerics": NUMERICS, **asdict(self)})

    @property
    def condition(self) -> str:
        """Cell, length and learning rate, as people write them: `lstm, length 50, rate 0.01`."""
        return f"{self.cell}, length {self.length}, rate {self.learning_rate:g}"

    @cached_property
    def cost(self) -> float:
        """Floating-point operations of the products, if it trains to its last epoch.

        Of those with the recurrent matrix, and of what the task says of its own.
        """
        task = TASKS[self.task]
        # backward costs twice
        sequences = self.epochs * (3 * self.train_size + self.val_size + self.test_size)
        steps = sequences * (1 if task.reads_text else self.length)
        return steps * (2.0 * CELLS[self.cell].gates * self.hidden**2 + task.cost(self))


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

    @cached_property
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


Size = Callable[[Trial, int], int]
"""The most trials in a pack: of a trial of the shape, and how many of that shape there are."""


def most_in_pack(size: int | Size, trial: Trial, due: int) -> int:
    """What `size` comes to where `due` trials of the shape of `trial` are to be packed."""
    return require_whole("pack_size", size if isinstance(size, int) else size(trial, due), 1)


def packs(trials: Iterable[Trial], size: int | Size) -> list[Pack]:
    """Trials of equal shape in packs of at most `size`, evenly filled, the costliest pack first."""
    by_shape: dict[Trial, list[Trial]] = {}
    for trial in trials:
        by_shape.setdefault(pack_shape(trial), []).append(trial)
    made = []
    for members in by_shape.values():
        count = math.ceil(len(members) / most_in_pack(size, members[0], len(members)))
        bounds = [round(i * len(members) / count) for i in range(count + 1)]
        made += [Pack(tuple(members[a:b])) for a, b in pairwise(bounds)]
    return sorted(made, key=lambda pack: -pack.cost)


def by_cell(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
    """A setting that is one value for all cells, or a value for each of some, checked."""
    if not isinstance(value, Mapping):
        return check(name, value)
    for cell in value:
        require_member(name, cell, CELLS)
    return {cell: check(name, each) for cell, each in value.items()}


def _epochs(name: str, values: Any) -> tuple[int, ...]:
    given = require_values(name, values, least=0)
    return _brief(name, tuple(require_whole(name, each, 1) for each in given))


def _brief(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, which must not take too much room where they are stored."""
    room = len(json.dumps(values, default=str))
    allowed = f"use at most {LONGEST:,} characters in all, as JSON; these have {room:,}"
    require(room <= LONGEST, name, f"{len(values)} values", allowed)
    return values


_ABSENT = {
    "test_size": 0,
    "dynamics_every": 0,
    "data_seeds": 1,
    "tf32": False,
    "patience": 0,
    "least_rate": 0.0,
    "orthogonal_rate": 1.0,
    "dropout": 0.0,
    "vocabulary": 0,
    "words": (),
    "corpus": "",
}
"""Fields that came after the first ids were given, and the value that leaves those as they were."""


def digest(values: Mapping[str, Any]) -> str:
    """A hash of plain values, the same on every machine."""
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    present = {k: v for k, v in values.items() if k not in _ABSENT or plain[k] != _ABSENT[k]}
    text = json.dumps(present, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
