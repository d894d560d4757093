"""`Watch`: reads the attractors of members in training, and keeps their portraits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

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

    def __init__(self, network: Layout, device: torch.device) -> None:
        assert isinstance(network, Network)
        self._network = network
        self._device = device
        self._probes = network.task.probes()

    def empty(self, members: int) -> dict[str, np.ndarray]:
        """The columns of an epoch in which no member is watched, (S,) each."""
        names = [column(probe, number) for probe in self._probes for number in NUMBERS]
        missing = {name: np.full(members, np.nan) for name in names}
        return {**missing, SECONDS: np.zeros(members)}

    @torch.no_grad()
    def look(
        self, trials: Sequence[Trial], flat: Float[Tensor, "S P"]
    ) -> tuple[list[Portrait], dict[str, np.ndarray]]:
        """The portraits of these members, and their columns, (S,) each.

        In float64: near a bifurcation float32 orbits repeat themselves only to 1e-5.
        """
        network, cell = self._network, self._network.cell
        params = network.views(flat.double())
        inputs = torch.from_numpy(np.stack([*self._probes.values()])).to(self._device)
        step = constant_input(cell, cell.weights(params), inputs[None])
        starts = torch.from_numpy(np.stack([self._starts(trial) for trial in trials]))
        read = read_out(cell, params)
        found = portraits(step, starts.to(self._device), read, network.task.transient)
        columns = {
            column(probe, number): np.array([float(getattr(p, number)[b]) for p in found])
            for b, probe in enumerate(self._probes)
            for number in NUMBERS
        }
        return found, columns

    def _starts(self, trial: Trial) -> Float[np.ndarray, "B P D"]:
        """The initial states of a trial: the same at every epoch."""
        size = self._network.cell.state_size(trial.hidden)
        starts = generator(trial.seed, "orbits").normal(
            0, SPREAD, (len(self._probes), STARTS, size)
        )
        starts[:, 0] = 0
        return starts
