"""Checkpoints: one folder a trial, safetensors beside JSON, written atomically, checked when read.

A checkpoint belongs to a trial, not to a pack, so members can resume in any company. The JSON file
is written last and holds the checksum of the other: a checkpoint is there once its JSON is. No
pickle is ever written or read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as dump_tensors

from rnn_study.config import Trial

_MAY_BE_EMPTY = ("first", "second", "history", "place")

KEPT = 2
"""Checkpoints of a trial that are kept: the newest, and the one before in case it is damaged."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The whole state of one member after `epoch` epochs."""

    epoch: int
    status: str
    """`training`, or how the trial ended."""
    steps: int
    """Optimiser steps taken."""
    params: dict[str, np.ndarray]
    first: dict[str, np.ndarray]
    """Adam's first moments, empty once the trial has ended."""
    second: dict[str, np.ndarray]
    """Adam's second moments, likewise."""
    history: dict[str, np.ndarray]
    """Metrics by name, (epoch,) each."""
    batches: int = 0
    """Batches done of the epoch after these."""
    place: dict[str, np.ndarray] = field(default_factory=dict)
    """What the rest of that epoch needs to know of them."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.status != "training"


class Checkpoints:
    """The checkpoints of many trials under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trial: Trial, state: Checkpoint) -> None:
        """Writes a checkpoint and drops all but it and the one before.

        Later ones are dropped too: they are damaged, or training would have gone on from them.
        """
        groups = {g: getattr(state, g) for g in ("params", "first", "second", "history", "place")}
        tensors = {
            f"{group}.{name}": np.asarray(array, order="C")
            for group, arrays in groups.items()
            for name, array in arrays.items()
        }
        data = dump_tensors(tensors)
        about = {
            "id": trial.id,
            "trial": asdict(trial),
            "epoch": state.epoch,
            "batches": state.batches,
            "status": state.status,
            "steps": state.steps,
            "sha256": hashlib.sha256(data).hexdigest(),
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
        }
        text = json.dumps({**about, "checksum": _checksum(about)}, indent=1)
        folder = self.folder / trial.id
        folder.mkdir(parents=True, exist_ok=True)
        within = f"-{state.batches:08d}" if state.batches else ""
        stem = folder / f"epoch-{state.epoch:08d}{within}"
        write_atomically(stem.with_suffix(".safetensors"), data)
        write_atomically(stem.with_suffix(".json"), text.encode())
        earlier = [p for p in self._newest_first(trial) if p.stem < stem.name][: KEPT - 1]
        kept = {path.stem for path in (stem, *earlier)}
        # the JSON files first ("epoch-1.json" < "epoch-1.safetensors"): a checkpoint that has its
        # JSON has its tensors; and what a crash left half-written goes as well
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.stem not in kept:
                path.unlink()

    def load(self, trial: Trial) -> Checkpoint | None:
        """The newest sound checkpoint, or None where there is none. Damage is warned of."""
        for path in self._newest_first(trial):
            try:
                return _read(path, trial)
            except (OSError, ValueError, KeyError) as error:
                _log.warning("checkpoint %s is damaged (%s); trying the one before", path, error)
        return None

    def portraits(self, trial: Trial) -> Path:
        """The folder of the portraits of a trial."""
        return self.folder / trial.id / "portraits"

    def _newest_first(self, trial: Trial) -> list[Path]:
        found = (self.folder / trial.id).glob("epoch-*.json")
        return sorted(found, key=lambda path: path.stem, reverse=True)


def _read(path: Path, trial: Trial) -> Checkpoint:
    """The checkpoint at `path`; ValueError, KeyError or OSError where it is damaged."""
    about = json.loads(path.read_text())
    data = path.with_suffix(".safetensors").read_bytes()
    if not isinstance(about, dict) or about.pop("checksum") != _checksum(about):
        raise ValueError("the checksum of its JSON is wrong")
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError("the checksum of its tensors is wrong")
    if about["id"] != trial.id:
        raise ValueError(f"it belongs to trial {about['id']}")
    groups: dict[str, dict[str, np.ndarray]] = {g: {} for g in _MAY_BE_EMPTY}
    for key, array in sorted(load_tensors(data).items()):  # it has an order of its own
        group, name = key.split(".", 1)
        groups.setdefault(group, {})[name] = array
    return Checkpoint(
        epoch=about["epoch"],
        status=about["status"],
        steps=about["steps"],
        params=groups["params"],
        first=groups["first"],
        second=groups["second"],
        history=groups["history"],
        batches=about.get("batches", 0),
        place=groups["place"],
    )


def _checksum(about: dict[str, Any]) -> str:
    """Of the JSON's own fields, so that no bit of a checkpoint changes unnoticed."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` under another name, flushes it to the disk and renames it to `path`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
