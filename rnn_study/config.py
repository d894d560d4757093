"""What is asked: a `Study`, frozen, validated and hashed, which expands to `Trial`s.

Trials and packs are in `trials`, and are imported from here. How trials run (devices, packs,
folders) is `execution.Execution`; it never changes a result.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rnn_study.cells import CELLS
from rnn_study.errors import (
    MOST,
    require,
    require_member,
    require_positive,
    require_values,
    require_whole,
)
from rnn_study.search import Search
from rnn_study.tasks import TASKS
from rnn_study.trials import Pack, Size, Training, Trial, by_cell, digest, pack_shape, packs

__all__ = ["Condition", "Pack", "Size", "Study", "Training", "Trial", "pack_shape", "packs"]

Condition = tuple[str, int]
"""Cell and length: what a searched learning rate belongs to."""


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
    """Each draws initial weights and the order of the batches. On a command line one number n means
    the seeds 0 to n - 1, several numbers mean those, a:b means a to b - 1."""
    learning_rate: float | Search | Mapping[str, float | Search]
    """Adam's initial learning rate: one number, one per cell as `lstm=1e-2 orthogonal=1e-3`, or
    LOW:HIGH, to search between them for each cell and length."""
    data_seed: int = 0
    """Draws the data, the same for every seed."""
    tie_seeds: bool = False
    """Draw the data from each trial's own seed, as the authors' code does."""
    corpus: str = ""
    """The text that is read, by a hash of its content; --data finds it."""
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
        self._set("learning_rate", by_cell("learning_rate", self.learning_rate, _rate))
        require(isinstance(self.tie_seeds, bool), "tie_seeds", self.tie_seeds, "use True or False")
        self._set("data_seeds", require_whole("data_seeds", self.data_seeds, 1, MOST))
        crossed_and_tied = self.tie_seeds and self.data_seeds > 1
        require(not crossed_and_tied, "data_seeds", self.data_seeds, "use 1 with tie_seeds")
        draws = not TASKS[self.task].reads_text
        for name, none in (("data_seeds", 1), ("tie_seeds", False)):
            value = getattr(self, name)
            require(draws or value == none, name, value, "a text is read, not drawn")
        searches = self.searches()
        for search in searches.values():
            search.check(TASKS[self.task].metric, self.seeds)
        self._check_size()
        self.trials({condition: search.low for condition, search in searches.items()})  # check all

    def _check_size(self) -> None:
        """Refuses more trials than `MOST`, those of searches among them."""
        axes = (self.cells, self.lengths, self.seeds)
        count = math.prod(map(len, axes)) * self.data_seeds + self.searching
        allowed = f"use fewer cells, lengths, seeds, data seeds and rates to search: at most {MOST}"
        require(count <= MOST, "trials", count, allowed)

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
        of_cell = {
            "decay_epochs": self.decay_epochs_of(cell),
            "orthogonal_rate": self.orthogonal_rate if CELLS[cell].orthogonal else 1.0,
        }
        return Trial(
            **self.training() | of_cell,
            task=self.task,
            cell=cell,
            length=length,
            learning_rate=learning_rate,
            seed=seed,
            data_seed=seed if self.tie_seeds else own,
            corpus=self.corpus,
        )

    def _found(self, cell: str, length: int, rates: Mapping[Condition, float]) -> float | None:
        rate = self.learning_rate_of(cell)
        return rates.get((cell, length)) if isinstance(rate, Search) else rate

    @property
    def size(self) -> int:
        """Trials of its tables."""
        return len(self.trials(dict.fromkeys(self.searches(), 1.0)))

    @property
    def searching(self) -> int:
        """Trials that its searches propose at most, beside those of its tables."""
        return sum(search.size for search in self.searches().values())

    @property
    def id(self) -> str:
        """16 hexadecimal digits, equal for equal declarations."""
        return digest(self.declaration())

    def declaration(self) -> dict[str, Any]:
        """The study as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))


def _rate(name: str, value: Any) -> float | Search:
    return value if isinstance(value, Search) else require_positive(name, value)
