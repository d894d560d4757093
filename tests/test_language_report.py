"""Tables of language models over their seeds, as frames and on a terminal."""

from __future__ import annotations

import math

import pandas as pd
from rich.console import Console

from rnn_study.reporting import language


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
    (found,) = language.last_repetition_table(rows).to_dict("records")
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
