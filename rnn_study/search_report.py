"""What a search proposed and found: as text for a terminal, and as files in a study's folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from rnn_study import layout, report, search_figures
from rnn_study.config import Study
from rnn_study.tally import count
from rnn_study.tasks import TASKS, Metric

if TYPE_CHECKING:
    from rnn_study.scheduling import Outcomes, Searching

EDGE = 0.05
"""Share of a range, in logarithms, within which a rate found lies at its edge."""


def plan(study: Study, searches: Sequence[Searching]) -> Group:
    """What would be searched, before the trials of the table can train."""
    table = layout.table(
        "cell", "length", "between", "rates", "done", "seeds", "objective", "found"
    )
    for each in searches:
        search = each.search
        table.add_row(
            each.condition[0],
            str(each.condition[1]),
            f"{search.low:g} and {search.high:g}",
            str(search.trials),
            str(each.done),
            str(len(search.each_seed)),
            search.objective,
            "" if each.rate is None else f"{each.rate:g}",
        )
    first = searches[0].search
    early = "" if first.stop == "never" else "; hopeless ones stop early"
    fresh = count(len(study.seeds), "fresh seed")
    note = (
        f"  Optuna proposes {count(first.round, 'rate')} at a time{early}.\n"
        f"  The best of each search trains with {fresh}; the tables are of those."
    )
    title = layout.title("Searches of the learning rate, all at once")
    return Group(Text(), title, layout.indented(table), Text(f"\n{note}", style="dim"))


def found(study: Study, outcomes: Outcomes) -> Group:
    """The rate that each search found, and what stopping early cost and saved."""
    metric = TASKS[study.task].metric
    titles = ("cell", "length", "rate", "value", "tried", "stopped", "epochs", "saved")
    table = layout.table(*titles)
    notes = []
    proposals = outcomes.proposals
    for (cell, length), search in study.searches().items():
        mine = proposals[(proposals["cell"] == cell) & (proposals["length"] == length)]
        best = mine[mine["winner"]]
        rate, value = ("-", "-")
        if len(best):
            winner = float(best["learning_rate"].iloc[0])
            rate, value = f"{winner:g}", _value(best["value"].iloc[0], search.objective, metric)
            place = math.log(winner / search.low) / math.log(search.high / search.low)
            if not EDGE <= place <= 1 - EDGE:
                notes.append(f"  {cell}, length {length}: at the edge of the range; widen it.")
        table.add_row(
            cell,
            str(length),
            rate,
            value,
            f"{len(mine)}/{search.trials}",
            str(int(mine["stopped_at"].notna().sum())),
            f"{mine['epochs'].sum():,}",
            f"{mine['epochs_saved'].sum():,}",
        )
    objectives = {search.objective for search in study.searches().values()}
    words = " or ".join(search_figures.WORDS[each] for each in sorted(objectives))
    given_up = proposals[proposals["stopped_at"].notna()]
    notes += [
        f"  value: {words} over the search's own seeds.",
        f"  stopped: rates given up early, after {given_up['epochs'].sum():,} epochs in all;"
        f" saved up to {given_up['epochs_saved'].sum():,}.",
    ]
    return Group(
        layout.title("Learning rates found"),
        layout.indented(table),
        Text("\n" + "\n".join(notes), style="dim"),
    )


def write(study: Study, outcomes: Outcomes, folder: Path) -> list[Path]:
    """search.csv, one row a proposal, search_seeds.csv, one row a proposal and seed, and the figure
    search.png and search.pdf; returns their paths."""
    paths = [report.write_text(folder / name, text) for name, text in outcomes.texts().items()]
    if outcomes.proposals.empty:
        return paths
    metric = TASKS[study.task].metric
    with report.own_style():
        figure = search_figures.searches(outcomes.proposals, outcomes.seeds, metric)
        return paths + report.write_figure(folder / "search", figure)


def _value(value: Any, objective: str, metric: Metric) -> str:
    return f"{value:.2f}" if objective == "solved" else metric.text(float(value))
