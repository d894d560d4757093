"""What the language model costs: the softmax's loss, and an epoch beside a plain port.

    # memory and time of the loss, two ways
    python benchmarks/language_model.py --what loss
    # an epoch, packed and plain, in one run
    python benchmarks/language_model.py --what epoch --data DIR --device cuda

`plain` is the paper's loop (Section 5.3) in float32 with torch's own layers, one network at a time:
`torch.nn.Embedding`, `LSTM`, `Linear` with a shared matrix, `cross_entropy` over all outputs, clip,
`torch.optim.Adam`. Every cell is compared with this one LSTM. `--segments` bounds what is timed; an
epoch is then reckoned from it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from plain_language_model import Plain, plain_losses

from rnn_study.config import Trial
from rnn_study.flags import script
from rnn_study.tasks import grammar
from rnn_study.tasks.corpus import read_texts, tokenise
from rnn_study.training import cross_entropy
from rnn_study.training.adam import Adam
from rnn_study.training.noise import dropout_keys
from rnn_study.training.reading import update_
from rnn_study.training.streams import Streams
from rnn_study.training.tied import TiedNetwork

WAYS = ("plain", "chunked")


@dataclass(frozen=True)
class Settings:
    """What is measured, and at which size."""

    what: Literal["loss", "epoch"] = "loss"
    """The loss alone, or training."""
    data: Path | None = None
    """Folder of the text; none: the project's own."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where."""
    cells: tuple[str, ...] = ("lstm", "stable_lstm", "orthogonal")
    """Architectures whose epochs are measured."""
    seeds: int = 3
    """Networks in a pack."""
    hidden: int = 128
    """Hidden units; the paper has 800."""
    length: int = 80
    """Words of a segment."""
    batch: int = 20
    """Streams; the paper has 100."""
    vocabulary: int = 0
    """Most frequent words that are known; 0: all. Of the loss alone: 0 means 33278."""
    segments: int = 5
    """Segments that are timed, after one that is not; 0: the whole text."""


def measure_loss(settings: Settings) -> None:
    """Each way in a process of its own, which tells its highest memory."""
    print(f"{'':10}{'seconds':>9}{'MiB above the start':>21}")
    for way in WAYS:
        line = [sys.executable, __file__, "--child", way, json.dumps(vars(settings), default=str)]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{way:10}{found['seconds']:9.3f}{found['MiB']:21.0f}")


def one_loss(way: str, settings: Settings) -> dict[str, float]:
    """The median time of forward and backward, and the memory that they take."""
    device, count = torch.device(settings.device), settings.length * settings.batch
    words = settings.vocabulary or 33_278
    maker = torch.Generator().manual_seed(0)
    hidden = torch.randn(count, settings.hidden, generator=maker).to(device).requires_grad_()
    weight = (0.1 * torch.randn(words, settings.hidden, generator=maker)).to(device)
    weight.requires_grad_()
    bias = torch.zeros(words, device=device, requires_grad=True)
    targets = torch.randint(0, words, (count,), generator=maker).to(device)
    torch.set_num_threads(1)
    clock = time.perf_counter if device.type == "cuda" else time.process_time  # of one thread
    before, times = _memory(device), []
    for _ in range(settings.segments + 1):
        began = clock()
        loss = getattr(cross_entropy, way)(hidden, weight, bias, targets)
        torch.autograd.grad(loss, (hidden, weight, bias))
        _wait(device)
        times.append(clock() - began)
    return {
        "seconds": sorted(times[1:])[len(times[1:]) // 2],
        "MiB": (_memory(device) - before) / 2**20,
    }


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure_epochs(settings: Settings) -> None:
    """Seconds of an epoch of one network: plain, then each cell in a pack."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    corpus = tokenise(grammar.texts() if settings.data is None else read_texts(settings.data))
    vocabulary = settings.vocabulary or len(corpus.words)
    device = torch.device(settings.device)
    tokens = corpus.read("train", vocabulary)
    text = Streams(tokens, settings.batch, settings.length, device)
    count = min(settings.segments or text.segments, text.segments - 1)
    plain = Plain(vocabulary, settings.hidden, 0.5).to(device)
    plain_losses(plain, text, 1, 1e-3, 0.25)
    began = time.perf_counter()
    plain_losses(plain, text, count, 1e-3, 0.25)
    _wait(device)
    base = (time.perf_counter() - began) / count * text.segments
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    print(f"{name}; {text.segments} segments an epoch, {count} timed; {vocabulary:,} words")
    print(f"{'':22}{'s an epoch':>12}{'speed':>8}")
    print(f"{'plain LSTM':22}{base:12.1f}{1:8.2f}")
    for cell in settings.cells:
        for seeds in dict.fromkeys((1, settings.seeds)):
            took = packed(settings, cell, seeds, text, vocabulary, count) * text.segments
            print(f"{f'{cell}, pack of {seeds}':22}{took:12.1f}{base / took:8.2f}")


def packed(
    settings: Settings, cell: str, seeds: int, text: Streams, vocabulary: int, count: int
) -> float:
    """Seconds a segment and network."""
    trial = Trial(
        task="language", cell=cell, length=settings.length, learning_rate=1e-3, seed=0,
        hidden=settings.hidden, batch=settings.batch, vocabulary=vocabulary, dropout=0.5,
    )  # fmt: skip
    trials, network = [replace(trial, seed=seed) for seed in range(seeds)], TiedNetwork(trial)
    device = torch.device(settings.device)
    flat = network.flatten([network.init(each) for each in trials]).to(device)
    adam = Adam.zeros(flat)
    keys = dropout_keys(range(seeds), np.zeros(seeds, np.int64), range(count + 1)).to(device)
    state = flat.new_zeros(seeds, settings.batch, network.cell.state_size(trial.hidden))
    corrections = adam.corrections(torch.full((seeds,), 1e-3).numpy(), count + 1)
    for k in range(count + 1):
        segment = text[k % text.segments]
        _, state = update_(network, trial, flat, adam, corrections[k], segment, state, keys[k])
        if k == 0:
            _wait(device)
            began = time.perf_counter()
    _wait(device)
    return (time.perf_counter() - began) / count / seeds


def run(settings: Settings) -> None:
    """What is asked for."""
    (measure_loss if settings.what == "loss" else measure_epochs)(settings)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        values = json.loads(sys.argv[3])
        found = one_loss(sys.argv[2], Settings(**{**values, "data": None, "cells": ()}))
        print(json.dumps(found))
    else:
        sys.exit(script.main(Settings, run, __doc__ or ""))
