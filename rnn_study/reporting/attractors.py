"""What a study's attractors did, over its seeds: a table, the list of bifurcations, the figures.

For studies with `dynamics_every`. The paper's Figures 4 and 7, and its Supplementary Figures 3 and
4, each of one seed of a cell: numbers first, the table has them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from rnn_study import aggregate, figures, statistics
from rnn_study.config import Trial
from rnn_study.dynamics import Kind
from rnn_study.phrases import label
from rnn_study.reporting import files, layout, tables, terminal
from rnn_study.tasks import sequence_task
from rnn_study.training import Album
from rnn_study.training.watch import column

Albums = Callable[[str], Album | None]
"""Reads the album of a run by its id."""

BIRTH = "Neimark-Sacker"
"""The bifurcation at which an oscillation is born."""

COLUMNS = (
    "seeds", "single", "single_low", "single_high", "neimark_sacker", "neimark_sacker_low",
    "neimark_sacker_high", "others", "final", "final_count",
)  # fmt: skip
"""Of `attractor_table`."""


def attractor_table(
    runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame], bifurcations: pd.DataFrame
) -> pd.DataFrame:
    """Over the seeds of each condition, how attractors changed in training.

    - seeds: finished runs that were watched.
    - single: of these, with one attractor, a fixed point, under every input at every look;
      single_low, single_high: the exact 95% interval of their share (Clopper and Pearson).
    - neimark_sacker: in which a fixed point under the task's first shown input lost its stability
      to an oscillation; neimark_sacker_low, neimark_sacker_high likewise.
    - others: that passed a bifurcation of another kind there.
    - final, final_count: the most common kind of attractor there at the end, and in how many; of
      two as common, the one that is decided.
    """
    levels = [*aggregate.CONDITION, *aggregate.varying(runs)]
    watched = runs[(runs["status"] == "FINISHED") & runs["trial_id"].isin([*histories])]
    rows, keys = [], []
    for key, group in aggregate.conditions(watched[watched["dynamics_every"] > 0], levels):
        rows.append(_row(group, histories, bifurcations))
        keys.append(key)
    index = pd.MultiIndex.from_arrays(
        [pd.Index([k[i] for k in keys], tupleize_cols=False) for i in range(len(levels))],
        names=levels,
    )
    return pd.DataFrame(rows, index=index, columns=[*COLUMNS])


def _row(
    group: pd.DataFrame, histories: Mapping[str, pd.DataFrame], bifurcations: pd.DataFrame
) -> dict[str, Any]:
    task = sequence_task(group["task"].iloc[0])
    probes, shown = list(task.probes()), task.shown[0]
    single, ends = 0, []
    for trial_id in group["trial_id"]:
        looks = histories[trial_id].dropna(subset=[column(shown, "kind")])
        kinds = looks[[column(probe, "kind") for probe in probes]].to_numpy()
        counts = looks[[column(probe, "attractors") for probe in probes]].to_numpy()
        single += bool(((kinds == Kind.FIXED_POINT) & (counts == 1)).all())
        ends.append(int(looks[column(shown, "kind")].iloc[-1]))
    passed = bifurcations[bifurcations["trial_id"].isin(group["trial_id"])]
    # without any, it has no other columns
    passed = passed.reindex(columns=["trial_id", "bifurcation", "gains"]).dropna()
    is_birth = (passed["bifurcation"] == BIRTH).to_numpy()
    births = passed.loc[is_birth & aggregate.flags(passed["gains"]), "trial_id"].nunique()
    others = passed.loc[~is_birth, "trial_id"].nunique()
    alone, born = statistics.share(single, len(group)), statistics.share(births, len(group))
    final = max(Kind, key=lambda kind: (ends.count(kind), kind != Kind.UNDECIDED))
    return {
        "seeds": len(group),
        "single": single,
        "single_low": alone.low,
        "single_high": alone.high,
        "neimark_sacker": births,
        "neimark_sacker_low": born.low,
        "neimark_sacker_high": born.high,
        "others": others,
        "final": final.label,
        "final_count": ends.count(final),
    }


def found(table: pd.DataFrame, probe: str) -> Group:
    """`attractor_table` for a terminal: a section a cell and learning rate, a row a length.

    `probe`: the task's first shown input.
    """
    titles = ("length", "one fixed point", "oscillation born", "at the end")
    rows: dict[str, list[tuple[str, ...]]] = {}
    for key, row in zip(table.index, table.to_dict("records"), strict=True):
        section, length = terminal.place_of(table.index.names, key)
        counts = (
            f"{row[name]}/{row['seeds']}  {row[f'{name}_low']:.2f}-{row[f'{name}_high']:.2f}"
            for name in ("single", "neimark_sacker")
        )
        end = f"{row['final']} {row['final_count']}/{row['seeds']}"
        rows.setdefault(section, []).append((str(length), *counts, end))
    shown = layout.sections(titles, rows)
    note = (
        "  one fixed point: seeds with no other attractor, whatever the input and epoch;\n"
        "  with the exact 95% interval of their share. Born: by a Neimark-Sacker\n"
        f"  bifurcation, under the input {probe}; as is the attractor at the end."
    )
    return Group(layout.title("Attractors over the seeds"), shown, Text(f"\n{note}", style="dim"))


def write(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    bifurcations: pd.DataFrame,
    albums: Albums,
    folder: Path,
) -> files.Written:
    """Writes tables and figures into `folder`; returns their paths. `table`: `attractor_table`.

    attractors as CSV, Markdown and LaTeX; bifurcations.csv; orbits as PNG and PDF, and orbits_CELL
    for tasks with several outputs.
    """
    paths = files.write_table(folder / "attractors", tables.attractors(table))
    of_runs = runs[["trial_id", "cell", "length", "learning_rate", "seed"]]
    listed = of_runs.merge(bifurcations, on="trial_id").drop(columns="trial_id")
    paths[files.write_text(folder / "bifurcations.csv", listed.to_csv(index=False))] = ""
    drawn = _drawn(runs, albums)
    with files.own_style():
        if drawn:
            figure = figures.portraits.compared(drawn)
            caption = "Orbits under a constant input, against the epoch: one network of each cell."
            paths |= files.write_figure(folder / "orbits", figure, caption)
        for title, (trial, album) in drawn.items():
            if len(sequence_task(trial.task).answers) > 1:
                figure = figures.portraits.all_pairs(title, trial, album)
                caption = f"{title}: orbits of every output under every input, against the epoch."
                paths |= files.write_figure(folder / f"orbits_{trial.cell}", figure, caption)
    return paths


def _drawn(runs: pd.DataFrame, albums: Albums) -> dict[str, tuple[Trial, Album]]:
    """One network of each cell, by title: at the longest length that a seed of it has solved.

    The first seed that solved it; the first of all at the longest length where none solved any.
    """
    watched = runs[(runs["status"] == "FINISHED") & (runs["dynamics_every"] > 0)]
    chosen: dict[str, tuple[Trial, Album]] = {}
    for (cell,), group in aggregate.conditions(watched, ["cell"]):
        solved = group[aggregate.flags(group["solved"])]
        best = (solved if len(solved) else group).sort_values(
            ["length", "learning_rate", "seed", "data_seed"], ascending=[False, True, True, True]
        )
        row = best.iloc[0]
        album = albums(row["run_id"])
        if album is not None:
            trial = aggregate.trial_of(row)
            chosen[f"{label(cell)}, length {trial.length}, seed {trial.seed}"] = trial, album
    return chosen
