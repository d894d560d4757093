"""The command line that asks for a study again, made from the study alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnn_study.config import Study
from rnn_study.errors import InvalidInput
from rnn_study.flags.study import Preset, parse
from rnn_study.flags.words import written
from rnn_study.search import Search

NONE = "# no command line asks for this study: it is made in Python"


def command(presets: Mapping[str, Preset], study: Study, data: Path | None = None) -> str:
    """A line that asks for `study`: the preset that is nearest to it, and what differs.

    `data`: the folder of the text that it reads, if that is not the project's own.

    However it was asked for, and whatever its storage: equal studies have equal lines. `NONE` where
    no line asks for it, as for searches with different options that no preset has.
    """
    differing = {name: _differing(study, preset.study) for name, preset in presets.items()}
    for name in sorted(differing, key=lambda name: len(differing[name])):
        line = ["--preset", name]
        for flag, value in differing[name].items():
            words = [] if value is True else written(flag, value)
            line += ["--" + flag.replace("_", "-"), *words]
        if data != presets[name].data:
            line += ["--data", str(data)]
        if _asks_for(presets, line, study, data):
            return shlex.join(["python", _script(), *line])
    return NONE


def _asks_for(
    presets: Mapping[str, Preset], line: list[str], study: Study, data: Path | None
) -> bool:
    if {"-h", "--help"} & set(line):  # a text may have such words
        return False
    try:
        asked = parse(presets, "", line)
    except InvalidInput:
        return False
    return (asked.study, asked.data) == (study, data)


def options(study: Study) -> dict[str, Any]:
    """The options of a study's searches by the names of their flags: by cell where they differ."""
    of_cells = {cell: _options(search) for (cell, _), search in study.searches().items()}
    made: dict[str, Any] = {}
    for name in next(iter(of_cells.values()), {}):
        values = {cell: each[name] for cell, each in of_cells.items()}
        first, *others = values.values()
        made[name] = values if any(other != first for other in others) else first
    return made


def _options(search: Search) -> dict[str, Any]:
    names = [field.name for field in fields(Search) if field.name not in ("low", "high")]
    return {f"search_{name}": getattr(search, name) for name in names}


def _differing(study: Study, preset: Study) -> dict[str, Any]:
    """The flags that make the one of the other, and their values."""
    of_preset = options(preset) or _options(Search(1e-4, 1e-1))
    values = {field.name: getattr(study, field.name) for field in fields(Study)}
    given = {name: v for name, v in values.items() if v != getattr(preset, name)}
    return given | {name: v for name, v in options(study).items() if v != of_preset[name]}


def _script() -> str:
    """The script that runs, as it lies in a clone."""
    path, clone = Path(sys.argv[0]).absolute(), Path(__file__).resolve().parents[2]
    return str(path.relative_to(clone)) if path.is_relative_to(clone) else path.name
