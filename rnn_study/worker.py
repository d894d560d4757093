"""What runs in an actor: `train_pack`, and the `Message`s it yields to the driver.

Imports no ray (Tune reports whatever a generator yields) and no mlflow: an actor starts seconds
sooner.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rnn_study import storage, texts
from rnn_study.config import Pack
from rnn_study.search import Course, Rule
from rnn_study.tasks import TASKS
from rnn_study.training import Checkpoints, Epoch, History, train

REPORT_SECONDS = 2.0
"""Least time between two messages of a pack: Tune takes some hundred results a second in all."""


@dataclass
class Message:
    """News of a pack since its last message."""

    histories: dict[str, History] = field(default_factory=dict)
    """Epochs by trial id. A pack that resumed repeats the epochs after its checkpoint."""
    finished: dict[str, str] = field(default_factory=dict)
    """How trials ended or that they were stopped, by id; their whole histories lie in their last
    checkpoints."""
    node: str = ""
    """The machine it trains on, with Ray's id."""
    device: str = ""
    """`cpu`, or the GPU's name."""

    def add(self, epoch: Epoch) -> None:
        """Appends one epoch of every member."""
        rows = {"epoch": epoch.number, **epoch.metrics}
        for s, (trial, status) in enumerate(zip(epoch.trials, epoch.status, strict=True)):
            past = self.histories.get(trial.id, {})
            self.histories[trial.id] = {
                name: np.append(past.get(name, values[:0]), values[s])
                for name, values in rows.items()
            }
            if status != "training":
                self.finished[trial.id] = status


def train_pack(config: dict[str, Any]) -> Iterator[dict[str, Message]]:
    """The Tune trainable: trains `config["pack"]` and yields a `Message` every few seconds.

    `config["rule"]`: the JSON of a `Rule` that may stop the proposals in the pack, or "".
    `config["ray_node"]`: Ray's id of the node that it runs on.
    """
    pack = Pack.from_json(config["pack"])
    left = pack.trials
    checkpoints = Checkpoints(storage.files(config["checkpoints"]))
    judge = Judge(pack, config["rule"], checkpoints) if config["rule"] else None
    node, device = _place(config["ray_node"], config["device"])
    message, sent = (
        Message(node=node, device=device),
        0.0,
    )  # the first epoch is reported at once: progress shows early
    if judge is not None:
        hopeless = judge.hopeless()  # stopped before a crash
        message.finished |= dict.fromkeys(hopeless, "stopped")
        left = tuple(trial for trial in pack.trials if trial.id not in hopeless)
    if left:
        seconds = config["checkpoint_seconds"]
        first = pack.trials[0]
        reads = TASKS[first.task].reads_text
        corpora = texts.fetch(config["corpora"], first.corpus) if reads else None
        for epoch in train(
            Pack(left),
            config["device"],
            checkpoints,
            seconds,
            judge,
            corpora=corpora,
            cuda_graphs=config["cuda_graphs"] == "on",
        ):
            message.add(epoch)
            if time.monotonic() - sent >= REPORT_SECONDS:
                yield {"message": message}
                message, sent = Message(node=node, device=device), time.monotonic()
    yield {"message": message}


def _place(ray_node: str, device: str) -> tuple[str, str]:
    """The machine and the device that this process trains on, for people."""
    return (
        f"{platform.node()}, Ray node {ray_node[:8]}",
        torch.cuda.get_device_name() if device == "cuda" else device,
    )


class Judge:
    """Tells when to stop the proposals of a pack: trials of one learning rate, all their seeds."""

    def __init__(self, pack: Pack, rule: str, checkpoints: Checkpoints) -> None:
        first = pack.trials[0]
        metric = TASKS[first.task].metric
        self._rule = Rule.from_json(rule, metric, first.epochs)
        self._columns = ("epoch", "train_loss", "val_loss", metric.column)
        self._ended: set[str] = set()
        self._histories: dict[str, dict[str, list[float]]] = {}
        for trial in pack.trials:
            state = checkpoints.load(trial)
            past = state.history if state else {}
            self._histories[trial.id] = {c: [*past.get(c, ())] for c in self._columns}
            if state and state.finished:
                self._ended.add(trial.id)
        self._stopped: set[str] = set()
        self._proposals: dict[float, list[str]] = {}
        for trial in pack.trials:
            self._proposals.setdefault(trial.learning_rate, []).append(trial.id)

    def __call__(self, epoch: Epoch) -> np.ndarray:
        """(S,) bool: the members that shall leave after this epoch."""
        rows = {"epoch": epoch.number, **epoch.metrics}
        for s, trial in enumerate(epoch.trials):
            for name, values in self._histories[trial.id].items():
                values.append(rows[name][s])
            if epoch.status[s] != "training":
                self._ended.add(trial.id)
        if self._rule.thresholds.keys() & set(epoch.number.tolist()):
            self._stopped |= self.hopeless()
        # parts of a pack that train by turns may have passed a threshold before it was decided
        return np.array([trial.id in self._stopped for trial in epoch.trials])

    def hopeless(self) -> set[str]:
        """The trials of the proposals that are to be stopped."""
        found: set[str] = set()
        for ids in self._proposals.values():
            result = self._rule.judge([self._course(trial_id) for trial_id in ids])
            if result is not None and result.stopped is not None:
                found |= set(ids)
        return found

    def _course(self, trial_id: str) -> Course:
        """What is known of a trial."""
        history = {name: np.array(values) for name, values in self._histories[trial_id].items()}
        return Course(history, trial_id in self._ended)
