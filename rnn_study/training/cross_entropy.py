"""Cross entropy of a linear layer with many outputs: every word of a vocabulary."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from rnn_study.kernels import used_on

CHUNKED_FROM: Final = 2**29
"""Bytes of outputs from which they are made in pieces, if torch can: 512 MiB.

Plain, the outputs, their softmax and its gradient are in memory together; in pieces, the gradient
of each is made at once. On a CPU that took a third to a fifth of the memory and four times as long
(`benchmarks/language_model.py --what loss`), so only what is large is cut up: at the paper's size
the outputs of one network are 1 GiB. On a GPU plain takes the time of the kernel and twice its
memory (`benchmarks/gpu.py`); pieces have not been measured there.
"""
ALIGNED: Final = 8
"""Of what a GPU's vocabulary is a multiple."""
CAN_CHUNK: Final = hasattr(F, "linear_cross_entropy") and hasattr(
    torch.nn, "LinearCrossEntropyOptions"
)
"""Whether torch has it; from 2.13 on."""


def linear_cross_entropy(
    hidden: Float[Tensor, "N H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, "V"],
    targets: Integer[Tensor, "N"],
) -> Float[Tensor, ""]:
    """The mean cross entropy, nats, of the outputs `hidden @ weight' + bias`."""
    if used_on(hidden):
        from rnn_study.kernels import cross_entropy

        return cross_entropy.linear_cross_entropy(hidden, *aligned(weight, bias), targets)
    size = hidden.element_size() * len(hidden) * len(weight)
    if CAN_CHUNK and size >= CHUNKED_FROM:
        return chunked(hidden, weight, bias, targets)
    return plain(hidden, weight, bias, targets)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """All outputs at once."""
    if hidden.device.type != "cpu":
        weight, bias = aligned(weight, bias)
    return F.cross_entropy(torch.addmm(bias, hidden, weight.T), targets)


def aligned(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Filled up with words that never come: the matrix units of a GPU take a third of the time for
    rows that begin at 16 bytes."""
    missing = -len(weight) % ALIGNED
    weight = torch.cat((weight, weight.new_zeros(missing, weight.shape[1])))
    return weight, torch.cat((bias, bias.new_full((missing,), -torch.inf)))


def chunked(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Some rows at a time, by torch's own function; differentiable once."""
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden, weight, targets, linear_bias=bias, options=options)
