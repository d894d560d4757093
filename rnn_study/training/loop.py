"""`train`: the loop that trains a pack and yields after every epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rnn_study.config import Pack, Trial
from rnn_study.training.adam import clip_
from rnn_study.training.checkpoint import Checkpoints
from rnn_study.training.members import Members

Status = Literal["training", "solved", "unsolved", "diverged"]
"""`unsolved`: trained to its last epoch without solving the task."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch showed. Every array has a leading axis S, in the order of `trials`."""

    trials: tuple[Trial, ...]
    number: np.ndarray
    """Epochs that each member has trained, from 1; members of a resumed pack may differ."""
    metrics: dict[str, np.ndarray]
    """`train_loss`, `train_accuracy`, `val_loss`, `val_accuracy` (named after the task's metric),
    `gradient_norm` (mean over the batches, before clipping), `learning_rate`, and `seconds` (a
    member's share of the wall time); float64, NaN where a member diverged."""
    status: tuple[Status, ...]

    @property
    def accuracy(self) -> np.ndarray:
        """Validation accuracy of each member."""
        return self.metrics["val_accuracy"]


def train(
    pack: Pack,
    device: str | torch.device = "cpu",
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = 30.0,
) -> Iterator[Epoch]:
    """Trains the trials of `pack` together, each as if it were alone.

    Yields an `Epoch` after every epoch. A member that solved its task, diverged or reached its last
    epoch leaves after the epoch that says so, and the rest go on smaller. With `checkpoints`,
    members start where they were, finished ones are left out, and states are saved every
    `checkpoint_seconds` and when a member leaves, before the epoch is yielded.

    On a CPU it sets this process to one thread and to flushing subnormal numbers to zero.
    """
    device = torch.device(device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # a sum that threads share depends on how many they are
        torch.set_flush_denormal(True)  # vanishing gradients are subnormal, and those are slow
    members = Members.start(pack, device, checkpoints)
    saved = time.monotonic()
    while members:
        metrics = _train_epoch(members)
        members.record(metrics)
        status = _status(members, metrics)
        leaving = np.array([s != "training" for s in status])
        if checkpoints is not None:
            due = time.monotonic() - saved >= checkpoint_seconds
            members.save(checkpoints, status, leaving | due)
            saved = time.monotonic() if due else saved
        yield Epoch(members.trials, members.epochs, metrics, status)
        if leaving.any():
            members.keep(~leaving)


def _train_epoch(members: Members) -> dict[str, np.ndarray]:
    """One pass over the training data, then one over the validation data."""
    began = time.perf_counter()
    network, trial = members.network, members.trials[0]
    rates = members.rates()
    sums = members.flat.new_zeros(3, len(members))
    batches = 0
    for x, targets in members.training.shuffled(members.trials, members.epochs):
        params = {k: v.detach().requires_grad_() for k, v in network.views(members.flat).items()}
        outputs = network.outputs(params, x)  # (S, B, O)
        losses = network.task.loss(outputs, targets)  # (S, B)
        loss = losses.mean(1) if trial.batch_loss == "mean" else losses.sum(1)  # (S,)
        gradient = network.gradient(loss, params)  # (S, P)
        norms = clip_(gradient, trial.clip)
        members.adam.update_(members.flat, gradient, rates)
        network.cell.project_(network.views(members.flat))
        with torch.no_grad():
            scores = network.task.score(outputs, targets)
            sums += torch.stack((losses.mean(1), scores.sum(1), norms))
        batches += 1
    train_loss, train_right, norm = sums.cpu().double().numpy()
    val_loss, val_right = _evaluate(members)
    name = network.task.metric
    broken = ~np.isfinite(train_loss + val_loss)
    return {
        "train_loss": train_loss / batches,
        f"train_{name}": np.where(broken, np.nan, train_right / trial.train_size),
        "val_loss": val_loss / trial.val_size,
        f"val_{name}": np.where(broken, np.nan, val_right / trial.val_size),
        "gradient_norm": norm / batches,
        "learning_rate": rates,
        "seconds": np.full(len(members), (time.perf_counter() - began) / len(members)),
    }


@torch.no_grad()
def _evaluate(members: Members) -> np.ndarray:
    """Sums of loss and score over the validation data, (2, S)."""
    network = members.network
    params = network.views(members.flat)
    sums = members.flat.new_zeros(2, len(members))
    for x, targets in members.validation.in_order():
        outputs = network.outputs(params, x)
        loss, score = network.task.loss(outputs, targets), network.task.score(outputs, targets)
        sums += torch.stack((loss.sum(1), score.sum(1)))
    return sums.cpu().double().numpy()


def _status(members: Members, metrics: dict[str, np.ndarray]) -> tuple[Status, ...]:
    """Which members are done, and how."""
    finite = np.isfinite(metrics["train_loss"]) & np.isfinite(metrics["val_loss"])
    solved = members.network.task.solved(metrics[f"val_{members.network.task.metric}"])
    last = members.epochs >= [trial.epochs for trial in members.trials]
    done = {"diverged": ~finite, "solved": solved, "unsolved": last}
    return tuple(
        next((name for name, hit in done.items() if hit[s]), "training")  # type: ignore[misc]
        for s in range(len(members))
    )
