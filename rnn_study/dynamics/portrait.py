"""`Portrait`: the attractors of one network under constant inputs, as they are kept of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.dynamics.attractors import attractors
from rnn_study.dynamics.lyapunov import spread
from rnn_study.dynamics.step import Read, Step

STEPS = 400
"""States of an orbit that are kept, as in the paper."""
SEEN = 8
"""Directions by which the states of two orbits are compared."""
NUMBERS = ("lyapunov", "kind", "attractors", "period")
"""What a portrait says of each input in numbers."""


@dataclass(frozen=True)
class Portrait:
    """What one network does under B constant inputs, each from P initial states."""

    lyapunov: np.ndarray
    """(B,) largest Lyapunov exponent of the widest attractor, nats per step: of the one that most
    starts reach, as are the next two."""
    kind: np.ndarray
    """(B,) values of `Kind`."""
    period: np.ndarray
    """(B,) steps until it repeats; 0 if it does not."""
    attractors: np.ndarray
    """(B,) how many distinct ones the starts reached; 0 if all diverged or still drift."""
    label: np.ndarray
    """(B, P) the attractor that each start reached, from 0; -1: it diverged or still drifts."""
    orbits: np.ndarray
    """(B, P, T, O) the outputs after the transient, float32."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def portraits(
    step: Step, starts: Float[Tensor, "S B P D"], read: Read, transient: int, steps: int = STEPS
) -> list[Portrait]:
    """The portrait of each of S networks, whose autonomous step and read-out are given.

    All run in one batch, and none depends on the others. `transient`: steps before an orbit is
    read; `steps`: how many are, which the exponents are means over. Orbits are told apart by the
    outputs and `SEEN` directions of the state.
    """
    directions = spread(starts.shape[-1], min(SEEN, starts.shape[-1]), starts)

    def seen(state: Float[Tensor, "S BP D"]) -> Float[Tensor, "S BP O"]:
        return torch.cat((read(state), state @ directions), -1)

    found = attractors(step, starts, transient, steps, read=seen)
    main = found.main
    outputs = found.orbits[..., : -directions.shape[-1]]
    columns = {
        "lyapunov": main.exponent.double(),
        "kind": main.kind,
        "period": main.period,
        "attractors": found.count,
        "label": found.label.to(torch.int8),
        "orbits": outputs.where(outputs.isfinite(), torch.nan).float(),
    }
    hosted = {name: column.cpu().numpy() for name, column in columns.items()}
    return [
        Portrait(**{name: column[s] for name, column in hosted.items()}) for s in range(len(starts))
    ]
