"""Checkpoints that are as small as can be, and what the tests of checkpoints ask of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from small import TRIAL

from rnn_study.config import Pack
from rnn_study.training import Checkpoint, Checkpoints, train

EVERY = 1e-9
"""Seconds between two checkpoints: one after every epoch."""


def train_for(epochs, members, checkpoints, seconds=EVERY):
    """Trains `members` for some epochs and is then cut off."""
    driver = train(Pack(tuple(members)), "cpu", checkpoints, seconds)
    list(islice(driver, epochs))
    driver.close()


def state_of(epoch, status="training", value=1.0):
    """A checkpoint of any trial, as small as can be."""
    array = np.full((3, 2), value, dtype=np.float32)
    history = {"epoch": np.arange(1, epoch + 1), "val_loss": np.full(epoch, np.nan)}
    moments = {"w": array / 2}
    best = {"w": array + 1}
    return Checkpoint(epoch, status, 10 * epoch, {"w": array}, moments, moments, history, best=best)


def with_two(folder) -> Checkpoints:
    """Checkpoints of the epochs 8 and 9."""
    checkpoints = Checkpoints(folder)
    for epoch in (8, 9):
        checkpoints.save(TRIAL, state_of(epoch, value=epoch))
    return checkpoints


def same(one, other):
    groups = ("params", "first", "second", "history", "best")
    assert (one.epoch, one.status, one.steps) == (other.epoch, other.status, other.steps)
    for ours, theirs in ((getattr(one, g), getattr(other, g)) for g in groups):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            assert array.dtype == theirs[name].dtype and array.shape == theirs[name].shape
            assert array.tobytes() == theirs[name].tobytes()
    return True


def folder_of(checkpoints, trial=TRIAL) -> Path:
    return Path(str(checkpoints.of(trial)))
