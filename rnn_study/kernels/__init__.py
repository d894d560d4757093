"""What a pack does on a GPU in kernels of its own, in Triton, instead of in torch's operations.

Each is in use where `benchmarks/gpu.py` has measured that it wins: on GPUs of compute capability 9,
in float32. A kernel that runs the whole time loop in one launch did not win and is gone. Elsewhere,
and where Triton does not start, torch's operations do the same; they are the oracle of the kernels.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Final

import torch
from torch import Tensor

Scan = Callable[[dict[str, Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]
"""As `Cell.scan`."""

CAPABILITY: Final = 9
"""Of the GPUs on which the kernels have been measured."""
NARROW: Final = 256
"""Hidden units up to which the LSTM's steps are launches of their own, products and all."""
FEW: Final = 32
"""Inputs, likewise."""

_used = True
_log = logging.getLogger(__name__)


@contextmanager
def without() -> Iterator[None]:
    """Within it torch's operations do all, as where there are no kernels."""
    global _used
    before, _used = _used, False
    try:
        yield
    finally:
        _used = before


def used_on(values: Tensor) -> bool:
    """Whether kernels work on such values."""
    return (
        _used
        and values.is_cuda
        and values.dtype == torch.float32
        and _capability(values.device) == CAPABILITY
        and starts()
    )


@cache
def starts() -> bool:
    """Whether Triton is installed and starts here, which takes a C compiler and Python's headers.

    Where it is and does not, a warning tells once a process.
    """
    if find_spec("triton") is None:
        return False
    import triton

    try:
        triton.runtime.driver.active.get_current_device()  # the first use compiles the driver
    except (RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:
        _log.warning(
            "Triton does not start: training on a GPU runs slower, on torch's operations. It needs "
            "a C compiler ($CC, gcc or clang) and Python's headers. %s",
            error,
        )
        return False
    return True


@cache
def _capability(device: torch.device) -> int:
    return torch.cuda.get_device_capability(device)[0]


def lstm_scan(x: Tensor, hidden: int) -> Scan | None:
    """The kernels of an LSTM of such a size for such inputs, if any are used."""
    if not used_on(x):
        return None
    from rnn_study.kernels import lstm, wide_lstm

    exact = torch.get_float32_matmul_precision() == "highest"
    return lstm.scan if exact and narrow(x.shape[-1], hidden) else wide_lstm.scan


def orthogonal_scan(x: Tensor) -> Scan | None:
    """Likewise, of the orthogonal cell."""
    if not used_on(x):
        return None
    from rnn_study.kernels import orthogonal

    return orthogonal.scan


def narrow(inputs: int, hidden: int) -> bool:
    """Whether the LSTM's steps are launches of their own."""
    return hidden <= NARROW and inputs <= FEW


def lstm_bytes(length: int, batch: int, inputs: int, hidden: int, step: int) -> int:
    """Bytes that the LSTM's kernels need, as `Cell.kernel_bytes` says."""
    many = length * batch
    if not narrow(inputs, hidden):
        return 4 * 4 * hidden * many  # the gradients of all steps, for one product after the loop
    units = padded(hidden, 32)
    row, columns = padded(padded(hidden, 16) + inputs + 1, 32), 4 * units
    kept = many * (6 * row + 6 * columns + 4 * 6 * units)  # of bfloat16, three parts
    return max(0, kept + 5 * 6 * row * columns - step)  # and what the weights are made of


def orthogonal_bytes(length: int, batch: int, hidden: int) -> int:
    """Likewise, of the orthogonal cell: the gradients of all steps."""
    return 4 * hidden * length * batch


def padded(size: int, to: int) -> int:
    """The next multiple."""
    return -(-size // to) * to
