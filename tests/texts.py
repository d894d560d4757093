"""A language model that reads the project's own text in a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rnn_study.config import Trial

TRIAL = Trial(
    task="language", cell="lstm", length=7, learning_rate=1e-2, seed=0, hidden=11, epochs=2,
    batch=3, train_size=200, val_size=90, test_size=110, vocabulary=61, dropout=0.5,
    decay_epochs=(), corpus="6c814f6de9b2602a",
)  # fmt: skip
"""The last segment of the text is shorter than the others."""


def pack_of(count: int, **changes: Any) -> list[Trial]:
    """Trials of one shape with different seeds and rates."""
    rates = (1e-2, 3e-3)
    return [replace(TRIAL, seed=s, learning_rate=rates[s % 2], **changes) for s in range(count)]
