"""Random bytes that are drawn where they are needed: the same on every device.

What dropout leaves out of a segment of the paper's language model takes 12.8 million bytes for each
network. NumPy draws them on the host, in more time than a GPU needs for the segment; here they are
a hash of their own places, which a GPU makes in the time of some passes over them.

Source: the output function and the step of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", 2014).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Final

import numpy as np
import torch
from jaxtyping import Int64, Integer, UInt8
from torch import Tensor

from rnn_study.randomness import generator

_STEP: Final = 0x9E3779B97F4A7C15 - 2**64
_ROUNDS: Final = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1))
"""How far bits are shifted, and what the result is multiplied by; as signed numbers."""
_BYTES: Final = 8
"""Of a hash."""


def dropout_keys(
    seeds: Iterable[int], epochs: Integer[np.ndarray, "S"], parts: range
) -> Int64[Tensor, "N S"]:
    """The keys of some parts of an epoch, of each network; the epochs differ where the networks
    have trained for unequal times."""
    rows = [
        generator(seed, "dropout", int(epoch)).integers(2**63, size=parts.stop)
        for seed, epoch in zip(seeds, epochs, strict=True)
    ]
    return torch.from_numpy(np.stack(rows, 1)[parts.start :])


def random_bytes(keys: Int64[Tensor, "S"], shape: tuple[int, ...]) -> UInt8[Tensor, "S *shape"]:
    """Bytes of 0 to 255, equally likely, that follow from the keys and their places alone."""
    count = prod(shape)
    z = torch.arange(1, -(-count // _BYTES) + 1, device=keys.device)
    z = keys[:, None] + _STEP * z
    for shift, factor in _ROUNDS:
        shifted = z >> shift  # with copies of the sign, which are cut off
        z.bitwise_xor_(shifted.bitwise_and_(2 ** (64 - shift) - 1)).mul_(factor)
    return z.view(torch.uint8)[:, :count].unflatten(1, shape)
