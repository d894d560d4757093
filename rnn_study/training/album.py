"""`Album`: the portraits of a trial, epoch by epoch, and its networks at these epochs.

While a trial trains there is one file an epoch, written once; of a finished trial they are bound
into one `Album`, which is an artifact of its run.
"""

from __future__ import annotations

import io
import logging
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO

import numpy as np

from rnn_study.dynamics import Portrait
from rnn_study.training.files import Files

_PORTRAIT, _NETWORK = "portrait.", "network."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Album:
    """E portraits of one network in training; axes as in `Portrait`."""

    epochs: np.ndarray
    """(E,) from 1."""
    probes: tuple[str, ...]
    """The names of the B inputs."""
    portraits: Portrait
    """All of them: every array with a leading axis E."""
    networks: dict[str, np.ndarray]
    """The parameters by name, (E, ...) each, float32."""

    def save(self, file: Path | IO[bytes]) -> None:
        """Writes a compressed `.npz`."""
        arrays = _named(self.portraits, self.networks)
        np.savez_compressed(file, epochs=self.epochs, probes=np.array(self.probes), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: Path) -> Album:
        """What `save` has written."""
        with np.load(file, allow_pickle=False) as arrays:
            portraits, networks = _parts(dict(arrays))
            return cls(arrays["epochs"], tuple(arrays["probes"].tolist()), portraits, networks)


def keep(files: Files, epoch: int, portrait: Portrait, network: dict[str, np.ndarray]) -> None:
    """Writes the page of an epoch."""
    page = io.BytesIO()
    np.savez_compressed(page, **_named(portrait, network))  # type: ignore[arg-type]
    files.write(f"{epoch:08d}.npz", page.getvalue())


def bind(files: Files, probes: tuple[str, ...], last: int) -> Album:
    """The pages of the epochs up to `last`. A damaged one is left out with a warning.

    Raises FileNotFoundError if there is none.
    """
    epochs, portraits, networks = [], [], []
    for name in files.names():
        stem, _, kind = name.rpartition(".")
        if kind != "npz" or int(stem) > last:
            continue
        try:
            with np.load(io.BytesIO(files.read(name)), allow_pickle=False) as arrays:
                portrait, network = _parts(dict(arrays))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            _log.warning("portrait %s/%s is damaged (%s) and left out", files, name, error)
            continue
        epochs.append(int(stem))
        portraits.append(portrait)
        networks.append(network)
    if not epochs:
        raise FileNotFoundError(f"no portrait of the trial in {files}")
    together = {
        field.name: np.stack([getattr(portrait, field.name) for portrait in portraits])
        for field in fields(Portrait)
    }
    weights = {name: np.stack([network[name] for network in networks]) for name in networks[0]}
    return Album(np.array(epochs), probes, Portrait(**together), weights)


def _named(portraits: Portrait, networks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {_PORTRAIT + k: v for k, v in portraits.arrays().items()} | {
        _NETWORK + k: v for k, v in networks.items()
    }


def _parts(arrays: dict[str, np.ndarray]) -> tuple[Portrait, dict[str, np.ndarray]]:
    """The inverse of `_named`."""
    groups: dict[str, dict[str, np.ndarray]] = {_PORTRAIT: {}, _NETWORK: {}}
    for key, array in arrays.items():
        for prefix, group in groups.items():
            if key.startswith(prefix):
                group[key.removeprefix(prefix)] = array
    return Portrait(**groups[_PORTRAIT]), groups[_NETWORK]
