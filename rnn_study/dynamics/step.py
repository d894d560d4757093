"""`Step`: an autonomous map of packed states, and how a cell becomes one.

Axes beside those of `cells.cell` (S seeds, B inputs, T time steps, D state size):

    P  starts: initial states per input      K  Lyapunov exponents      F  fixed points

Everything in `dynamics` is written against a `Step` alone, so it works for every cell and for any
other map. Work in float64 where the result is a number to be trusted near a bifurcation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.cells.cell import Cell, Parameters, Weights

Step = Callable[[Tensor], Tensor]
"""Maps states (S, B, D) to the next states (S, B, D), differentiably; no two of them ever mix.

It must also take (S, B * P, D) for any P: the states of P starts stand in a row for each input.
"""
Read = Callable[[Tensor], Tensor]
"""What is read from states (..., D), for instance the outputs (..., O)."""


def constant_input(cell: Cell, weights: Weights, x: Float[Tensor, "#S B I"]) -> Step:
    """The step of `cell` under inputs that never change, B of them for every member."""

    @lru_cache(maxsize=4)
    def held(members: int, rows: int) -> Float[Tensor, "S BP I"]:
        return x.expand(members, -1, -1).repeat_interleave(rows // x.shape[1], 1)

    def step(state: Float[Tensor, "S BP D"]) -> Float[Tensor, "S BP D"]:
        return cell.step(weights, held(*state.shape[:2]), state)

    return step


def closed_loop(cell: Cell, weights: Weights, feed: Read) -> Step:
    """The step of `cell` when `feed` makes its next input (S, B, I) from its output (S, B, H).

    For a generator, `feed` is the read-out; for a language model, the embedding of the likeliest
    token.
    """

    def step(state: Float[Tensor, "S BP D"]) -> Float[Tensor, "S BP D"]:
        return cell.step(weights, feed(cell.output(state)), state)

    return step


def read_out(cell: Cell, params: Parameters) -> Read:
    """The linear read-out of a network: states (S, ..., D) to outputs y (S, ..., O)."""

    def read(state: Float[Tensor, "S *more D"]) -> Float[Tensor, "S *more O"]:
        hidden = cell.output(state)
        flat = torch.baddbmm(params["b_out"][:, None], hidden.flatten(1, -2), params["w_out"])
        return flat.unflatten(1, hidden.shape[1:-1])

    return read


def iterate(step: Step, times: int) -> Step:
    """`step` applied `times` times: its fixed points are the cycles whose period divides that."""

    def many(state: Float[Tensor, "S BP D"]) -> Float[Tensor, "S BP D"]:
        for _ in range(times):
            state = step(state)
        return state

    return many


def whole(state: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    """Reads the state itself."""
    return state
