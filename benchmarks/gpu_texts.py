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
from gpu_notes import Notes
from gpu_setting import Setting, peak_bytes, products, whole
from plain_language_model import Plain, plain_losses

from rnn_study.config import Pack, Trial
from rnn_study.randomness import generator
from rnn_study.tasks.corpus import Corpus
from rnn_study.training import footprint, train
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
            with notes.trying(f"{cell}: text in graphs and plain"):
                pack = trials(cell, setting.text_pack, setting, 1e-3)
                found = []
                for runner in (ReplayedReading, Reading):
                    epochs = train(pack, setting.device, runner=runner, corpora=Path(folder))
                    rows = [e.metrics["train_loss"] for e in islice(epochs, gpu_checks.EPOCHS)]
                    found.append(np.stack(rows))
                error = gpu_checks.off(*found)
                notes.check(f"{cell}: text in graphs and plain", error, gpu_checks.TRAINING)


def text_rates(setting: Setting, notes: Notes) -> None:
    """Seconds that one network takes for an epoch of WikiText-2, reckoned from some segments.

    Each beside the plain LSTM in float32, which the goal is of, and in TF32.
    """
    segments = -(-(WIKITEXT // setting.text_batch - 1) // setting.text_length)
    rounded = (True,) if setting.device == "cuda" else ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(setting, folder)
        alone: dict[bool, float] = {}
        for tf32 in (False, *rounded):
            rival = "plain LSTM language model" + ", TF32" * tf32
            with notes.trying(rival):
                alone[tf32] = segments * plain(setting, tf32, folder)
                notes.number(rival, alone[tf32], "s/epoch")
        for cell in ("lstm", "stable_lstm", "orthogonal"):
            for tf32 in (*rounded, False):
                what = f"{cell}: text, pack {setting.text_pack}" + ", TF32" * tf32
                with notes.trying(what):
                    ours = segments * segment_seconds(cell, setting, tf32, folder)
                    notes.number(what, ours, "s/epoch")
                    for its, took in alone.items():
                        over = f"{what}, over plain LSTM" + " in TF32" * its
                        notes.number(over, took / ours, "times", "" if its else ">= 3")


def text_memory(setting: Setting, notes: Notes) -> None:
    """Bytes a member, foretold and taken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(setting, folder)
        for cell in ("lstm", "orthogonal"):
            pack = trials(cell, setting.text_pack, setting, 1e-3)
            whole_pack = footprint(pack.trials[0], setting.device).of_pack(setting.text_pack)
            foretold = whole_pack / setting.text_pack
            notes.number(f"{cell}: memory of a text foretold", foretold / 1e6, "MB/member")
            if setting.device == "cuda":
                epochs = whole(train(pack, setting.device, corpora=folder), setting.text_pack)
                taken = peak_bytes(lambda epochs=epochs: next(epochs)) / setting.text_pack
                notes.number(f"{cell}: memory of a text taken", taken / 1e6, "MB/member")


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


def segment_seconds(cell: str, setting: Setting, tf32: bool, folder: Path) -> float:
    """Seconds that a segment takes one network of a pack: the median of as many epochs as there is
    time for, but for the first."""
    pack = trials(cell, setting.text_pack, setting, 1e-12, tf32)
    took: list[float] = []
    with products(tf32):
        epochs = whole(train(pack, setting.device, corpora=folder), setting.text_pack)
        next(epochs)
        end = time.monotonic() + setting.seconds
        while not took or time.monotonic() < end:
            took.append(float(next(epochs).metrics["seconds"].mean()))
    return statistics.median(took) / setting.text_segments


def plain(setting: Setting, tf32: bool, folder: Path) -> float:
    """Likewise, of the paper's loop; of all segments but for those of a first run."""
    device = torch.device(setting.device)
    tokens = Corpus.open(folder, CORPUS).read("train", setting.text_vocabulary)
    text = Streams(tokens, setting.text_batch, setting.text_length, device)
    model = Plain(setting.text_vocabulary, setting.text_hidden, 0.5).to(device)
    took: list[float] = []
    with products(tf32):
        plain_losses(model, text, 1, 1e-3, 0.25)
        end = time.monotonic() + setting.seconds
        while not took or time.monotonic() < end:
            began = time.perf_counter()
            plain_losses(model, text, text.segments, 1e-3, 0.25)  # it reads the losses at its end
            took.append(time.perf_counter() - began)
    return statistics.median(took) / text.segments
