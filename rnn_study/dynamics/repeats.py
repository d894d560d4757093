"""When a sequence of tokens begins to repeat itself, and in how long a cycle."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

TIMES: Final = 3
"""How often a cycle must have been seen, up to the end."""
SHARE: Final = 0.25
"""Least share of the sequence that is in its cycle: short repetitions come about by chance."""


class Repetition(NamedTuple):
    """How a sequence ends."""

    after: int
    """Tokens before its cycle begins; -1: it is in none."""
    cycle: int
    """Tokens of its cycle; 0: it is in none."""


def repetition(tokens: np.ndarray) -> Repetition:
    """The earliest step from which `tokens`, (T,), repeat themselves to the end, and the period.

    A cycle counts if it was seen `TIMES` times and fills the last `SHARE` of the sequence, so one
    that begins later than that or is longer is not found. By the prefix function of the reversed
    sequence (Knuth, Morris and Pratt, SIAM J. Comput. 6, 1977), in time linear in T.
    """
    back = tokens[::-1].tolist()
    border = [0] * len(back)
    found = Repetition(-1, 0)
    for end in range(1, len(back)):
        width = border[end - 1]
        while width and back[end] != back[width]:
            width = border[width - 1]
        border[end] = width + (back[end] == back[width])
        tail = end + 1
        cycle = tail - border[end]
        if TIMES * cycle <= tail and SHARE * len(back) <= tail:
            found = Repetition(len(back) - tail, cycle)
    return found
