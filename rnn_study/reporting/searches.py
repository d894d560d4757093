"""What a search proposed and found: as text for a terminal, and as files in a study's folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from rnn_study import figures
from rnn_study.config import Study
from rnn_study.phrases import count
from rnn_study.reporting import files, layout
from rnn_study.reporting.tables import GAP, Shown
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
        "  The seeds of a rate train in one pack.\n"
        f"  The best of each search trains with {fresh}; the tables are of those."
    )
    title = layout.title("Searches of the learning rate, all at once")
    return Group(Text(), title, layout.indented(table), Text(f"\n{note}", style="dim"))


def table(study: Study, outcomes: Outcomes) -> Shown:
    """The rate that each search found, and what stopping early cost and saved: a row a condition.

    - learning_rate, value: the winner and its objective; missing before the search is over.
    - tried, asked_for: proposals that have their results, of how many.
    - stopped: of these, given up early; epochs: trained for all of them; epochs_saved: at most.
    """
    rows: list[dict[str, Any]] = []
    for (cell, length), search in study.searches().items():
        proposals = outcomes.proposals
        mine = proposals[(proposals["cell"] == cell) & (proposals["length"] == length)]
        best = mine[mine["winner"]]
        rows.append(
            {
                "cell": cell,
                "length": length,
                "learning_rate": float(best["learning_rate"].iloc[0]) if len(best) else math.nan,
                "objective": search.objective,
                "value": float(best["value"].iloc[0]) if len(best) else math.nan,
                "tried": len(mine),
                "asked_for": search.trials,
                "stopped": int(mine["stopped_at"].notna().sum()),
                "epochs": int(mine["epochs"].sum()),
                "epochs_saved": int(mine["epochs_saved"].sum()),
            }
        )
    metric = TASKS[study.task].metric
    text = pd.DataFrame(
        {
            "cell": [row["cell"] for row in rows],
            "length": [str(row["length"]) for row in rows],
            "rate": [_or_gap(row["learning_rate"], "{:g}".format) for row in rows],
            "value": [_or_gap(row["value"], _written(row["objective"], metric)) for row in rows],
            "tried": [f"{row['tried']}/{row['asked_for']}" for row in rows],
            "stopped": [str(row["stopped"]) for row in rows],
            "epochs": [f"{row['epochs']:,}" for row in rows],
            "saved": [f"{row['epochs_saved']:,}" for row in rows],
        }
    )
    words = " or ".join(sorted({figures.searches.WORDS[row["objective"]] for row in rows}))
    note = (
        f"Rate: what the search found; value: {words} over the search's own seeds. Stopped: rates "
        "given up early; epochs: trained for all rates, and saved at most by stopping."
    )
    return Shown(pd.DataFrame(rows).set_index(["cell", "length"]), text, note)


def found(study: Study, outcomes: Outcomes) -> Group:
    """`table`, for a terminal, with a word on rates at the edge of their range."""
    rates, shown, _ = table(study, outcomes)
    drawn = layout.table(*shown.columns)
    for row in shown.to_numpy(object):
        drawn.add_row(*row)
    notes = []
    found_rates = rates["learning_rate"].tolist()
    for ((cell, length), search), rate in zip(study.searches().items(), found_rates, strict=True):
        if math.isnan(rate):
            notes.append(f"  {cell}, length {length}: not finished; the same command goes on.")
        place = math.log(rate / search.low) / math.log(search.high / search.low)
        if place < EDGE or place > 1 - EDGE:  # neither, where there is none yet
            notes.append(f"  {cell}, length {length}: at the edge of the range; widen it.")
    words = " or ".join(sorted({figures.searches.WORDS[each] for each in rates["objective"]}))
    given_up = outcomes.proposals[outcomes.proposals["stopped_at"].notna()]
    notes += [
        f"  value: {words} over the search's own seeds.",
        f"  stopped: rates given up early, after {given_up['epochs'].sum():,} epochs in all;"
        f" saved up to {given_up['epochs_saved'].sum():,}.",
    ]
    return Group(
        layout.title("Learning rates found"),
        layout.indented(drawn),
        Text("\n" + "\n".join(notes), style="dim"),
    )


def write(study: Study, outcomes: Outcomes, folder: Path) -> files.Written:
    """Writes into `folder`, and returns the paths of: `table` as learning_rates.csv, .md and .tex;
    search.csv, one row a proposal; search_seeds.csv, one row a proposal and seed; and the figure
    search.png and search.pdf."""
    paths = files.write_table(folder / "learning_rates", table(study, outcomes))
    for name, text in outcomes.texts().items():
        paths[files.write_text(folder / name, text)] = ""
    if outcomes.proposals.empty:
        return paths
    metric = TASKS[study.task].metric
    with files.own_style():
        figure = figures.searches.searches(outcomes.proposals, outcomes.seeds, metric)
        caption = "Searches: the seeds of every proposed rate; the line is the rate found."
        return paths | files.write_figure(folder / "search", figure, caption)


def _or_gap(value: float, write: Callable[[float], str]) -> str:
    return write(value) if math.isfinite(value) else GAP


def _written(objective: str, metric: Metric) -> Callable[[float], str]:
    """How a value of the objective is written."""
    return "{:.2f}".format if objective == "solved" else metric.text
