"""The command line that asks for a study again, made from the study alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnn_study.config import Study
from rnn_study.flags.study import Preset
from rnn_study.flags.words import written
from rnn_study.search import Search


def command(presets: Mapping[str, Preset], study: Study, data: Path | None = None) -> str:
    """A line that asks for `study`: the preset that is nearest to it, and what differs.

    `data`: the folder of the text that it reads, if that is not the project's own.

    However it was asked for, and whatever its storage: equal studies have equal lines.
    """
    differing = {name: _differing(study, preset.study) for name, preset in presets.items()}
    name = min(differing, key=lambda name: len(differing[name]))
    line = ["python", _script(), "--preset", name]
    for flag, value in differing[name].items():
        line += ["--" + flag.replace("_", "-"), *([] if value is True else written(flag, value))]
    if data != presets[name].data:
        line += ["--data", str(data)]
    return shlex.join(line)


def options(study: Study) -> dict[str, Any]:
    """The options of a study's searches by the names of their flags, if it searches."""
    search = next(iter(study.searches().values()), None)
    return {} if search is None else _options(search)


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
