"""How a fast scan lays out what it works on.

Time runs along the second axis, and within a step the batch comes last. What belongs to one gate or
one state of a member is then one piece of memory, over which elementwise operations run fastest.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from rnn_study.cells.cell import Weights
from rnn_study.cells.scratch import dense, rows
from rnn_study.kernels import Scan

ALIGNED = 4
"""Of what the height of a tape is a multiple on a GPU, whose matrix units need it."""


def tape(
    x: Float[Tensor, "S T B I"], h0: Float[Tensor, "S B H"], ones: bool = False
) -> Float[Tensor, "S T+1 K B"]:
    """What a step multiplies: h (H), then x (I), then a one for the bias if `ones`.

    K = H + I, or one more; off a CPU, zeros follow up to a multiple of `ALIGNED`. The first step
    has `h0`, later ones wait for their h, and the last has nothing but h.
    """
    (members, steps, batch, inputs), hidden = x.shape, h0.shape[-1]
    used = hidden + inputs + ones
    shape = (steps + 1, used + missing(used, x), batch)
    taped = rows(members, shape[0] * shape[1] * batch, x).unflatten(1, shape)
    taped[:, 0, :hidden] = h0.mT
    taped[:, :-1, hidden : hidden + inputs] = x.mT
    if ones:
        taped[:, :-1, used - 1] = 1
    taped[:, :-1, used:] = 0
    return taped


def missing(height: int, like: Tensor) -> int:
    """How many zeros a tape of some height has on the device of `like`."""
    return 0 if like.device.type == "cpu" else -height % ALIGNED


def stacked(*weights: Float[Tensor, "S _ N"]) -> Float[Tensor, "S K N"]:
    """Weights under each other, in the order of the tape."""
    members, _, width = weights[0].shape
    height = sum(weight.shape[1] for weight in weights)
    if zeros := missing(height, weights[0]):
        return stacked(*weights, weights[0].new_zeros(members, zeros, width))
    out = rows(members, height * width, weights[0]).unflatten(1, (height, width))
    torch.cat(weights, 1, out=out)
    return out


def stacked_densely(*weights: Float[Tensor, "S _ N"]) -> Float[Tensor, "S K N"]:
    """The same, without gaps between members."""
    members, _, width = weights[0].shape
    out = dense(members, sum(weight.shape[1] for weight in weights), width, like=weights[0])
    return torch.cat(weights, 1, out=out)


def two_wide(
    scan: Scan, weights: Weights, x: Float[Tensor, "S T 1 I"], state: Float[Tensor, "S 1 D"]
) -> tuple[Float[Tensor, "S T 1 H"], Float[Tensor, "S 1 D"]]:
    """What `scan` makes of one sequence, beside a second one of zeros: a product of width one
    rounds otherwise for one member than for many."""
    outputs, state = scan(weights, pad(x, (0, 0, 0, 1)), pad(state, (0, 0, 0, 1)))
    return outputs[:, :, :1], state[:, :1]


def as_columns(flat: Float[Tensor, "S N"], batch: int) -> Float[Tensor, "S M B"]:
    """A row of `rows` as a matrix whose columns are the sequences of the batch."""
    return flat.view(len(flat), -1, batch)
