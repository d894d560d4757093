"""Small networks and data. All sizes are distinct primes, so that a mixed-up axis fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnn_study.cells import Cell, Parameters
from rnn_study.config import Pack, Trial
from rnn_study.randomness import generator
from rnn_study.training import Checkpoints, train
from rnn_study.training.epochs import Runner

S, B, T, I, H = 2, 3, 5, 7, 11  # noqa: E741

TRIAL = Trial(
    task="symbol",
    cell="lstm",
    length=53,
    learning_rate=1e-2,
    seed=0,
    hidden=11,
    epochs=3,
    batch=7,
    train_size=14,
    val_size=10,
    decay_epochs=(2,),
)
"""Two batches an epoch; the last batch of the validation data is smaller than the others."""

PINNED = Trial(task="symbol", cell="lstm", length=100, learning_rate=0.01, seed=3)
"""Of the paper's size; its id is written down in a test."""
CHANGED = {
    "task": "other",
    "cell": "orthogonal",
    "length": 101,
    "learning_rate": 0.02,
    "seed": 4,
    "data_seed": 1,
    "hidden": 201,
    "epochs": 100,
    "batch": 50,
    "train_size": 2000,
    "val_size": 999,
    "decay_epochs": (500, 1000),
    "decay": 0.2,
    "clip": 0.5,
    "batch_loss": "sum",
    "tf32": True,
    "dynamics_every": 10,
}
"""Another value for every field of a trial."""


def trials(count: int, **changes: Any) -> list[Trial]:
    """Trials of one shape with different seeds, rates and data."""
    rates = (1e-2, 3e-3, 1e-1)
    return [
        replace(TRIAL, seed=s, learning_rate=rates[s % 3], data_seed=s % 4, **changes)
        for s in range(count)
    ]


def normal(*shape: int, seed: int = 0, scale: float = 1.0, dtype: Any = torch.float32) -> Tensor:
    return torch.from_numpy(generator(seed, "normal").standard_normal(shape) * scale).to(dtype)


def parameters(
    cell: Cell, members: int = S, inputs: int = I, hidden: int = H, dtype: Any = torch.float32
) -> Parameters:
    """Fresh parameters of some members, each from its own seed."""
    drawn = [cell.init(generator(seed, "cell"), inputs, hidden) for seed in range(members)]
    return {k: torch.from_numpy(np.stack([d[k] for d in drawn])).to(dtype) for k in drawn[0]}


def require_grad(params: Parameters) -> Parameters:
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in params.items()}


@dataclass(frozen=True)
class Result:
    """What training found out about one trial."""

    status: str
    history: dict[str, np.ndarray]
    """One entry an epoch that was yielded; without seconds, which no trial repeats."""

    @property
    def bits(self) -> dict[str, bytes | str]:
        """Equal where results are equal to the last bit, NaN too."""
        return {"status": self.status, **{k: v.tobytes() for k, v in self.history.items()}}


def results(
    pack: Iterable[Trial],
    checkpoints: Checkpoints | None = None,
    device: str = "cpu",
    runner: Callable[[], Runner] | None = None,
    epochs: int | None = None,
    corpora: Path | None = None,
) -> dict[Trial, Result]:
    """Trains `pack` to its end, or for some epochs; a checkpoint after every epoch, if any."""
    rows: dict[Trial, list[dict[str, Any]]] = {}
    status: dict[Trial, str] = {}
    driver = train(Pack(tuple(pack)), device, checkpoints, 1e-9, runner=runner, corpora=corpora)
    for epoch in islice(driver, epochs):
        for s, trial in enumerate(epoch.trials):
            metrics = {k: v[s] for k, v in epoch.metrics.items() if not k.endswith("seconds")}
            rows.setdefault(trial, []).append({"epoch": epoch.number[s], **metrics})
            status[trial] = epoch.status[s]
    return {
        trial: Result(status[trial], {k: np.array([row[k] for row in past]) for k in past[0]})
        for trial, past in rows.items()
    }
