"""Tables of language models over their seeds, as frames and on a terminal."""

from __future__ import annotations

import math

import pandas as pd
from example_runs import run
from rich.console import Console

from rnn_study import aggregate
from rnn_study.reporting import language, tables
from rnn_study.tasks import TASKS

PERPLEXITIES = {"lstm": (4.3, 4.43, 4.57), "orthogonal": (4.45, 4.46, 4.47)}


def models(scale: float = 1.0) -> pd.DataFrame:
    """Three seeds each of two cells."""
    rows = []
    for cell, values in PERPLEXITIES.items():
        for seed, value in enumerate(values):
            row = run(cell, seed=seed) | {"task": "language"}
            rows.append(row | dict.fromkeys(TASKS["language"].metric.columns, scale * value))
    return pd.DataFrame(rows).drop(columns=["val_accuracy", "best_val_accuracy"])


def texts(ends: dict[int, int], repeating: set[int]) -> pd.DataFrame:
    """Looks at two words at epoch 60 and where each seed ends; some seeds' texts repeat."""
    rows = [
        {
            "cell": "lstm", "length": 80, "learning_rate": 1e-3, "seed": seed, "epoch": epoch,
            "word": word, "repeats_after": 50.0 + seed if seed in repeating else math.nan,
            "cycle": 7 + seed if seed in repeating else 0, "watched": 1900,
        }
        for seed, end in ends.items()
        for epoch in {60, end}
        for word in ("is", "<unk>")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_last_look_is_that_at_each_seed():
    rows = texts({0: 61, 1: 74, 2: 68}, repeating={0, 2})
    table = language.last_repetition_table(rows)
    assert table.index.tolist() == [("lstm", 80, 1e-3)]
    (found,) = table.to_dict("records")
    assert (found["first_epoch"], found["last_epoch"]) == (61, 74)
    assert (found["texts"], found["repeating"]) == (6, 4)
    assert (found["after"], found["cycle"], found["longest"]) == (51.0, 8.0, 9)
    console = Console(width=80)
    with console.capture() as shown:
        console.print(language.printed(language.of_repetitions(rows)))
    assert "lstm  61-74        4/6     51      8        9" in shown.get()
    assert "68" not in shown.get()


def test_seeds_that_end_together_have_one_epoch():
    shown = language.of_repetitions(texts({0: 61, 1: 61}, repeating={0}))
    assert shown["last_repetition"].text["epoch"].tolist() == ["61"]
    assert shown["repetition"].text["epoch"].tolist() == ["60", "61"]


def test_no_text_no_row():
    assert language.of_repetitions(texts({}, set())) == {}


def test_perplexities_have_three_digits_so_that_neighbours_differ():
    shown = language.tables(models(), {})["perplexity"].text
    assert shown["validation"].tolist() == ["4.43", "4.46"]
    assert shown["95%"].tolist() == ["[4.11, 4.78]", "[4.44, 4.48]"]
    assert language.tables(models(36.0), {})["perplexity"].text["test"].tolist() == ["160", "161"]
    by_length = aggregate.length_table(models(36.0))
    assert by_length.loc[50, ("lstm", "best")] == 154.8


def test_a_perplexity_shall_be_known_to_a_share_of_it():
    few, many = (aggregate.seeds_needed(models(scale)) for scale in (1.0, 36.0))
    assert few["iqm_seeds"].tolist() == many["iqm_seeds"].tolist()
    assert few["iqm_seeds"].iloc[0] > few["iqm_seeds"].iloc[1]
    wanted = aggregate.seeds_needed(models(36.0), metric_width=0.05 * 36 * 4.43)
    assert wanted["iqm_seeds"].iloc[0] == many["iqm_seeds"].iloc[0]
    shown = tables.seeds_needed(models(), TASKS["language"].metric)
    assert "IQM seeds for 5%" in shown.text and "in % of it." in shown.note
