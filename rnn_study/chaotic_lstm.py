"""The paper's chaotic LSTM: two hidden units whose weights grow along a line, s times theta_true.

Ribeiro et al., AISTATS 2020, Section 4.1, Figure 1 and Supplementary Figure 1. There is no input
and there are no biases; orbits start at h = c = (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.cells import LSTM, Parameters
from rnn_study.dynamics import Kind, Step, classify, constant_input, lyapunov_spectrum, orbit
from rnn_study.randomness import generator

CELL: Final = LSTM()

# The printed supplement lost minus signs: with its matrices there is no chaos at any s. With these
# the LSTM is chaotic where the paper says. Rows are units, columns what they receive, as printed.
_W_I: Final = ((-1, -4), (-3, -2))
_W_F: Final = ((-2, 6), (0, -6))
_W_O: Final = ((4, 1), (-9, -7))
_W_G: Final = ((-1, -6), (6, -9))

LOSS_STEPS: Final = 200
"""Time steps of the cost function."""


@dataclass(frozen=True)
class Line:
    """What the networks s * theta_true do, for every s."""

    table: pd.DataFrame
    """A row an s: `s`, `lyapunov` (the largest exponent, nats per step), `kind`, `period` (0 where
    it has none) and `loss`."""
    orbits: np.ndarray
    """The outputs after the transient, (S, T, 2)."""


@dataclass(frozen=True)
class Plane:
    """The loss of s1 * theta_true + s2 * theta_random."""

    s1: np.ndarray
    s2: np.ndarray
    loss: np.ndarray
    """(s2, s1)."""


def theta_true() -> Parameters:
    """The network that generates the data, a pack of one, in float64."""
    gates = [torch.tensor(gate, dtype=torch.float64).T for gate in (_W_I, _W_F, _W_O, _W_G)]
    return _without_input(torch.cat(gates, 1)[None])


def theta_random(seed: int = 0) -> Parameters:
    """A random direction as long as theta_true: normal entries."""
    true = theta_true()["w_h"]
    drawn = torch.from_numpy(generator(seed, "theta_random").standard_normal(tuple(true.shape)))
    return _without_input(drawn * (true.norm() / drawn.norm()))


def combine(s1: Float[Tensor, "S"], s2: Float[Tensor, "S"], random: Parameters) -> Parameters:
    """s1 * theta_true + s2 * theta_random, one member a pair."""
    true = theta_true()["w_h"]
    return _without_input(s1[:, None, None] * true + s2[:, None, None] * random["w_h"])


def _without_input(w_h: Float[Tensor, "S H 4*H"]) -> Parameters:
    members, _, gates = w_h.shape
    none = w_h.new_zeros(members, gates)
    return {"w_x": none[:, None], "w_h": w_h, "b_x": none, "b_h": none}


def autonomous(params: Parameters) -> tuple[Step, Float[Tensor, "S 1 D"]]:
    """The step without input, and the initial states."""
    w_h = params["w_h"]
    no_input = w_h.new_zeros(1, 1, 1)
    return constant_input(CELL, params, no_input), w_h.new_full((len(w_h), 1, 4), 0.5)


@torch.no_grad()
def loss(params: Parameters) -> Float[Tensor, "S"]:
    """The mean square error of the outputs over 200 steps against those of theta_true.

    All start from the same state; this is the cost of Eq. 2 without a teacher. The orbit of
    theta_true is chaotic: 200 steps magnify its rounding errors to its own size, so another order
    of the same sums gives another loss in the chaotic window. theta_true runs as a member of the
    pack, which makes its own loss exactly zero.
    """
    true = theta_true()
    step, state = autonomous({k: torch.cat((v, true[k])) for k, v in params.items()})
    total = state.new_zeros(len(state))
    for _ in range(LOSS_STEPS):
        state = step(state)
        outputs = CELL.output(state)
        total += (outputs - outputs[-1]).square().mean((1, 2))
    return total[:-1] / LOSS_STEPS


def line(
    s: Float[Tensor, "S"], transient: int = 1000, steps: int = 200, exponent_steps: int = 500
) -> Line:
    """Orbits, Lyapunov exponents, kinds and loss of s * theta_true, all values of s as one pack."""
    params = combine(s, torch.zeros_like(s), theta_true())
    step, start = autonomous(params)
    states = orbit(step, start, transient, steps)
    exponents = lyapunov_spectrum(step, states[:, :, -1], exponent_steps, transient=50)
    classes = classify(states, exponents)
    table = pd.DataFrame(
        {
            "s": s.numpy(),
            "lyapunov": exponents[:, 0, 0].numpy(),
            "kind": [Kind(kind).label for kind in classes.kind[:, 0].tolist()],
            "period": classes.period[:, 0].numpy(),
            "loss": loss(params).numpy(),
        }
    )
    return Line(table, CELL.output(states)[:, 0].numpy())


def plane(
    s1: Float[Tensor, "A"], s2: Float[Tensor, "C"], random: Parameters, at_once: int = 8192
) -> Plane:
    """The loss on a grid."""
    grid = torch.cartesian_prod(s2, s1)
    parts = [loss(combine(part[:, 1], part[:, 0], random)) for part in grid.split(at_once)]
    values = torch.cat(parts).unflatten(0, (len(s2), len(s1)))
    return Plane(s1.numpy(), s2.numpy(), values.numpy())


def windows(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Runs of neighbouring rows of one kind, and of one period: `low`, `high`, `period`, `values`.

    A chaotic window reaches from its first to its last chaotic s, whatever lies between.
    """
    of_kind = table[table["kind"] == kind]
    if kind == Kind.CHAOTIC.label:
        groups = [of_kind] if len(of_kind) else []
    else:
        changed = (table["kind"] != table["kind"].shift()) | (
            table["period"] != table["period"].shift()
        )
        groups = [group for _, group in of_kind.groupby(changed.cumsum())]
    rows = [(g["s"].iloc[0], g["s"].iloc[-1], int(g["period"].iloc[0]), len(g)) for g in groups]
    return pd.DataFrame(rows, columns=["low", "high", "period", "values"])
