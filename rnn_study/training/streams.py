"""`Streams`: a text as a pack reads it, segment after segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from rnn_study.config import Trial
from rnn_study.errors import require
from rnn_study.tasks import TASKS
from rnn_study.tasks.corpus import Corpus
from rnn_study.training.data import PackData, SplitData


class Segment(NamedTuple):
    """T words of each of B streams, the same for all members."""

    inputs: Int[Tensor, "T B"]
    targets: Int[Tensor, "T B"]
    """The words that come next."""


class Streams(SplitData):
    """A text as B streams of equal length, side by side, the same for every member.

    What is left when the text is divided by B, fewer than B words, is left out; and no stream has
    an answer for its last word.
    """

    def __init__(self, tokens: np.ndarray, batch: int, length: int, device: torch.device) -> None:
        steps = len(tokens) // batch
        require(steps > 1, "batch", batch, f"use at most half of the text's {len(tokens):,} words")
        streams = np.ascontiguousarray(tokens[: steps * batch].reshape(batch, steps).T)
        self._streams = torch.from_numpy(streams).to(device)  # (steps, B)
        self._length = length
        self.steps = steps - 1
        """Words of each stream that are read."""
        self.segments = -(-self.steps // length)

    @property
    def lengths(self) -> set[int]:
        """Words of a stream in a segment: of the last, and of the others if there are any."""
        return {len(self[k].inputs) for k in (0, self.segments - 1)}

    def keep(self, members: Tensor) -> None:
        """Nothing to do: all members read the same."""

    def __getitem__(self, k: int) -> Segment:
        """The k-th segment; the last may be shorter."""
        first = k * self._length
        last = min(first + self._length, self.steps)
        return Segment(self._streams[first:last], self._streams[first + 1 : last + 1])


def streams_of(trial: Trial, corpora: Path | None, device: torch.device) -> dict[str, Streams]:
    """The three texts of a trial, by split: `train`, `val` and `test`.

    `corpora`: the folder of all corpora. Raises FileNotFoundError where its corpus is not there.
    """
    require(corpora is not None, "corpora", corpora, "give the folder of corpora")
    assert corpora is not None
    corpus = Corpus.open(corpora, trial.corpus)
    sizes = {"train": trial.train_size, "valid": trial.val_size, "test": trial.test_size}
    made = [
        Streams(corpus.read(split, trial.vocabulary, size), trial.batch, trial.length, device)
        for split, size in sizes.items()
    ]
    return dict(zip(("train", "val", "test"), made, strict=True))


def data_of(
    trials: Sequence[Trial], corpora: Path | None, device: torch.device
) -> dict[str, SplitData]:
    """The data of a pack's members, by split."""
    if TASKS[trials[0].task].reads_text:
        return dict(streams_of(trials[0], corpora, device))
    return {
        "train": PackData(trials, "train", device), "val": PackData(trials, "validation", device)
    }  # fmt: skip
