"""The command line of a script: every field of a frozen dataclass is a flag, made by tyro."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any, TypeVar, get_type_hints

import docstring_parser
import tyro

from rnn_study.errors import InvalidInput
from rnn_study.flags.words import checked, reader

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
    """The settings that `argv` gives; the dataclass checks them. Raises InvalidInput."""
    hints = get_type_hints(settings)
    docs = {p.arg_name: p.description for p in docstring_parser.parse_from_object(settings).params}
    defaults: Any = fields(settings)  # type: ignore[arg-type]
    flags = [_flag(f.name, hints[f.name], f.default, docs[f.name]) for f in defaults]
    command: Any = make_dataclass("Command", flags, namespace={"__doc__": text})
    made, unknown = tyro.cli(
        command,
        prog=f"python {sys.argv[0]}",
        args=argv,
        description=text,
        return_unknown_args=True,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    if unknown:
        names = ["--" + f.name.replace("_", "-") for f in defaults]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], names, 1)
        hint = f"did you mean {near[0]}?" if near else "--help lists what is"
        raise InvalidInput("argument", unknown[0], hint)
    return settings(**{name: checked(name, value) for name, value in vars(made).items()})


def _flag(name: str, hint: Any, default: Any, text: str | None) -> tuple[str, Any, Any]:
    made = field(default_factory=lambda: default, metadata={"help": text or ""})
    return name, Annotated[hint, reader(name, hint)], made
