"""How much steps stretch: the Lipschitz constant of a step, from below, and its mean rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp

from rnn_study.dynamics.lyapunov import lyapunov_spectrum, push, spread
from rnn_study.dynamics.orbits import advance
from rnn_study.dynamics.step import Step


@dataclass(frozen=True)
class Contraction:
    """How much a step stretches along an orbit, as a factor: below one, it contracts."""

    expansion: Float[Tensor, "S B"]
    """The largest of a single step, in the Euclidean norm: a lower bound of L_f."""
    rate: Float[Tensor, "S B"]
    """The mean of a step: the exponential of the largest Lyapunov exponent."""
    certified: Float[Tensor, "S"]
    """What `rate` cannot exceed, whatever the orbit; NaN where nothing is certified. (A single step
    may stretch more: the certificate holds in a norm of its own.)"""
    entropy: Float[Tensor, "S B"]
    """`entropy_bound` of `expansion`, nats per step."""


def contraction(
    step: Step,
    state: Float[Tensor, "S B D"],
    steps: int,
    transient: int = 100,
    certified: Float[Tensor, "S"] | None = None,
) -> Contraction:
    """The observed contraction of `step` over an orbit of `steps` states, beside what is certified.

    `certified`: a bound on the rate that a cell comes with, `cells.stable_lstm.certified_rate` of
    the provable one. NaN where the orbit diverges.
    """
    settled = advance(step, state, transient)
    largest = expansion(step, settled, steps)
    exponent = lyapunov_spectrum(step, settled, steps, transient=0)[..., 0]
    none = state.new_full(state.shape[:1], torch.nan)
    entropy = entropy_bound(largest, state.shape[-1])
    return Contraction(largest, exponent.exp(), none if certified is None else certified, entropy)


@torch.no_grad()
def expansion(
    step: Step,
    state: Float[Tensor, "S B D"],
    steps: int,
    transient: int = 0,
    iterations: int = 8,
) -> Float[Tensor, "S B"]:
    """The largest factor by which one step stretches a deviation, over an orbit of `steps` states.

    The largest singular value of the Jacobian by power iteration, which starts at each state from
    the direction of the one before. It comes from below, so this never exceeds the Lipschitz
    constant L_f of the step (Euclidean norm) by more than rounding. NaN where the orbit diverges.
    """
    state = advance(step, state, transient)
    direction = spread(state.shape[-1], 1, state)[:, 0].expand_as(state)
    largest = state.new_zeros(state.shape[:2])
    for _ in range(steps):
        for _ in range(iterations):
            _, stretched = push(step, state, direction)
            pull = vjp(step, state)[1]
            (back,) = pull(stretched)
            length = back.norm(dim=-1, keepdim=True)
            # Where a step maps everything to one point there is no direction to prefer.
            direction = torch.where(length > 0, back / length, direction)
        moved, stretched = push(step, state, direction)
        largest = torch.maximum(largest, stretched.norm(dim=-1))  # keeps NaN
        state = moved
    return largest.where(state.isfinite().all(-1), torch.nan)


def entropy_bound(lipschitz: Float[Tensor, "*batch"], size: int) -> Float[Tensor, "*batch"]:
    """N_x log L_f with N_x = `size`, nats per step (Ribeiro et al., AISTATS 2020, Eq. 4).

    The paper writes H_t + N_x log L_f <= H_{t+1}. For a one-to-one step the entropy changes by the
    mean of log |det J|, and |det J| <= L_f^N_x: N_x log L_f is the most by which a step can raise
    it, an upper bound of the gain. With L_f < 1 it says how fast at least information is lost.
    """
    return size * lipschitz.log()
