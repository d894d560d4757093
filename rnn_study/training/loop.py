"""`train`: the loop that trains a pack and yields after every epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.config import Pack, Trial
from rnn_study.dynamics import Portrait
from rnn_study.errors import require
from rnn_study.training import album
from rnn_study.training.checkpoint import Checkpoints
from rnn_study.training.epochs import Eager, Runner
from rnn_study.training.graphs import Pool, Replay
from rnn_study.training.halving import Turns, free, is_out_of_memory
from rnn_study.training.members import Members
from rnn_study.training.network import Layout
from rnn_study.training.reading import Reading
from rnn_study.training.replayed_reading import ReplayedReading
from rnn_study.training.text_watch import TextWatch, watch_of
from rnn_study.training.watch import SECONDS, Watch

_log = logging.getLogger(__name__)

Status = Literal["training", "solved", "unsolved", "diverged", "stopped"]
"""`unsolved`: trained to its last epoch without solving the task. `stopped`: given up by whoever
drives the training; it may go on one day."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch showed. Every array has a leading axis S, in the order of `trials`."""

    trials: tuple[Trial, ...]
    number: np.ndarray
    """Epochs that each member has trained, from 1; members of a resumed pack may differ."""
    metrics: dict[str, np.ndarray]
    """`train_loss`, `val_loss`, and both of each of the task's scores (`val_accuracy`),
    `gradient_norm` (mean over the batches, before clipping), `learning_rate`, and `seconds` (a
    member's share of the wall time, also of the part of the epoch before a checkpoint within it);
    float64, NaN where a member diverged. Of trials with `dynamics_every`, what `Watch` says of
    their attractors; NaN in the epochs between."""
    status: tuple[Status, ...]
    portraits: Mapping[str, Portrait] = field(default_factory=dict)
    """The attractors of the members that were looked at after this epoch, by trial id."""

    @property
    def accuracy(self) -> np.ndarray:
        """Validation accuracy of each member; of a task that has one."""
        return self.metrics["val_accuracy"]


def train(
    pack: Pack,
    device: str | torch.device = "cpu",
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = 30.0,
    stop: Callable[[Epoch], np.ndarray] | None = None,
    runner: Callable[[], Runner] | None = None,
    corpora: Path | None = None,
    cuda_graphs: bool = True,
) -> Iterator[Epoch]:
    """Trains the trials of `pack` together, each as if it were alone.

    Yields an `Epoch` after every epoch. A member that solved its task, diverged or reached its last
    epoch leaves after the epoch that says so, and the rest go on smaller. With `checkpoints`,
    members start where they were, finished ones are left out, and states are saved every
    `checkpoint_seconds` and when a member leaves, before the epoch is yielded; portraits are kept
    beside them. `stop` tells, (S,) bool, which members shall leave after an epoch though they could
    train on. `runner` makes what trains a part of the pack, instead of `usual_runner`.
    `corpora`: the folder of the texts that a task may read. `cuda_graphs`: whether batches are
    replayed as graphs on a GPU.

    Where memory runs out the pack halves itself, as often as need be, and the halves train by
    turns: an `Epoch` is then of one part of the members. Only a single network that does not fit
    raises torch's error.

    On a GPU it sets this process to multiply in TF32 or not, as the trials say; InvalidInput where
    they ask for it on another device. On a CPU it sets this process to one thread and to flushing
    subnormal numbers to zero.
    """
    device = torch.device(device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # a sum that threads share depends on how many they are
        torch.set_flush_denormal(True)  # vanishing gradients are subnormal, and those are slow
    set_precision(device, pack.trials[0].tf32)
    members = Members.start(pack, device, checkpoints, corpora)
    if members is None:
        return
    graphs = cuda_graphs and device.type == "cuda"
    first = pack.trials[0]
    watch = watch_of(members.network, first, corpora) if first.dynamics_every else None
    usual = usual_runner(members.network, graphs, checkpoints, checkpoint_seconds)
    turns = Turns(members.abreast(), runner or usual)
    for members, trainer in turns:
        try:
            metrics = _train_epoch(members, trainer)
        except (RuntimeError, MemoryError) as error:
            del trainer  # and its memory
            turns.halve(members, error)
            continue
        members.epochs = members.epochs + 1
        status = _status(members, metrics)
        ended = np.array([s != "training" for s in status])
        if stop is not None:
            halt = stop(Epoch(members.trials, members.epochs, metrics, status))
            status = _halted(status, halt)
        leaving = np.array([s != "training" for s in status])
        # not those that are stopped: should one train on, its history is as if it never had been
        portraits = _watch(watch, members, metrics, ended, checkpoints)
        members.record(metrics)
        if checkpoints is not None:
            due = time.monotonic() - members.saved >= checkpoint_seconds
            members.save(checkpoints, status, leaving | due)
            members.saved = time.monotonic() if due else members.saved
        yield Epoch(members.trials, members.epochs, metrics, status, portraits)
        if not leaving.all():
            turns.back(members.keep(~leaving) if leaving.any() else members, trainer)


def set_precision(device: torch.device, tf32: bool) -> None:
    """Of the products of matrices on a GPU, in this process."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
    else:
        require(not tf32, "tf32", tf32, f"it needs a GPU, and the pack trains on {device.type}")


def usual_runner(
    network: Layout, graphs: bool, checkpoints: Checkpoints | None, seconds: float
) -> Callable[[], Runner]:
    """What makes what trains a part of a pack, with CUDA `graphs` or operation by operation; of a
    text it saves every `seconds`."""
    pool = Pool()
    if network.task.reads_text:
        keep = None if checkpoints is None else lambda members: members.save_all(checkpoints)
        if graphs:
            return partial(ReplayedReading, keep, seconds, pool)
        return partial(Reading, keep, seconds)
    return partial(Replay, pool) if graphs else Eager


def _halted(status: tuple[Status, ...], halt: np.ndarray) -> tuple[Status, ...]:
    """Members to `halt`, (S,) bool, are stopped, unless they have ended anyway."""
    return tuple(
        "stopped" if now == "training" and halt[s] else now for s, now in enumerate(status)
    )


def _train_epoch(members: Members, runner: Runner) -> dict[str, np.ndarray]:
    """The metrics of an epoch, (S,) each. `members` change at its end, or not if it fails."""
    began = time.perf_counter()
    earlier = 0.0 if members.place is None else members.place.values["seconds"].cpu().numpy()
    task, rates = members.network.task, members.rates()
    means = runner.epoch(members, rates)
    norm = means["train"].pop("norm")
    losses = {split: found.pop("loss") for split, found in means.items()}
    broken = ~np.isfinite(losses["train"] + losses["val"])
    metrics: dict[str, np.ndarray] = {}
    for split, loss in losses.items():
        metrics[f"{split}_loss"] = loss
        for name, values in (means[split] | task.measured(loss)).items():
            metrics[f"{split}_{name}"] = np.where(broken, np.nan, values)
    return metrics | {
        "gradient_norm": norm,
        "learning_rate": rates,
        "seconds": np.full(len(members), (time.perf_counter() - began) / len(members)) + earlier,
    }


def _watch(
    watch: Watch | TextWatch | None,
    members: Members,
    metrics: dict[str, np.ndarray],
    leaving: np.ndarray,
    checkpoints: Checkpoints | None,
) -> dict[str, Portrait]:
    """Looks at the members that are due, and adds what it sees to `metrics`, (S,) each."""
    if watch is None:
        return {}
    every = members.trials[0].dynamics_every
    metrics |= {name: np.full(len(members), np.nan) for name in watch.columns()}
    metrics[SECONDS] = np.zeros(len(members))
    due = np.flatnonzero((members.epochs % every == 0) | leaving)
    if not len(due):
        return {}
    began = time.perf_counter()
    trials = [members.trials[s] for s in due]
    flat = members.flat[torch.from_numpy(due).to(members.flat.device)]
    found, columns = _look(watch, trials, flat)
    for name, values in columns.items():
        metrics[name][due] = values
    if checkpoints is not None:
        networks = [members.network.remembered(row) for row in flat.cpu()]
        for s, portrait, network in zip(due, found, networks, strict=True):
            album.keep(
                checkpoints.portraits(members.trials[s]), int(members.epochs[s]), portrait, network
            )
    metrics[SECONDS][due] = (time.perf_counter() - began) / len(due)
    return {trial.id: portrait for trial, portrait in zip(trials, found, strict=True)}


def _look(
    watch: Watch | TextWatch, trials: list[Trial], flat: Float[Tensor, "S P"]
) -> tuple[list[Portrait], dict[str, np.ndarray]]:
    """What `watch` sees of networks; where memory runs out, of one half and then of the other."""
    try:
        return watch.look(trials, flat)
    except (RuntimeError, MemoryError) as error:
        if len(trials) == 1 or not is_out_of_memory(error):
            raise
        _log.warning("out of memory when %d networks are looked at; by halves", len(trials))
        free(error, flat.device)
    half = len(trials) // 2
    one, other = _look(watch, trials[:half], flat[:half]), _look(watch, trials[half:], flat[half:])
    columns = {name: np.concatenate((values, other[1][name])) for name, values in one[1].items()}
    return one[0] + other[0], columns


def _status(members: Members, metrics: dict[str, np.ndarray]) -> tuple[Status, ...]:
    """Which members are done, and how."""
    finite = np.isfinite(metrics["train_loss"]) & np.isfinite(metrics["val_loss"])
    metric = members.network.task.metric
    solved = metric.solved(metrics[metric.column])
    last = members.epochs >= [trial.epochs for trial in members.trials]
    last |= members.rates(metrics["val_loss"]) < [trial.least_rate for trial in members.trials]
    done = {"diverged": ~finite, "solved": solved, "unsolved": last}
    return tuple(
        next((name for name, hit in done.items() if hit[s]), "training")  # type: ignore[misc]
        for s in range(len(members))
    )
