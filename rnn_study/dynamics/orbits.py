"""Orbits: where states go when the input is held constant."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.dynamics.step import Read, Step, whole


@torch.no_grad()
def advance(step: Step, state: Float[Tensor, "S B D"], steps: int) -> Float[Tensor, "S B D"]:
    """The states after `steps` steps: past a transient."""
    for _ in range(steps):
        state = step(state)
    return state


@torch.no_grad()
def orbit(
    step: Step, state: Float[Tensor, "S B D"], transient: int, steps: int, read: Read = whole
) -> Float[Tensor, "S B T O"]:
    """What `read` sees of the `steps` states after `transient` steps from `state`; O = D for all.

    Forward only. NaN where the state is no longer finite.
    """
    state = advance(step, state, transient)
    seen = []
    for _ in range(steps):
        state = step(state)
        seen.append(read(state))
    visited = torch.stack(seen, 2)
    return visited.where(visited.isfinite(), torch.nan)


def orbit_diagram(
    step: Step, starts: Float[Tensor, "S B P D"], transient: int, steps: int, read: Read = whole
) -> Float[Tensor, "S B P T O"]:
    """`orbit` from P initial states per input, in one batch with all seeds and inputs.

    Against a parameter that runs over S this is the paper's bifurcation diagram (Ribeiro et al.,
    AISTATS 2020, Figure 1a). NaN where a start diverges.
    """
    visited = orbit(step, starts.flatten(1, 2), transient, steps, read)
    return visited.unflatten(1, starts.shape[1:3])
