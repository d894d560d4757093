"""`InvalidInput`, which means "what you asked for cannot be done", and the checks that raise it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


class InvalidInput(ValueError):
    """A setting that cannot be used: one line with the field, the value and what is allowed.

    Raised before any run or actor is created. The command line prints it and exits with 2.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed; {allowed}")
        self.field, self.value, self.allowed = field, value, allowed

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, object, str]]:
        return InvalidInput, (self.field, self.value, self.allowed)  # so that it passes processes


class Away(RuntimeError):
    """MLflow or a bucket cannot be reached, or refuses. Nothing is lost: the same command goes on.

    The command line prints it and exits with 1.
    """


def require(ok: bool, name: str, value: object, allowed: str) -> None:
    """Raises InvalidInput unless `ok`."""
    if not ok:
        raise InvalidInput(name, value, allowed)


LARGEST = 2**63 - 1
"""Largest whole number that a table's column holds."""
MOST = 100_000
"""Of trials in a study: more are a slip of the hand; nobody could wait for them."""


def require_whole(name: str, value: Any, low: int, high: int = LARGEST) -> int:
    """The value as an int; it must be a whole number (no bool) from `low` to `high`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    require(bool(whole and value >= low), name, value, f"use a whole number of at least {low}")
    require(value <= high, name, value, f"use a whole number of at most {high}")
    return int(value)


def require_positive(name: str, value: Any) -> float:
    """The value as a float; it must be a finite number above zero."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    positive = bool(number and 0 < value <= sys.float_info.max)
    require(positive, name, value, "use a finite number above 0")
    return float(value)


def require_share(name: str, value: Any) -> float:
    """The value as a float; it must be a number from 0 to below 1."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    require(bool(number and 0 <= value < 1), name, value, "use a number from 0 to below 1")
    return float(value)


def require_values(name: str, values: Any, least: int = 1) -> tuple[Any, ...]:
    """The values as a tuple; they must be a list of at least `least`, each there once."""
    several = isinstance(values, Iterable) and not isinstance(values, str)
    require(several, name, values, "use a list of values")
    found = tuple(values)
    require(len(found) >= least, name, found, "use at least one")
    once = len({repr(value) for value in found}) == len(found)  # repr: lists are no set's members
    require(once, name, found, "use each value once")
    return found


def require_member(name: str, value: object, known: Iterable[str]) -> None:
    """Requires one of the `known` values."""
    require(value in (options := sorted(known)), name, value, f"choose from {', '.join(options)}")
