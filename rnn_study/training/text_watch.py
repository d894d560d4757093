"""`TextWatch`: the attractors of language models, under a word held and under their own words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rnn_study.cells.cell import Cell, Parameters, Weights
from rnn_study.config import Trial
from rnn_study.dynamics import Portrait, closed_loop, constant_input, portraits
from rnn_study.dynamics.portrait import NUMBERS, STEPS
from rnn_study.dynamics.repeats import repetition
from rnn_study.dynamics.step import Read
from rnn_study.tasks import TASKS
from rnn_study.tasks.corpus import Corpus
from rnn_study.training.network import Layout
from rnn_study.training.tied import TiedNetwork
from rnn_study.training.watch import STARTS, Watch, column, numbers, starts

FED_BACK: Final = " fed back"
"""How the inputs end at which a network reads the words that it finds likeliest."""
MEAN: Final = "mean"
"""The mean of the outputs of all words."""
AFTER, CYCLE, REPEATING = "repeats_after", "cycle", "repeating"
"""Words until the text fed back repeats itself, from the zero state (NaN: it does not), the length
of its cycle (0: it has none), and the share of all starts that repeat."""
_LEAD = STEPS // 4
"""Steps in which neighbouring orbits find the direction in which they part."""


def probes(words: Sequence[str]) -> tuple[str, ...]:
    """The names of the inputs: every word held, then every word as the first of a text fed back."""
    names = _names(words)
    return (*names, *(name + FED_BACK for name in names))


def answers(words: Sequence[str]) -> tuple[str, ...]:
    """The names of the outputs that are watched."""
    return (MEAN, *words)


def _names(words: Sequence[str]) -> list[str]:
    """The words as MLflow takes them in names of metrics, which are paths: `<unk>` is `unk`."""
    plain = [re.sub(r"[^\w.\- ]", "", word) for word in words]
    return [
        name if name not in ("", ".", "..") and plain.count(name) == 1 else f"word {place}"
        for place, name in enumerate(plain)
    ]


class TextWatch:
    """Watches the networks of a pack under the `words` of its trials.

    Every word is held as the input for ever, and is the first of a text in which every next word is
    the likeliest. Watched are the mean of the outputs of all words (the paper's "average of all
    outputs") and the outputs of the `words`: log-probabilities, but for a constant that all share.
    """

    def __init__(self, network: TiedNetwork, trial: Trial, corpora: Path) -> None:
        corpus = Corpus.open(corpora, trial.corpus)
        self._network, self._words = network, trial.words
        self._tokens = [corpus.token("words", word, trial.vocabulary) for word in trial.words]
        self._transient = TASKS[trial.task].transient

    def columns(self) -> list[str]:
        """The columns of a history that it fills."""
        names = [column(probe, number) for probe in probes(self._words) for number in NUMBERS]
        fed = [name + FED_BACK for name in _names(self._words)]
        return names + [column(n, number) for n in fed for number in (AFTER, CYCLE, REPEATING)]

    @torch.no_grad()
    def look(
        self, trials: Sequence[Trial], flat: Float[Tensor, "S P"]
    ) -> tuple[list[Portrait], dict[str, np.ndarray]]:
        """The portraits of these members, and their columns, (S,) each. In float64, as `Watch`.

        A portrait's inputs are `probes`, its outputs `answers`. The exponents of a text fed back
        are those between two changes of a word: neighbours mostly read the same.
        """
        cell, count = self._network.cell, len(self._tokens)
        params = self._network.views(flat.double())
        weights, tokens = cell.weights(params), torch.tensor(self._tokens, device=flat.device)
        read = projections(cell, params, tokens)
        begun = starts(trials, 2 * count, cell).to(flat.device)
        held = constant_input(cell, weights, params["embed"][:, tokens])
        found = portraits(held, begun[:, :count], read, self._transient)
        words = tokens.repeat_interleave(STARTS).expand(len(flat), -1)
        texts, ends = free_run(cell, weights, params, begun[:, count:].flatten(1, 2), words,
                               self._transient + STEPS)  # fmt: skip
        loop = closed_loop(cell, weights, lambda seen: embedded(params, likeliest(params, seen)))
        fed = portraits(loop, ends.unflatten(1, (count, STARTS)), read, _LEAD)
        both = [_joined(one, other) for one, other in zip(found, fed, strict=True)]
        written = texts.unflatten(1, (count, STARTS)).cpu().numpy()
        return both, self._numbers(both, written)

    def _numbers(
        self, found: Sequence[Portrait], texts: Int[np.ndarray, "S W P T"]
    ) -> dict[str, np.ndarray]:
        columns = numbers(found, probes(self._words))
        for w, name in enumerate(_names(self._words)):
            ends = [[repetition(text) for text in texts[s, w]] for s in range(len(texts))]
            rows = {
                AFTER: [each[0].after if each[0].cycle else np.nan for each in ends],
                CYCLE: [each[0].cycle for each in ends],
                REPEATING: [np.mean([end.cycle > 0 for end in each]) for each in ends],
            }
            for number, row in rows.items():
                columns[column(name + FED_BACK, number)] = np.array(row, dtype=float)
        return columns


def watch_of(network: Layout, trial: Trial, corpora: Path | None) -> Watch | TextWatch:
    """What watches networks such as that of `trial`."""
    if isinstance(network, TiedNetwork):
        assert corpora is not None  # they could not have trained without
        return TextWatch(network, trial, corpora)
    return Watch(network)


def projections(cell: Cell, params: Parameters, tokens: Int[Tensor, "W"]) -> Read:
    """Reads, from states (S, ..., D), the mean of all outputs and the outputs of some words."""
    embed, bias = params["embed"], params["b_out"]
    rows = torch.cat((embed.mean(1, keepdim=True), embed[:, tokens]), 1)  # (S, 1 + W, H)
    offsets = torch.cat((bias.mean(1, keepdim=True), bias[:, tokens]), 1)

    def read(state: Float[Tensor, "S *more D"]) -> Float[Tensor, "S *more O"]:
        hidden = cell.output(state)
        flat = torch.baddbmm(offsets[:, None], hidden.flatten(1, -2), rows.mT)
        return flat.unflatten(1, hidden.shape[1:-1])

    return read


def likeliest(params: Parameters, seen: Float[Tensor, "S N H"]) -> Int[Tensor, "S N"]:
    """The words with the largest outputs."""
    return torch.baddbmm(params["b_out"][:, None], seen, params["embed"].mT).argmax(-1)


def embedded(params: Parameters, words: Int[Tensor, "S N"]) -> Float[Tensor, "S N H"]:
    """The inputs that words are, each member's own."""
    rows = zip(words, params["embed"], strict=True)
    return torch.stack([F.embedding(each, embed) for each, embed in rows])


def free_run(
    cell: Cell,
    weights: Weights,
    params: Parameters,
    state: Float[Tensor, "S N D"],
    first: Int[Tensor, "S N"],
    steps: int,
) -> tuple[Int[Tensor, "S N T"], Float[Tensor, "S N D"]]:
    """The T = `steps` words that networks write after the `first`, and their last states."""
    written, word = [], first
    for _ in range(steps):
        state = cell.step(weights, embedded(params, word), state)
        word = likeliest(params, cell.output(state))
        written.append(word)
    return torch.stack(written, -1), state


def _joined(one: Portrait, other: Portrait) -> Portrait:
    """The inputs of both."""
    names = [field.name for field in fields(Portrait)]
    return Portrait(**{n: np.concatenate((getattr(one, n), getattr(other, n))) for n in names})
