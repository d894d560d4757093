"""The command line of a script: every field of a frozen dataclass is a flag, made by tyro."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar, get_type_hints

import tyro

from rnn_study.errors import InvalidInput
from rnn_study.flags.fields import explained, flag, nearest
from rnn_study.flags.words import checked

T = TypeVar("T")

OK, REFUSED = 0, 2


def main(
    settings: type[T], work: Callable[[T], None], text: str, argv: Sequence[str] | None = None
) -> int:
    """Do `work` on the settings that `argv` gives, and return the exit code.

    `text` goes above the list of flags in `--help`. 0: done; 2: the input cannot be used.
    """
    try:
        work(parse(settings, text, sys.argv[1:] if argv is None else argv))
    except InvalidInput as refused:
        print("error:", " ".join(str(refused).split()), file=sys.stderr)
        return REFUSED
    return OK


def parse(settings: type[T], text: str, argv: Sequence[str]) -> T:
    """The settings that `argv` gives; the dataclass checks them.

    Raises InvalidInput, and SystemExit after `--help`.
    """
    hints, docs = get_type_hints(settings), explained(settings)
    defaults: Any = fields(settings)  # type: ignore[arg-type]
    flags = [flag(f.name, hints[f.name], f.default, docs[f.name]) for f in defaults]
    command: Any = make_dataclass("Command", flags)
    made, unknown = split(command, argv, lambda: print(wrapped(text), end="\n\n"))
    if unknown:
        raise InvalidInput("argument", unknown[0], nearest(unknown[0], (f.name for f in defaults)))
    return settings(**{name: checked(name, value) for name, value in vars(made).items()})


def split(
    command: Any, argv: Sequence[str], introduce: Callable[[], None]
) -> tuple[Any, list[str]]:
    """An instance of the dataclass `command`, whose fields are flags, and the words that are none.

    `introduce`: prints what goes above the flags in `--help`, after which SystemExit is raised.
    """
    with _until_the_reader_leaves():
        if {"-h", "--help"} & set(argv):
            introduce()
        made: tuple[Any, list[str]] = tyro.cli(
            command,
            prog=program(),
            args=argv,
            return_unknown_args=True,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    return made


def program() -> str:
    """What was typed to start this: `python FILE`, or `python -m MODULE`."""
    module = sys.modules["__main__"].__spec__
    if module is None:
        return f"python {sys.argv[0]}"
    return f"python -m {module.name.removesuffix('.__main__')}"


@contextmanager
def _until_the_reader_leaves() -> Iterator[None]:
    """Around a help text: `head` or a pager may have enough before its end."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(OK) from None


def wrapped(text: str) -> str:
    """Paragraphs in lines of 80 columns; indented ones are left as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(p if p[:1] == " " else textwrap.fill(p, 80) for p in paragraphs)
