"""Memory of a scan: where it comes from, how members lie in it, how many share the cache.

A scan fills many megabytes. The system hands them out as pages that are cleared one by one when
they are first touched, which on a CPU can take as long as the scan itself. So memory that nobody
reads any more is used again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

CACHE = 1 << 21
"""Bytes that the members computed together may touch in a time step: a core's own cache."""
_LINE = 64
"""Bytes of a cache line and of the widest vector register."""


def dense(members: int, *shape: int, like: Tensor) -> Float[Tensor, "S *N"]:
    """Uninitialised memory without gaps, into which a product goes for all members at once."""
    if like.device.type != "cpu":
        return like.new_empty(members, *shape)
    taken = _KEPT.take(members * math.prod(shape) * like.element_size())
    return taken.view(like.dtype).view(members, *shape)


def rows(members: int, size: int, like: Tensor) -> Float[Tensor, "S N"]:
    """Uninitialised memory with gaps, N = `size` numbers a member.

    Every row begins at a cache line and ends before the next one begins. So vector instructions and
    their scalar rests fall on the same entries of a member whatever its place in the pack, and no
    elementwise operation runs over two members as if they were one.
    """
    line = _LINE // like.element_size()
    width = (size // line + 1) * line
    return dense(members, width, like=like)[:, :size]


def blocks(members: int, each: int, like: Tensor) -> Iterator[slice]:
    """The members, as many together as fit the cache at `each` numbers a member; off a CPU, all."""
    together = max(CACHE // (each * like.element_size()), 1)
    if like.device.type != "cpu":
        together = members
    for start in range(0, members, together):
        yield slice(start, start + together)


def release() -> None:
    """Gives back to the system what is kept to be used again."""
    _KEPT.release()


class _Kept:
    """Arrays to use again.

    A tensor made of a NumPy array holds a reference to it until the last view of the tensor is
    gone, so the references to an array tell whether it is in use. The memory is torch's all the
    same, and its profiler knows of it.
    """

    def __init__(self) -> None:
        self._arrays = [np.empty(0, np.uint8)]
        self._unused = self._references(0)
        self._most = 0  # bytes ever in use at once
        self._lock = Lock()
        self.release()

    def take(self, size: int) -> Tensor:
        """`size` bytes. What is kept is never more than was once in use."""
        with self._lock:
            free = self._free()
            fitting = [k for k in free if size <= self._arrays[k].nbytes <= 2 * size]
            if fitting:
                array = self._arrays.pop(min(fitting, key=lambda k: self._arrays[k].nbytes))
            else:
                held = size + sum(array.nbytes for array in self._arrays)
                self._most = max(self._most, held - sum(self._arrays[k].nbytes for k in free))
                dropped = set()
                for k in free:  # what was used longest ago comes first
                    if held > self._most:
                        held -= self._arrays[k].nbytes
                        dropped.add(k)
                self._arrays = [a for k, a in enumerate(self._arrays) if k not in dropped]
                array = torch.empty(size, dtype=torch.uint8).numpy()
            self._arrays.append(array)
            return torch.from_numpy(array)[:size]

    def release(self) -> None:
        """Forgets what nobody uses."""
        with self._lock:
            free = set(self._free())
            self._arrays = [a for k, a in enumerate(self._arrays) if k not in free]
            self._most = sum(array.nbytes for array in self._arrays)

    def _free(self) -> list[int]:
        return [k for k in range(len(self._arrays)) if self._references(k) == self._unused]

    def _references(self, k: int) -> int:
        return sys.getrefcount(self._arrays[k])


_KEPT = _Kept()
