"""The command line of a study: every field of `Study` and `Execution` is a flag, made by tyro.

tyro splits the line and writes the help from the fields' docstrings; `words` reads the values;
the dataclasses check them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import tyro
from rich.console import Console
from rich.table import Table

from rnn_study.cells import CELLS
from rnn_study.config import Study, Training
from rnn_study.errors import InvalidInput, require_member
from rnn_study.execution import Execution
from rnn_study.flags.fields import explained, flag, nearest
from rnn_study.flags.script import program, split
from rnn_study.flags.words import Range, checked
from rnn_study.phrases import count
from rnn_study.search import Search
from rnn_study.tasks import TASKS

DEFAULT = "laptop"
"""The preset that is meant where none is named."""


_DATA = """Folder with the train.txt, valid.txt and test.txt that a language model reads; none: a
small text that the project makes itself."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A study and how it runs, under a name on the command line."""

    study: Study
    execution: Execution = field(default_factory=Execution)
    data: Path | None = None
    """The folder of the text that it reads; None: the project's own, or it reads none."""
    description: str
    """What it is for and how long it takes, in a few words."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for."""

    study: Study
    execution: Execution
    dry_run: bool
    data: Path | None = None
    status: bool = False


def parse(presets: Mapping[str, Preset], question: str, argv: Sequence[str]) -> Request:
    """What `argv` asks for: the preset of its `--preset`, changed by its other flags.

    One of `presets` is named `DEFAULT`. Raises InvalidInput for what cannot be used, and SystemExit
    after `--help`.
    """
    # The preset first, on its own: it has the defaults of all other flags.
    preset_flag = flag("preset", str, DEFAULT, "The study that the other flags change.")
    chooser: Any = make_dataclass("Chooser", [preset_flag])
    chosen, _ = tyro.cli(chooser, args=argv, add_help=False, return_unknown_args=True)
    name = checked("preset", chosen.preset)
    require_member("preset", name, presets)
    preset = presets[name]

    training = [f.name for f in fields(Training)]
    grid = [f.name for f in fields(Study) if f.name not in (*training, "corpus")]
    placement = [f.name for f in fields(Execution)]
    searching = [f.name for f in fields(Search) if f.name not in ("low", "high")]
    defaults = next(iter(preset.study.searches().values()), Search(1e-4, 1e-1))
    sections = {
        "study": _section(Study, grid, preset.study),
        "search": _section(Search, searching, defaults, "search_"),
        "training": _section(Training, training, preset.study),
        "execution": _section(Execution, placement, preset.execution),
    }
    data = flag("data", Path | None, preset.data, _DATA)
    status = flag("status", bool, False, "Show how far the study is, from MLflow; start nothing.")
    dry_run = flag("dry_run", bool, False, "Print the plan (trials, packs, time); start nothing.")
    nested = [
        (title, section, field(default_factory=section)) for title, section in sections.items()
    ]
    command: Any = make_dataclass("Command", [preset_flag, data, dry_run, status, *nested])
    made, unknown = split(command, argv, lambda: _introduce(presets, question))
    if unknown:
        options = [f"search_{name}" for name in searching]
        known = ["preset", "data", "dry_run", "status", *grid, *options, *training, *placement]
        raise InvalidInput("argument", unknown[0], nearest(unknown[0], known))
    values = {
        name: checked(name, value)
        for title in sections
        for name, value in vars(getattr(made, title)).items()
    }
    search = {name: values[f"search_{name}"] for name in searching}
    values["learning_rate"] = _searched(values["learning_rate"], search, defaults)
    return Request(
        Study(**{name: values[name] for name in (*training, *grid)}),
        Execution(**{name: values[name] for name in placement}),
        made.dry_run,
        checked("data", made.data),
        made.status,
    )


def _searched(rate: Any, options: Mapping[str, Any], defaults: Search) -> Any:
    """A learning rate as it was read, its ranges made into searches with these options."""
    given = {name: v for name, v in options.items() if v != getattr(defaults, name)}
    made = {}
    for cell, each in (rate if isinstance(rate, Mapping) else {"": rate}).items():
        if isinstance(each, Range):  # of the command line
            made[cell] = Search(each.low, each.high, **options)
        else:
            made[cell] = replace(each, **given) if isinstance(each, Search) else each
    if not any(isinstance(each, Search) for each in made.values()):
        for name, value in given.items():
            unused = "give a range to search: --learning-rate LOW:HIGH"
            raise InvalidInput(f"search_{name}", value, unused)
    return made if isinstance(rate, Mapping) else made[""]


def _section(
    cls: type, names: Sequence[str], defaults: Study | Search | Execution, prefix: str = ""
) -> type:
    """A dataclass of the named fields of `cls`: a section of the help.

    It checks nothing, so that no InvalidInput is raised within tyro.
    """
    hints, docs = get_type_hints(cls), explained(cls)
    flags = [
        flag(prefix + name, hints[name], getattr(defaults, name), docs[name]) for name in names
    ]
    summary = (cls.__doc__ or "").partition("\n")[0]
    return make_dataclass(cls.__name__, flags, namespace={"__doc__": summary})


def _introduce(presets: Mapping[str, Preset], question: str) -> None:
    """Print what tyro cannot know: the question, the presets with their size, examples."""
    console = Console(highlight=False)
    console.print(f"{' '.join(question.split())}\n\n[bold]presets[/]")
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    for name, preset in presets.items():
        trials = count(preset.study.size, "trial")
        default = " (the default)" if name == DEFAULT else ""
        table.add_row(f"[bold]{name}[/]", trials, _size(preset.study))
        table.add_row("", "", f"[dim]{preset.description}{default}[/]")
    console.print(table)
    console.print("\n[bold]examples[/]")
    for options, meaning in _EXAMPLES:
        line = f"{program()} {options}".strip()
        pieces = textwrap.wrap(line, 74, break_long_words=False, break_on_hyphens=False)
        console.print(f"  [dim]# {meaning}[/]")
        console.print("  " + " \\\n      ".join(pieces), markup=False, soft_wrap=True)
    console.print(f"\n[bold]cells[/]  {', '.join(CELLS)}\n[bold]tasks[/]  {', '.join(TASKS)}\n")


_EXAMPLES = (
    ("", f"the preset {DEFAULT}; the same again goes on where it stopped"),
    ("--preset smoke --dry-run", "print a plan, start nothing"),
    ("--cells lstm orthogonal --lengths 50 100 --seeds 16", "ask for other trials"),
    ("--cells lstm orthogonal --learning-rate lstm=1e-2 orthogonal=1e-3", "a rate for each"),
    (
        "--cells lstm --learning-rate 1e-4:1e-1 --search-trials 16 --search-seeds 4",
        "search the rate for each length, then train the best with fresh seeds",
    ),
    ("--preset paper --help", "another preset's defaults"),
)


def _size(study: Study) -> str:
    axes = ((study.cells, "cell"), (study.lengths, "length"), (study.seeds, "seed"))
    grid = " x ".join(count(len(values), what) for values, what in axes)
    return f"{grid}, {study.epochs:,} epochs, hidden {study.hidden}"
