"""What runs in an actor: `train_pack`, and the `Message`s it yields to the driver.

Imports no ray (Tune reports whatever a generator yields) and no mlflow: an actor starts seconds
sooner.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnn_study.config import Pack
from rnn_study.training import Checkpoints, Epoch, History, train

REPORT_SECONDS = 2.0
"""Least time between two messages of a pack: Tune takes some hundred results a second in all."""


@dataclass
class Message:
    """News of a pack since its last message."""

    histories: dict[str, History] = field(default_factory=dict)
    """Epochs by trial id. A pack that resumed repeats the epochs after its checkpoint."""
    finished: dict[str, str] = field(default_factory=dict)
    """How trials ended, by id; their whole histories lie in their last checkpoints."""

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
    """The Tune trainable: trains `config["pack"]` and yields a `Message` every few seconds."""
    pack = Pack.from_json(config["pack"])
    checkpoints = Checkpoints(Path(config["checkpoints"]))
    message, sent = Message(), 0.0  # the first epoch is reported at once: progress shows early
    for epoch in train(pack, config["device"], checkpoints, config["checkpoint_seconds"]):
        message.add(epoch)
        if time.monotonic() - sent >= REPORT_SECONDS:
            yield {"message": message}
            message, sent = Message(), time.monotonic()
    yield {"message": message}
