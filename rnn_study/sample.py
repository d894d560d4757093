"""Prints a text that a trained language model writes: `python -m rnn_study.sample --help`."""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from rnn_study import storage, texts
from rnn_study.config import Trial
from rnn_study.dynamics.repeats import Repetition, repetition
from rnn_study.errors import InvalidInput, require, require_whole
from rnn_study.execution import Execution
from rnn_study.flags import script
from rnn_study.randomness import generator
from rnn_study.tasks import TASKS
from rnn_study.tasks.corpus import END, Corpus

TEXT: Final = """\
Prints how a trained language model goes on after a prompt: the network after its best epoch, that
of the lowest validation perplexity. Each next word is drawn from what the network finds likely; at
temperature 0 it is the likeliest one, and the text ends in the attractor of the network that reads
its own words: it then says after how many words it repeats itself."""


@dataclass(frozen=True)
class Settings:
    """Which network writes, and how."""

    study: str = "language-model-laptop"
    """Name of the study that trained it."""
    cell: str = "lstm"
    """Its architecture."""
    seed: int = 0
    """Its seed."""
    length: int | None = None
    """Its sequence length, where the study has several."""
    learning_rate: float | None = None
    """Its learning rate, where the study has several."""
    trial_id: str | None = None
    """The id of its trial, instead of --cell, --seed, --length and --learning-rate."""
    prompt: str = ""
    """Words that the text begins with, from the text's vocabulary; none: it begins a line."""
    count: int = 100
    """Words to write."""
    temperature: float = 1.0
    """Outputs are divided by it before words are drawn; 0: always the likeliest word."""
    sample_seed: int = 0
    """Draws the words."""
    storage: Path | str = os.environ.get("RNN_STUDY_STORAGE") or Path.home() / "rnn-studies"
    """The study's --storage."""
    tracking_uri: str | None = None
    """The study's --tracking-uri."""

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("count", 1), ("sample_seed", 0)):
            require_whole(name, getattr(self, name), least)
        usable = 0 <= self.temperature < float("inf")
        require(usable, "temperature", self.temperature, "use a finite number of at least 0")

    def network(self) -> dict[str, Any]:
        """What is known of the network, by the columns of `aggregate.runs`."""
        if self.trial_id is not None:
            return {"trial_id": self.trial_id}
        names = ("cell", "seed", "length", "learning_rate")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def write(settings: Settings) -> None:
    """Find the network, and print what it writes."""
    from rnn_study import aggregate  # pandas and MLflow take seconds

    execution = Execution(storage=settings.storage, tracking_uri=settings.tracking_uri)
    runs = aggregate.runs(settings.study, execution.resolved_tracking_uri)
    reads = [name for name, task in TASKS.items() if task.reads_text]
    allowed = f"use a study of the task {', '.join(reads)}"
    require(bool(runs["task"].isin(reads).any()), "study", settings.study, allowed)
    trial = aggregate.trial_of(aggregate.one(runs, **settings.network()))
    corpus = corpus_of(execution, trial)
    words = [corpus.token("prompt", w, trial.vocabulary) for w in settings.prompt.split()]
    tokens = written(trial, best_network(execution, trial), [corpus.numbers[END], *words], settings)
    print(shown(corpus, [*words, *tokens.tolist()]))
    if settings.temperature == 0:
        print(f"\n{told(repetition(tokens), len(tokens))}")


def corpus_of(execution: Execution, trial: Trial) -> Corpus:
    """The text that a trial has read; InvalidInput where it does not lie there."""
    try:
        return Corpus.open(texts.fetch(execution.corpora, trial.corpus), trial.corpus)
    except FileNotFoundError as error:
        allowed = f"it has no sound copy of the text {trial.corpus} that trial {trial.id} has read"
        raise InvalidInput("storage", str(execution.storage), allowed) from error


def best_network(execution: Execution, trial: Trial) -> dict[str, np.ndarray]:
    """The parameters, by name, whose perplexity is in the tables; InvalidInput where none lie."""
    from rnn_study.training import Checkpoints

    state = Checkpoints(storage.files(execution.checkpoints)).load(trial)
    if state is None:
        raise InvalidInput(
            "storage", str(execution.storage), f"it has no checkpoint of trial {trial.id}"
        )
    return state.best


@torch.no_grad()
def written(
    trial: Trial, arrays: dict[str, np.ndarray], prompt: list[int], settings: Settings
) -> np.ndarray:
    """The tokens, (`settings.count`,), that a network writes after those of `prompt`."""
    from rnn_study.training.text_watch import embedded
    from rnn_study.training.tied import TiedNetwork

    network = TiedNetwork(trial)
    params = network.views(network.flatten([arrays]))
    weights = network.cell.weights(params)
    state = torch.zeros(1, 1, network.cell.state_size(trial.hidden))
    rng = generator(settings.sample_seed, "sample")
    tokens: list[int] = []
    for word in prompt[:-1]:
        state = network.cell.step(weights, embedded(params, torch.tensor([[word]])), state)
    last = prompt[-1]
    for _ in range(settings.count):
        state = network.cell.step(weights, embedded(params, torch.tensor([[last]])), state)
        seen = network.cell.output(state)[0, 0].double()
        outputs = params["embed"][0].double() @ seen + params["b_out"][0].double()
        last = _chosen(outputs, settings.temperature, rng)
        tokens.append(last)
    return np.array(tokens)


def _chosen(outputs: torch.Tensor, temperature: float, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(outputs.argmax())
    shares = torch.softmax(outputs / temperature, 0).cumsum(0)
    place = torch.searchsorted(shares, rng.random() * float(shares[-1]), right=True)
    return min(int(place), len(outputs) - 1)


def shown(corpus: Corpus, tokens: list[int]) -> str:
    """Words in lines of at most 80 characters; <eos> ends a paragraph."""
    text = " ".join("\n" if corpus.words[t] == END else corpus.words[t] for t in tokens)
    return "\n".join(textwrap.fill(line.strip(), 80) for line in text.split("\n"))


def told(found: Repetition, count: int) -> str:
    """How a text of the likeliest words ends."""
    if not found.cycle:
        return f"It does not repeat itself within {count} words."
    words = "1 word" if found.cycle == 1 else f"{found.cycle} words"
    return f"It repeats itself after {found.after} words, in a cycle of {words}."


if __name__ == "__main__":
    sys.exit(script.main(Settings, write, TEXT))
