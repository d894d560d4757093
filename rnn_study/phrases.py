"""Durations, counts, cells, settings and trials, in words for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rnn_study.config import Trial


def duration(seconds: float) -> str:
    """`3:10`, `1:02:03` or `5 d 3 h`."""
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """A guessed duration, without digits that it does not deserve."""
    step = 5 if seconds < 120 else 10 if seconds < 600 else 60
    return duration(float(math.ceil(seconds / step) * step))


def count(number: int, what: str) -> str:
    """`1 pack`, `2 packs`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def label(cell: str) -> str:
    """A cell's name for people: `stable_lstm` is "stable LSTM"."""
    return " ".join(
        word.upper() if word in ("lstm", "gru", "rnn") else word for word in cell.split("_")
    )


def named(trial: Trial) -> str:
    """A trial in a line, for people: `stable LSTM, length 50, rate 0.01, seed 3`."""
    return f"{label(trial.cell)}{trial.condition.removeprefix(trial.cell)}, seed {trial.seed}"


def setting(value: Any) -> str:
    """A setting's value as it is given on the command line."""
    if isinstance(value, tuple):
        return " ".join(map(setting, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(name: Any) -> str:
    """The name of a field or column, for people: `learning rate`."""
    return str(name).replace("_", " ")


def described(trials: Sequence[Trial]) -> str:
    """Trials of one shape, for people: `lstm, length 50, seeds 0-3`."""
    return f"{trials[0].cell}, length {trials[0].length}, {seeds(trials)}"


def seeds(trials: Sequence[Trial]) -> str:
    """`seed 5`, `seeds 0-3`."""
    return f"seed{'' if len(trials) == 1 else 's'} {seed_range(trials)}"


def seed_range(trials: Sequence[Trial]) -> str:
    """`5`, `0-3`, `2, 5, 7` or `2, 5, … 31`."""
    values = sorted({trial.seed for trial in trials})
    if len(values) > 1 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]}-{values[-1]}"
    shown = values if len(values) <= 3 else [*values[:2], f"… {values[-1]}"]
    return ", ".join(map(str, shown))
