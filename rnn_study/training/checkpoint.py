"""Checkpoints: one folder a trial, safetensors beside JSON, written atomically, checked when read.

A checkpoint belongs to a trial, not to a pack, so members can resume in any company. The JSON file
is written last and holds the checksum of the other: a checkpoint is there once its JSON is. No
pickle is ever written or read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as dump_tensors

from rnn_study.config import Trial
from rnn_study.training.files import Files, Folder

_GROUPS = ("params", "first", "second", "history", "place", "best")

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
    best: dict[str, np.ndarray] = field(default_factory=dict)
    """The parameters after the epoch with the best validation value, of a task with test data."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.status != "training"


class Checkpoints:
    """The checkpoints of many trials in one place, a folder a trial."""

    def __init__(self, place: Files | Path) -> None:
        self._place = Folder(place) if isinstance(place, Path) else place

    def save(self, trial: Trial, state: Checkpoint) -> None:
        """Writes a checkpoint and drops all but it and the one before.

        Later ones are dropped too where they are damaged. Sound ones are another study's, which
        trains the same trial at this time and is ahead.
        """
        groups = {group: getattr(state, group) for group in _GROUPS}
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
        files = self.of(trial)
        within = f"-{state.batches:08d}" if state.batches else ""
        stem = f"epoch-{state.epoch:08d}{within}"
        files.write(f"{stem}.safetensors", data)
        files.write(f"{stem}.json", text.encode())
        names = files.names()
        known = _newest_first(names)
        earlier = [each for each in known if each < stem][: KEPT - 1]
        later = [each for each in known if each > stem and _is_sound(files, each, trial)]
        # the JSON files first ("epoch-1.json" < "epoch-1.safetensors"): a checkpoint that has its
        # JSON has its tensors; and of tensors ahead without one, the JSON may be being written
        for name in names:
            each = name.rpartition(".")[0]
            if each not in (stem, *earlier, *later) and (each in known or each < stem):
                files.remove(name)
        files.tidy()

    def load(self, trial: Trial) -> Checkpoint | None:
        """The newest sound checkpoint, or None where there is none. Damage is warned of."""
        files = self.of(trial)
        for stem in _newest_first(files.names()):
            try:
                return _read(files, stem, trial)
            except (OSError, ValueError, KeyError) as error:
                where = f"{files}/{stem}"
                _log.warning("checkpoint %s is damaged (%s); trying the one before", where, error)
        return None

    def of(self, trial: Trial) -> Files:
        """Where the checkpoints of a trial lie."""
        return self._place.within(trial.id)

    def portraits(self, trial: Trial) -> Files:
        """Where the portraits of a trial lie."""
        return self.of(trial).within("portraits")


def _newest_first(names: list[str]) -> list[str]:
    """The checkpoints among `names`, without what follows the dot."""
    found = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return sorted((stem for stem in found if stem.startswith("epoch-")), reverse=True)


def _is_sound(files: Files, stem: str, trial: Trial) -> bool:
    try:
        _read(files, stem, trial)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _read(files: Files, stem: str, trial: Trial) -> Checkpoint:
    """The checkpoint of this name; ValueError, KeyError or OSError where it is damaged."""
    about = json.loads(files.read(f"{stem}.json"))
    data = files.read(f"{stem}.safetensors")
    if not isinstance(about, dict) or about.pop("checksum") != _checksum(about):
        raise ValueError("the checksum of its JSON is wrong")
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError("the checksum of its tensors is wrong")
    if about["id"] != trial.id:
        raise ValueError(f"it belongs to trial {about['id']}")
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in _GROUPS}
    for key, array in sorted(load_tensors(data).items()):  # it has an order of its own
        group, name = key.split(".", 1)
        groups[group][name] = array
    return Checkpoint(
        epoch=about["epoch"],
        status=about["status"],
        steps=about["steps"],
        batches=about.get("batches", 0),
        **groups,
    )


def _checksum(about: dict[str, Any]) -> str:
    """Of the JSON's own fields, so that no bit of a checkpoint changes unnoticed."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
