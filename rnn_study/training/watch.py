"""`Watch`: reads the attractors of members in training, and keeps their portraits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.cells.cell import Cell
from rnn_study.config import Trial
from rnn_study.dynamics import Portrait, constant_input, portraits, read_out
from rnn_study.dynamics.portrait import NUMBERS
from rnn_study.randomness import generator
from rnn_study.training.network import Layout, Network

STARTS = 4
"""Initial states per input: zero, from which networks are trained, and random ones."""
SPREAD = 100.0
"""The standard deviation of the random ones, as in the authors' code."""
SECONDS = "dynamics_seconds"
"""The column of a history that says what watching took."""


def column(probe: str, number: str) -> str:
    """The column of a history, and the metric: `dynamics/p/lyapunov`."""
    return f"dynamics/{probe}/{number}"


class Watch:
    """Watches the networks of a pack under the constant inputs of their task."""

    def __init__(self, network: Layout) -> None:
        assert isinstance(network, Network)
        self._network = network
        self._probes = network.task.probes()

    def columns(self) -> list[str]:
        """The columns of a history that it fills."""
        return [column(probe, number) for probe in self._probes for number in NUMBERS]

    @torch.no_grad()
    def look(
        self, trials: Sequence[Trial], flat: Float[Tensor, "S P"]
    ) -> tuple[list[Portrait], dict[str, np.ndarray]]:
        """The portraits of these members, and their columns, (S,) each.

        In float64: near a bifurcation float32 orbits repeat themselves only to 1e-5.
        """
        network, cell = self._network, self._network.cell
        params = network.views(flat.double())
        inputs = torch.from_numpy(np.stack([*self._probes.values()])).to(flat.device)
        step = constant_input(cell, cell.weights(params), inputs[None])
        begun = starts(trials, len(inputs), cell).to(flat.device)
        found = portraits(step, begun, read_out(cell, params), network.task.transient)
        return found, numbers(found, self._probes)


def starts(trials: Sequence[Trial], inputs: int, cell: Cell) -> Float[Tensor, "S B P D"]:
    """The initial states of each trial under B = `inputs`: the same at every epoch."""
    drawn = [
        generator(trial.seed, "orbits").normal(
            0, SPREAD, (inputs, STARTS, cell.state_size(trial.hidden))
        )
        for trial in trials
    ]
    made = torch.from_numpy(np.stack(drawn))
    made[:, :, 0] = 0
    return made


def numbers(found: Sequence[Portrait], probes: Iterable[str]) -> dict[str, np.ndarray]:
    """What portraits say of each input, by column, (S,) each."""
    return {
        column(probe, number): np.array([float(getattr(p, number)[b]) for p in found])
        for b, probe in enumerate(probes)
        for number in NUMBERS
    }
