"""`Metric`: the number that a task's networks are compared by, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metric:
    """What tables, figures and progress say about a task; they know no task by its name."""

    name: str
    """`loss` or one of `Task.scores`, as in a history's columns `train_NAME` and `val_NAME`."""
    title: str
    """In words, for people."""
    larger_is_better: bool
    baseline: float | None
    """The value of an answer that takes no notice of the input; None: a text has its own."""
    baseline_name: str
    """Such an answer in a word or two, beside its line in figures; empty: it has no line."""
    goal: float | None = None
    """A trial is solved, and ends, when its validation value reaches this; None: it never is."""
    logarithmic: bool = False
    """Values span orders of magnitude: a logarithmic axis, and significant digits in tables."""
    digits: int | None = None
    """Significant digits for people, in plain numbers, if other than the axis asks for."""
    precision: float | None = None
    """Width of an interval that is narrow enough; None: a fifth of the baseline."""
    relative: bool = False
    """Whether `precision` is a share of the value itself."""
    tested: bool = False
    """There are test data as well: a history has `test_NAME`."""

    @property
    def column(self) -> str:
        """The validation value, in histories and runs."""
        return f"val_{self.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """What a run is summarised by: the last validation value, and the best of all epochs.

        With test data the test value of that best epoch too.
        """
        at_best = [f"{self.test_column}_at_best"] * self.tested
        return (self.column, f"best_{self.column}", *at_best)

    def words(self, column: str) -> str:
        """One of `columns` for people: `best validation accuracy`."""
        known = ("validation {}", "best validation {}", "test {} at the best epoch")
        return known[self.columns.index(column)].format(self.title)

    @property
    def test_column(self) -> str:
        """The test value, in histories; that of the best epoch has a name of its own."""
        return f"test_{self.name}"

    def best(self, values: Iterable[float]) -> float:
        """The best of some finite values."""
        return float(max(values) if self.larger_is_better else min(values))

    def solved(self, values: np.ndarray) -> np.ndarray:
        """Whether validation values reach the goal, elementwise. NaN does not."""
        if self.goal is None:
            return np.zeros(np.shape(values), dtype=bool)
        return values >= self.goal if self.larger_is_better else values <= self.goal

    @property
    def width(self) -> float:
        """Of an interval that is narrow enough: a share of the value where `relative`."""
        if self.precision is not None:
            return self.precision
        assert self.baseline is not None
        return self.baseline / 5

    def rounded(self, value: float) -> float:
        """The value to four decimals, or to four significant digits."""
        return float(f"{value:.4g}") if self.logarithmic else round(value, 4)

    def text(self, value: float, decimals: int = 3) -> str:
        """The value for people: `0.997`; logarithmic with two significant digits, `4.8e-3`."""
        if self.digits is not None:
            plain = np.format_float_positional(value, self.digits, unique=False, fractional=False)
            return plain.rstrip(".")
        if not self.logarithmic:
            return f"{value:.{decimals}f}"
        if 0.095 <= value < 99.5:
            return f"{value:.{2 - (value >= 0.995) - (value >= 9.95)}f}"
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits}e{int(exponent)}"
