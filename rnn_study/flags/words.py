"""Values from the words of a command line, and back.

Words that no value can be read from become an `Unreadable`, not an exception: tyro would catch that
and print a box of its own. Whether a value can be used is for the dataclasses to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from tyro.constructors import PrimitiveConstructorSpec

from rnn_study.cells import CELLS
from rnn_study.errors import MOST, InvalidInput
from rnn_study.search import Search

Read = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Unreadable:
    """Words that no value can be read from."""

    words: Sequence[str]
    allowed: str


class Range(NamedTuple):
    """A learning rate that is to be searched: `1e-4:1e-1`."""

    low: float
    high: float


def checked(name: str, value: Any) -> Any:
    """`value`; InvalidInput if it is Unreadable."""
    if isinstance(value, Unreadable):
        raise InvalidInput(name, " ".join(value.words), value.allowed)
    return value


def reader(name: str, hint: Any) -> PrimitiveConstructorSpec[Any]:
    """How tyro reads the field `name` of type `hint`, and writes its default in the help."""
    read, label = _read_and_label(name, hint)
    return PrimitiveConstructorSpec(
        nargs="*",  # whatever their number: `_one` refuses a wrong one in our own words
        metavar=label,
        instance_from_str=read,
        is_instance=lambda _: True,
        str_from_instance=lambda value: written(name, value),
    )


def _read_and_label(name: str, hint: Any) -> tuple[Read, str]:
    label = name.rpartition("_")[2].upper()  # --tracking-uri URI
    if hint in (int, int | None):
        return _one(int, "use a whole number"), "N"
    if hint == float | Literal["auto"]:
        return _one(_number_or_auto, "use a number or auto"), "X"
    if hint == int | Literal["auto"]:
        return _one(_whole_or_auto, "use a whole number or auto"), "N"
    if hint in (float, float | None):
        return _one(float, "use a number"), "X"
    if hint in (Path, Path | None):
        return _one(Path), "FILE" if name == "json" else "DIR"
    if hint == Path | str:
        return _one(str), "DIR|s3://BUCKET"
    if hint in (str, str | None):
        return _one(str), label
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        allowed = f"choose from {', '.join(choices)}"
        return _one(lambda word: choices[choices.index(word)], allowed), f"{{{','.join(choices)}}}"
    if hint == tuple[int, ...]:
        return _several(int, "use whole numbers"), f"{label.removesuffix('S')} ..."
    if hint == tuple[str, ...]:
        return _several(str, ""), f"{label.removesuffix('S')} ..."
    if hint == Sequence[int]:
        return _seeds, "N ..."
    if hint == int | Sequence[int]:
        return _count_or_seeds, "N ..."
    if hint == float | Search | Mapping[str, float | Search]:
        return _rates, "X ..."
    if hint == tuple[int, ...] | Mapping[str, tuple[int, ...]]:
        return _epochs, f"{label.removesuffix('S')} ..."
    raise TypeError(f"{name}: no way to read a {hint} from a command line")


def _one(kind: Callable[[str], Any], allowed: str = "") -> Read:
    def read(words: list[str]) -> Any:
        if len(words) != 1 or not words[0]:
            return Unreadable(words, "give one value")
        try:
            return kind(words[0])
        except ValueError:
            return Unreadable(words, allowed)

    return read


def _whole_or_auto(word: str) -> int | str:
    return word if word == "auto" else int(word)


def _number_or_auto(word: str) -> float | str:
    return word if word == "auto" else float(word)


def _several(kind: Callable[[str], Any], allowed: str) -> Read:
    def read(words: list[str]) -> Any:
        try:
            return tuple(map(kind, words))
        except ValueError:
            return Unreadable(words, allowed)

    return read


def _seeds(words: list[str]) -> Any:
    """`8` means 0 to 7, `3 5 8` those, `4:8` means 4 to 7."""
    allowed = "a number n for 0 to n - 1, several numbers, or a:b for a to b - 1"
    seeds: list[int] = []
    try:
        for word in words:
            low, colon, high = word.partition(":")
            several = colon or len(words) == 1
            first, last = (int(low), int(high)) if colon else (0, int(low))
            if several and last - first > MOST:
                return Unreadable(words, f"use at most {MOST} seeds")
            seeds.extend(range(first, last) if several else [last])
    except ValueError:
        return Unreadable(words, f"use {allowed}")
    return tuple(seeds) or Unreadable(words, f"use at least one seed: {allowed}")


def _count_or_seeds(words: list[str]) -> Any:
    """`4` means four seeds, anything else those."""
    if len(words) == 1 and ":" not in words[0]:
        return _one(int, "use a number of seeds, several seeds, or a:b for a to b - 1")(words)
    return _seeds(words)


def _rates(words: list[str]) -> Any:
    """`1e-2` or `1e-4:1e-1` for all cells, or `lstm=1e-2 orthogonal=1e-4:1e-1`."""
    allowed = f"use one number, or CELL=NUMBER with {', '.join(CELLS)}; LOW:HIGH to search"
    unreadable = Unreadable(words, allowed)
    try:
        if len(words) == 1 and "=" not in words[0]:
            return _rate(words[0])
        pairs = (word.partition("=") for word in words)
        rates = {cell: _rate(rate) for cell, _, rate in pairs}
    except ValueError:
        return unreadable
    complete = 0 < len(words) == len(rates)
    return rates if complete and set(rates) <= set(CELLS) else unreadable


def _rate(word: str) -> float | Range:
    low, colon, high = word.partition(":")
    return Range(float(low), float(high)) if colon else float(low)


def _epochs(words: list[str]) -> Any:
    """`500 1000` for all cells, or `lstm=500,1000 orthogonal=` (none) for those."""
    if not any("=" in word for word in words):
        return _several(int, "use whole numbers")(words)
    unreadable = Unreadable(words, f"use whole numbers, or CELL=N,N with {', '.join(CELLS)}")
    pairs = [word.partition("=") for word in words]
    try:
        epochs = {cell: tuple(map(int, text.split(",") if text else ())) for cell, _, text in pairs}
    except ValueError:
        return unreadable
    return epochs if len(epochs) == len(words) and set(epochs) <= set(CELLS) else unreadable


def written(name: str, value: Any) -> list[str]:
    """How `value` is written on the command line."""
    if isinstance(value, Search):
        return [f"{_number(value.low)}:{_number(value.high)}"]
    if isinstance(value, Mapping):
        return [f"{cell}={','.join(written(name, each))}" for cell, each in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        low, high = (value[0], value[-1] + 1) if name.endswith("seeds") else (0, 0)
        if high > low and tuple(value) == tuple(range(low, high)):
            return [f"{low}:{high}" if low else f"{high}"]
        return [word for item in value for word in written("", item)]
    return [_number(value) if isinstance(value, float) else str(value)]


def _number(value: float) -> str:
    """In six digits where they say it all."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
