"""What a study of language models found, over its seeds: tables and figures.

The paper's Figure 8 and Supplementary Figures 5 to 7, each of one seed of a cell; perplexities, and
when texts that are fed back repeat themselves, of all of them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Group
from rich.text import Text

from rnn_study import aggregate, figures, statistics
from rnn_study.config import Trial
from rnn_study.dynamics.portrait import STEPS
from rnn_study.phrases import label
from rnn_study.reporting import files, layout
from rnn_study.reporting.attractors import Albums
from rnn_study.reporting.tables import GAP, Shown, interval, number
from rnn_study.tasks import TASKS
from rnn_study.training import Album
from rnn_study.training.text_watch import AFTER, CYCLE, FED_BACK, probes
from rnn_study.training.watch import column

TITLES: Final = {
    "perplexity": "Perplexity",
    "last_repetition": "When fed-back text repeats itself",
}
"""What a terminal shows."""


def perplexity_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Perplexities over the seeds of each condition.

    - seeds: finished runs that have one.
    - val, val_low, val_high: geometric mean of the best validation perplexity, its 95% interval.
    - test, test_low, test_high: likewise, of the test perplexity at that epoch; test_min, test_max.
    Intervals are Student's for the cross entropy, whose exponential a perplexity is.
    """
    levels = [*aggregate.CONDITION, *aggregate.varying(runs)]
    return _by(aggregate.finished(runs), levels, _perplexities)


def _by(
    rows: pd.DataFrame, levels: list[str], made: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    """A row, `made` of them, of each group of rows that agree in `levels`."""
    groups = list(aggregate.conditions(rows, levels))
    index = aggregate.index([key for key, _ in groups], levels)
    return pd.DataFrame([made(group) for _, group in groups], index=index)


def _perplexities(seeds: pd.DataFrame) -> dict[str, Any]:
    """A row of `perplexity_table`."""
    found = seeds.dropna(subset=["test_perplexity_at_best"])
    test = found["test_perplexity_at_best"]
    row: dict[str, Any] = {"seeds": len(found)}
    for name, values in (("val", found["best_val_perplexity"]), ("test", test)):
        limits = np.exp(statistics.mean(np.log(values.to_numpy())))
        row |= {f"{name}{end}": v for end, v in zip(("", "_low", "_high"), limits, strict=True)}
    return row | {"test_min": test.min(), "test_max": test.max()}


def repetitions(runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a look at a text that is fed back, from the zero state.

    Columns: cell, length, learning_rate, seed, epoch, word; `repeats_after`: words until it repeats
    itself, NaN where it does not; `cycle`: the words of its cycle, 0 where it has none; `watched`:
    the words that were looked at.
    """
    rows: list[dict[str, Any]] = []
    for _, run in aggregate.finished(runs).iterrows():
        trial = aggregate.trial_of(run)
        if not trial.dynamics_every or trial.id not in histories:
            continue
        names = probes(trial.words)[len(trial.words) :]
        looks = histories[trial.id].dropna(subset=[column(names[0], CYCLE)])
        for name, word in zip(names, trial.words, strict=True):
            assert name.endswith(FED_BACK)
            for epoch, after, cycle in zip(
                looks["epoch"], looks[column(name, AFTER)], looks[column(name, CYCLE)], strict=True
            ):
                rows.append(
                    {
                        "cell": trial.cell, "length": trial.length,
                        "learning_rate": trial.learning_rate, "seed": trial.seed,
                        "epoch": int(epoch), "word": word, "repeats_after": after,
                        "cycle": int(cycle), "watched": WATCHED,
                    }
                )  # fmt: skip
    names_ = ["cell", "length", "learning_rate", "seed", "epoch", "word", "repeats_after", "cycle"]
    return pd.DataFrame(rows, columns=[*names_, "watched"])


WATCHED: Final = TASKS["language"].transient + STEPS
"""Words of a fed-back text that are looked at: the transient, and the states that are kept."""


def repetition_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Over seeds and words: when fed-back text repeats itself, by condition and epoch.

    - texts: looked at; repeating: of these; after, cycle: their medians, NaN where none repeats;
      longest: the longest cycle.
    """
    return _by(rows, [*aggregate.CONDITION, "epoch"], _over)


def last_repetition_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Likewise, by condition, of the last look at each seed.

    - first_epoch, last_epoch: of these looks; seeds may end at epochs of their own.
    """
    levels = [*aggregate.CONDITION]
    last = rows[rows["epoch"] == rows.groupby([*levels, "seed"])["epoch"].transform("max")]

    def made(group: pd.DataFrame) -> dict[str, Any]:
        looks = group["epoch"]
        return {"first_epoch": looks.min(), "last_epoch": looks.max()} | _over(group)

    return _by(last, levels, made)


def _over(rows: pd.DataFrame) -> dict[str, Any]:
    """A row of `repetition_table`."""
    repeating = rows[rows["cycle"] > 0]
    return {
        "texts": len(rows),
        "repeating": len(repeating),
        "after": float(np.median(repeating["repeats_after"])) if len(repeating) else np.nan,
        "cycle": float(np.median(repeating["cycle"])) if len(repeating) else np.nan,
        "longest": int(repeating["cycle"].max()) if len(repeating) else 0,
    }


def tables(runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> dict[str, Shown]:
    """Every table by name."""
    found = {"perplexity": _perplexity(perplexity_table(runs), aggregate.metric_of(runs))}
    return found | of_repetitions(repetitions(runs, histories))


def of_repetitions(rows: pd.DataFrame) -> dict[str, Shown]:
    """The tables of `repetitions` by name; none of no text."""
    if rows.empty:
        return {}
    every, last = repetition_table(rows), last_repetition_table(rows)
    return {
        "last_repetition": _repetition(last, _epochs(last)),
        "repetition": _repetition(every, [*every.index.get_level_values("epoch").map(str)]),
    }


def write(
    found: Mapping[str, Shown],
    runs: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    albums: Albums,
    folder: Path,
) -> files.Written:
    """Writes tables and figures into `folder`; returns their paths. `found`: `tables`.

    perplexity and repetition as CSV, Markdown and LaTeX; texts.csv, a row a text that was fed back;
    repetition, orbits and orbits_CELL, and these with the change in a step (`_2d`), as PNG and PDF.
    """
    paths = files.Written()
    for name, shown in found.items():
        paths |= files.write_table(folder / name, shown)
    rows = repetitions(runs, histories)
    if not len(rows):
        return paths
    text = rows.to_csv(index=False, lineterminator="\n")
    paths[files.write_text(folder / "texts.csv", text)] = ""
    drawn = _drawn(runs, albums)
    with files.own_style():
        figure = Figure(figsize=(6.5, 3.4), layout="constrained")
        figures.language.repetition(rows, figure.subplots())
        caption = "Words until fed-back text repeats itself: every seed and first word a dot."
        paths |= files.write_figure(folder / "repetition", figure, caption)
        for deep in (False, True):
            end, visited = (
                ("_2d", "visited, and their change in a step,") if deep else ("", "visited")
            )
            if drawn:
                figure = figures.language.compared(drawn, deep)
                caption = (
                    f"The mean of the outputs {visited} with a word held and with the network's "
                    "own words fed back, against the epoch: the best seed of each cell."
                )
                paths |= files.write_figure(folder / f"orbits{end}", figure, caption)
            for title, (trial, album) in drawn.items():
                figure = figures.language.of_cell(title, trial, album, deep)
                caption = (
                    f"{title}, the best of this cell: outputs {visited} with words held and fed "
                    "back, against the epoch."
                )
                paths |= files.write_figure(folder / f"orbits_{trial.cell}{end}", figure, caption)
    return paths


def printed(found: Mapping[str, Shown]) -> Group:
    """The tables for a terminal; of repetitions the last looks alone."""
    parts: list[Any] = []
    for name in [each for each in TITLES if each in found]:
        shown, text = found[name], found[name].text
        narrow = ["range"] * (name == "perplexity")
        narrow += ["length"] * (text["length"].nunique() == 1)
        text = text.drop(columns=narrow)
        made = layout.table(*map(str, text.columns))
        for row in text.itertuples(index=False):
            made.add_row(*map(str, row))
        parts += [layout.title(TITLES[name]), layout.indented(made)]
        parts.append(
            Text(f"\n{textwrap.indent(textwrap.fill(shown.note, 76), '  ')}\n", style="dim")
        )
    return Group(*parts)


def _drawn(runs: pd.DataFrame, albums: Albums) -> dict[str, tuple[Trial, Album]]:
    """The seed of each cell with the best validation perplexity, by title."""
    ended = aggregate.finished(runs)
    chosen: dict[str, tuple[Trial, Album]] = {}
    for (cell,), group in aggregate.conditions(ended[ended["dynamics_every"] > 0], ["cell"]):
        row = group.sort_values(["best_val_perplexity", "seed"], kind="stable").iloc[0]
        album = albums(row["run_id"])
        if album is not None:
            trial = aggregate.trial_of(row)
            chosen[f"{label(cell)}, seed {trial.seed}"] = trial, album
    return chosen


def _perplexity(table: pd.DataFrame, metric: Any) -> Shown:
    names = ["cell", "length"]
    rows = [
        {
            "cell": key[0], "length": str(key[1]), "seeds": str(row["seeds"]),
            "validation": number(row["val"], metric),
            "95%": interval(row["val_low"], row["val_high"], metric),
            "test": number(row["test"], metric),
            "test 95%": interval(row["test_low"], row["test_high"], metric),
            "range": interval(row["test_min"], row["test_max"], metric),
        }
        for key, row in zip(table.index, table.to_dict("records"), strict=True)
    ]  # fmt: skip
    note = (
        "Over the seeds: geometric means of the best validation perplexity, and of the test "
        "perplexity at that epoch, with 95% intervals (Student's, of the cross entropy)."
    )
    columns = [*names, "seeds", "validation", "95%", "test", "test 95%", "range"]
    return Shown(table, pd.DataFrame(rows, columns=columns), note)


def _epochs(table: pd.DataFrame) -> list[str]:
    """`30`, or `61-74` where seeds end at epochs of their own."""
    ends = zip(table["first_epoch"], table["last_epoch"], strict=True)
    return [str(first) if first == last else f"{first}-{last}" for first, last in ends]


def _repetition(table: pd.DataFrame, epochs: list[str]) -> Shown:
    text = pd.DataFrame(
        {
            "cell": table.index.get_level_values("cell"),
            "length": table.index.get_level_values("length").map(str),
            "epoch": epochs,
            "repeating": [
                f"{k}/{n}" for k, n in zip(table["repeating"], table["texts"], strict=True)
            ],
            "after": [_count(value) for value in table["after"]],
            "cycle": [_count(value) for value in table["cycle"]],
            "longest": [str(value) for value in table["longest"]],
        }
    )
    note = (
        "Texts in which every next word is the likeliest, from the zero state, over seeds and "
        f"first words: how many repeat themselves within {WATCHED:,} words; of these the medians "
        "of the words before and of the cycle's, and the longest cycle."
    )
    return Shown(table, text, note)


def _count(value: float) -> str:
    return f"{value:g}" if np.isfinite(value) else GAP
