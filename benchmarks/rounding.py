"""What matrix units (AMX) do to the gradients of an LSTM: their errors beside those of vectors.

The gradients of some LSTMs at the paper's size, with respect to each of their parameters, are
computed by the native library on the matrix units, on float32 vectors, and in float64. An error is
the norm of the difference to float64, relative to the norm. Prints the smallest and the largest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import torch

from rnn_study.cells import CELLS
from rnn_study.errors import require, require_whole
from rnn_study.flags import script
from rnn_study.native.library import for_tensor
from rnn_study.randomness import generator

INPUTS = 6


@dataclass(frozen=True)
class Settings:
    """How large."""

    hidden: int = 200
    """Hidden units."""
    length: int = 100
    """Time steps."""
    batch: int = 100
    """Sequences."""
    seeds: int = 4
    """LSTMs."""

    def __post_init__(self) -> None:
        for name in ("hidden", "length", "batch", "seeds"):
            require_whole(name, getattr(self, name), 1)


def run(settings: Settings) -> None:
    """Prints the errors."""
    library = for_tensor(torch.empty(0))
    here = library is not None and library.tiles
    require(here, "native", here, "it needs a C++ compiler and a processor with matrix units")
    assert library is not None
    exact = [gradients(seed, settings, torch.float64) for seed in range(settings.seeds)]
    for name, tiles in (("matrix units", True), ("vectors", False)):
        library.tiles = tiles
        found = [gradients(seed, settings, torch.float32) for seed in range(settings.seeds)]
        errors = [
            float((one - other).norm() / other.norm())
            for pair in zip(found, exact, strict=True)
            for one, other in zip(*pair, strict=True)
        ]
        print(f"{name:14} {min(errors):.1e} to {max(errors):.1e}")


def gradients(seed: int, settings: Settings, dtype: torch.dtype) -> list[torch.Tensor]:
    """With respect to each parameter, of a random sum of all outputs."""
    cell, rng = CELLS["lstm"], generator(seed, "rounding")
    drawn = cell.init(rng, INPUTS, settings.hidden)
    start = {k: torch.from_numpy(v)[None].to(dtype).requires_grad_() for k, v in drawn.items()}
    shape = (1, settings.length, settings.batch, INPUTS)
    x = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(dtype)
    state = x.new_zeros(1, settings.batch, cell.state_size(settings.hidden))
    outputs, _ = cell.scan(cell.weights(start), x, state)
    weights = rng.standard_normal(tuple(outputs.shape), dtype=np.float32)
    loss = (outputs * torch.from_numpy(weights).to(dtype)).sum()
    return list(torch.autograd.grad(loss, [*start.values()]))


if __name__ == "__main__":
    sys.exit(script.main(Settings, run, __doc__ or ""))
