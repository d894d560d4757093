"""The language model in `gpu.py`: whether it trains in graphs as without, and what an epoch takes.

The text is random words, as frequent as those of a language: the times do not depend on the words.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

import gpu_checks
import numpy as np
import torch
from gpu_setting import Notes, Setting
from plain_language_model import Plain, plain_losses

from rnn_study.config import Pack, Trial
from rnn_study.randomness import generator
from rnn_study.tasks.corpus import Corpus
from rnn_study.training import Runner, train
from rnn_study.training.reading import Reading
from rnn_study.training.replayed_reading import ReplayedReading
from rnn_study.training.streams import Streams

CORPUS = "0123456789abcdef"
WIKITEXT = 2_088_628
"""Words of the training text of WikiText-2."""


def text_graphs(setting: Setting, notes: Notes) -> None:
    """Replayed segments against plain ones: losses after some epochs."""
    with tempfile.TemporaryDirectory() as folder:
        write(setting, Path(folder))
        for cell in ("lstm", "orthogonal"):
            pack = trials(cell, setting.text_pack, setting, 1e-3)
            found = []
            for runner in (ReplayedReading, Reading):
                epochs = train(pack, setting.device, runner=runner, corpora=Path(folder))
                rows = [e.metrics["train_loss"] for e in islice(epochs, gpu_checks.EPOCHS)]
                found.append(np.stack(rows))
            error = gpu_checks.off(*found)
            notes.check(f"{cell}: text in graphs and plain", error, gpu_checks.TRAINING)


def text_rates(setting: Setting, notes: Notes) -> None:
    """Seconds that one network takes for an epoch of WikiText-2, reckoned from some segments."""
    segments = -(-(WIKITEXT // setting.text_batch - 1) // setting.text_length)
    with tempfile.TemporaryDirectory() as folder:
        write(setting, Path(folder))
        alone = segments * plain(setting, Path(folder))
        notes.number("plain LSTM language model", alone, "s/epoch")
        exact: list[tuple[str, type[Runner], bool]] = [
            ("", ReplayedReading, False), (" without graphs", Reading, False)
        ]  # fmt: skip
        rounded = [(", TF32", ReplayedReading, True)] if setting.device == "cuda" else []
        for cell, ways in (
            ("lstm", rounded + exact),
            ("stable_lstm", rounded or exact[:1]),
            ("orthogonal", rounded + exact[:1]),
        ):
            for name, runner, tf32 in ways:
                ours = segments * segment_seconds(cell, setting, runner, tf32, Path(folder))
                what = f"{cell}: text, pack {setting.text_pack}{name}"
                notes.number(what, ours, "s/epoch")
                notes.number(f"{what}, over plain LSTM", alone / ours, "times", ">= 3")


def write(setting: Setting, folder: Path) -> None:
    """The text; of its validation a network reads one word of each stream."""
    rng, words = generator(0, "text"), setting.text_vocabulary
    shares = 1 / np.arange(2, words + 2)
    steps = setting.text_length * setting.text_segments + 1
    sizes = {"train": setting.text_batch * steps} | dict.fromkeys(
        ("valid", "test"), 2 * setting.text_batch
    )
    tokens = {
        split: rng.choice(words, size, p=shares / shares.sum()).astype(np.int32)
        for split, size in sizes.items()
    }
    Corpus(CORPUS, tuple(map(str, range(words))), tokens).save(folder)


def trials(cell: str, count: int, setting: Setting, rate: float, tf32: bool = False) -> Pack:
    """That train until nobody asks for more."""
    trial = partial(
        Trial, task="language", cell=cell, length=setting.text_length, learning_rate=rate,
        hidden=setting.text_hidden, batch=setting.text_batch, vocabulary=setting.text_vocabulary,
        dropout=0.5, train_size=0, val_size=0, corpus=CORPUS, tf32=tf32,
    )  # fmt: skip
    return Pack(tuple(trial(seed=seed) for seed in range(count)))


def segment_seconds(
    cell: str, setting: Setting, runner: type[Runner], tf32: bool, folder: Path
) -> float:
    """Seconds that a segment takes one network of a pack: the median of as many epochs as there is
    time for, but for the first."""
    pack = trials(cell, setting.text_pack, setting, 1e-12, tf32)
    epochs = train(pack, setting.device, runner=runner, corpora=folder)
    next(epochs)
    took, end = [], time.monotonic() + setting.seconds
    while not took or time.monotonic() < end:
        took.append(float(next(epochs).metrics["seconds"].mean()))
    return statistics.median(took) / setting.text_segments


def plain(setting: Setting, folder: Path) -> float:
    """Likewise, of the paper's loop; of all segments but for those of a first run."""
    device = torch.device(setting.device)
    tokens = Corpus.open(folder, CORPUS).read("train", setting.text_vocabulary)
    text = Streams(tokens, setting.text_batch, setting.text_length, device)
    model = Plain(setting.text_vocabulary, setting.text_hidden, 0.5).to(device)
    plain_losses(model, text, 1, 1e-3, 0.25)
    took, end = [], time.monotonic() + setting.seconds
    while not took or time.monotonic() < end:
        began = time.perf_counter()
        plain_losses(model, text, text.segments, 1e-3, 0.25)  # it reads the losses at its end
        took.append(time.perf_counter() - began)
    return statistics.median(took) / text.segments
