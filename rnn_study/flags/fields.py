"""Flags from the fields of dataclasses, for tyro."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import docstring_parser
import tyro

from rnn_study.flags.words import reader


def explained(cls: type) -> dict[str, str]:
    """What the fields of a dataclass mean, by name."""
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for base in reversed(cls.__mro__[:-1])
        for parameter in docstring_parser.parse_from_object(base).params
    }


def flag(name: str, hint: Any, default: Any, text: str) -> tuple[str, Any, Any]:
    """A field for `make_dataclass` that tyro makes a flag of."""
    unset = default is None or default is False  # the text says what that means
    metadata: list[object] = [tyro.conf.arg(help_behavior_hint="" if unset else None)]
    if hint is not bool:
        metadata.append(reader(name, hint))
    made = field(default_factory=lambda: default, metadata={"help": " ".join(text.split())})
    return name, Annotated[hint, *metadata], made


def nearest(word: str, names: Iterable[str]) -> str:
    """What to say of a word that is no flag: the nearest of those with these names."""
    flags = ["--" + name.replace("_", "-") for name in names]
    near = difflib.get_close_matches(word.partition("=")[0].replace("_", "-"), flags, 1)
    return f"did you mean {near[0]}?" if near else "--help lists what is"
