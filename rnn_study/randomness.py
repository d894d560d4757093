"""Random numbers that depend on a seed and a purpose alone, not on a pack, device or history."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A fresh generator for `purpose` under `seed`, for instance `generator(3, "order", epoch)`.

    Equal arguments give equal streams; different ones give independent streams. An epoch's numbers
    follow from its number, so a checkpoint needs no generator state.
    """
    key = hashlib.sha256(repr((int(seed), *purpose)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], dtype=np.uint64)))
