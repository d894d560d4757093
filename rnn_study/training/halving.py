"""What a pack does when memory runs out: it halves itself, and its halves train by turns."""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch

from rnn_study.cells.scratch import release
from rnn_study.training.epochs import Runner
from rnn_study.training.members import Members

_SIGNS = (
    "out of memory",  # CUDA
    "can't allocate memory",  # torch on a CPU
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # of a handle for which there was no memory
)

_log = logging.getLogger(__name__)


class Turns:
    """The parts of a pack, which train an epoch each in turn: mostly one, until memory runs out."""

    def __init__(self, parts: Sequence[Members], runner: Callable[[], Runner]) -> None:
        """`runner`: makes what trains a part."""
        self._make = runner
        self._parts: deque[tuple[Members, Runner]] = deque((part, runner()) for part in parts)

    def __iter__(self) -> Iterator[tuple[Members, Runner]]:
        """The part whose turn it is, until none comes back."""
        while self._parts:
            yield self._parts.popleft()

    def back(self, members: Members, runner: Runner) -> None:
        """To be called with a part that trains on."""
        self._parts.append((members, runner))

    def halve(self, members: Members, error: BaseException) -> None:
        """To be called with a part for which there was no memory; its halves are next.

        Raises `error` where that had another reason, or where there is nothing to halve.
        """
        if len(members) == 1 or not is_out_of_memory(error):
            raise error
        one, other = len(members) - len(members) // 2, len(members) // 2
        _log.warning(
            "out of memory with %d networks together (%s); going on with %d and %d by turns",
            len(members),
            str(error).partition("\n")[0] or type(error).__name__,  # Python's own has no message
            one,
            other,
        )
        free(error, members.flat.device)
        self._parts.extendleft((half, self._make()) for half in reversed(members.halves()))


def free(error: BaseException, device: torch.device) -> None:
    """Gives back what was allocated where memory ran out."""
    _forget_frames(error)
    gc.collect()
    release()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether it, or what it was raised over, says that memory could not be allocated."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _forget_frames(error: BaseException | None) -> None:
    """Of the error and what it was raised over: they hold what the epoch had allocated."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
