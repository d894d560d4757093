"""Plans and tables as text for a terminal or a job's log, 80 columns wide.

`aggregate` has the numbers and `report` the files; here they are only laid out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnn_study.config import Pack, Study, Trial
from rnn_study.execution import Execution
from rnn_study.tally import about, count, duration, seed_range, seeds

CELLS_ABREAST = 3
"""As many as fit 80 columns."""


def plan(
    study: Study,
    execution: Execution,
    packs: Sequence[Pack],
    finished: int,
    resources: str,
    seconds: float | None,
) -> Group:
    """What would train, on what and for how long, and where its results would go."""
    members: dict[str, list[Trial]] = defaultdict(list)
    in_packs: dict[str, int] = defaultdict(int)
    for pack in packs:
        for trial in pack.trials:
            members[trial.condition].append(trial)
        for condition in {trial.condition for trial in pack.trials}:
            in_packs[condition] += 1
    table = _table("cell", "length", "rate", "seeds", "trials", "packs", "share of work")
    cost = sum(pack.cost for pack in packs)
    for condition in dict.fromkeys(trial.condition for trial in study.trials()):
        if trials := members[condition]:
            table.add_row(
                trials[0].cell,
                str(trials[0].length),
                f"{trials[0].learning_rate:g}",
                seed_range(trials),
                str(len(trials)),
                str(in_packs[condition]),
                _percent(sum(trial.cost for trial in trials) / cost),
            )
    waiting = sum(len(pack.trials) for pack in packs)
    todo = f"{waiting} to train in {count(len(packs), 'pack')}" if packs else "nothing to train"
    head = f"{study.name}: {count(len(study.trials()), 'trial')}, {finished} finished, {todo}"
    facts = {
        "a trial": f"at most {study.epochs:,} epochs, hidden {study.hidden}, batch {study.batch}",
        "resources": resources,
        "time": "not known here" if seconds is None else f"about {about(seconds)} at most",
        "results": str(execution.results(study)),
        "tracking": without_password(execution.resolved_tracking_uri),
    }
    return Group(Text(head, style="bold"), *([_indented(table)] if packs else []), _facts(facts))


def length_table(table: pd.DataFrame) -> Group:
    """`aggregate.length_table` with a block of columns a cell."""
    cells = list(table.columns.get_level_values(0).unique())
    blocks = []
    for start in range(0, len(cells), CELLS_ABREAST):
        abreast = cells[start : start + CELLS_ABREAST]
        block = _table(*map(str, table.index.names))
        for cell in abreast:
            block.add_column(f"{cell}\nmedian   best  solved", justify="right", no_wrap=True)
        for key, row in zip(table.index, table.to_dict("records"), strict=True):
            values = (
                f"{_number(row[cell, 'median'], 3):>6}  {_number(row[cell, 'best'], 3):>5}  "
                f"{row[cell, 'solved'] if isinstance(row[cell, 'solved'], str) else '':>6}"
                for cell in abreast
            )
            block.add_row(*map(_plain, key if isinstance(key, tuple) else (key,)), *values)
        blocks.append(_indented(block))
    return Group(_title("Validation accuracy over the seeds, by sequence length"), *blocks)


def seed_sensitivity(table: pd.DataFrame) -> Group:
    """`aggregate.seed_sensitivity`: a section a cell and learning rate, a row a length."""
    sections: dict[str, Table] = {}
    for key, row in zip(table.index, table.to_dict("records"), strict=True):
        place = dict(zip(table.index.names, key, strict=True))
        cell, length = place.pop("cell"), place.pop("length")
        names = ("rate" if name == "learning_rate" else name for name in place)
        settings = map("{} {}".format, names, map(_plain, place.values()))
        rows = sections.setdefault(", ".join((cell, *settings)), _sensitivity_rows())
        limit = f">{_number(row['epochs_observed'], 0)}"
        missing = ("diverged", "failed", "unfinished")
        rows.add_row(
            str(length),
            f"{row['solved']}/{row['seeds']}",
            _range(row["share_low"], row["share_high"]),
            _number(row["iqm"], 3),
            _range(row["q1"], row["q3"]),
            _range(row["min"], row["max"]),
            limit if math.isnan(row["epochs_to_solve"]) else _number(row["epochs_to_solve"], 0),
            Text(
                ",\n".join(f"{row[what]} {what}" for what in missing if row[what]), style="yellow"
            ),
        )
    note = (
        "  95%: exact interval of the share solved. IQM: interquartile mean.\n"
        "  epochs: median to solve, by Kaplan and Meier; > where under half had by then."
    )
    body = [part for section, rows in sections.items() for part in (Text(f"  {section}"), rows)]
    title = _title("Sensitivity of the validation accuracy to the seed")
    head = _sensitivity_rows(header=True)
    return Group(title, Text(), head, *body, Text(f"\n{note}", style="dim"))


def _sensitivity_rows(header: bool = False) -> Table:
    """A table for one section; all have the same columns, and the first has their titles."""
    titles = ("length", "solved", "95%", "IQM", "quartiles", "range", "epochs")
    rows = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_header=header
    )
    for title, width in zip(titles, (8, 6, 9, 5, 9, 9, 6), strict=True):
        rows.add_column(title, justify="right", no_wrap=True, width=width)
    rows.add_column()
    return rows


def failures(trials: Sequence[Trial], reasons: Mapping[str, str]) -> Group:
    """The failed trials, those of one reason together."""
    by_reason: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.id in reasons:
            by_reason[" ".join(reasons[trial.id].split())].append(trial)
    lines = []
    for reason, failed in by_reason.items():
        for condition in dict.fromkeys(trial.condition for trial in failed):
            members = [trial for trial in failed if trial.condition == condition]
            lines.append(f"  {condition}, {seeds(members)}")
        lines.append(f"    {reason}")
    return Group(
        Text(f"{count(len(reasons), 'trial')} failed", style="bold red"), Text("\n".join(lines))
    )


def times(seconds: Mapping[str, float]) -> str:
    """Where the wall time went, from `scheduling.Report.seconds`."""
    wall, ray, train, log = (_seconds(seconds[name]) for name in ("wall", "ray", "train", "log"))
    if not seconds["train"]:
        return f"Took {wall}; every trial had finished earlier."
    return f"Took {wall}, {ray} of it to start Ray; packs trained {train} in all; logging {log}."


def without_password(uri: str) -> str:
    """`uri`, fit for a log that others may read."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        text = title in ("cell", "seeds")
        table.add_column(title, justify="left" if text else "right", no_wrap=True)
    return table


def _facts(facts: Mapping[str, str]) -> Padding:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        grid.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    return _indented(grid)


def _indented(table: Table) -> Padding:
    return Padding(table, (1, 0, 0, 2), expand=False)


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 60 else duration(value)


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _percent(share: float) -> str:
    return "<1%" if share < 0.005 else f"{share:.0%}"


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.2f}-{high:.2f}"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
