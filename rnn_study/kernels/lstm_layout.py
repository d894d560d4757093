"""How the LSTM's kernels lay out weights and inputs; as `lstm` says."""

from __future__ import annotations

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor

from rnn_study.kernels import padded
from rnn_study.kernels.parts import PARTS, parts_of

GATES = 4
WIDTH = 32
"""Of what the numbers of units (U) and of rows of the weights (K) are multiples."""
ALIGNED = 16
"""Of what the width of the state (H') in a row is a multiple."""


def pack(
    w_h: Float[Tensor, "S H 4H"],
    w_x: Float[Tensor, "S I 4H"],
    bias: Float[Tensor, "S 4H"],
    parts: int = PARTS,
    dtype: torch.dtype = torch.bfloat16,
) -> Float[Tensor, "S P K C"]:
    """Weights in parts, the gates of a unit together, padded with zeros."""
    members, hidden, _ = w_h.shape
    width, entering = padded(hidden, ALIGNED), torch.cat((w_x, bias[:, None]), 1)
    inner = padded(width + entering.shape[1], WIDTH)
    shape = (members, parts, inner, padded(hidden, WIDTH), GATES)
    packed = w_h.new_zeros(shape, dtype=dtype)
    for first, some in ((0, w_h), (width, entering)):
        units = some.unflatten(-1, (GATES, -1)).mT  # (S, _, H, 4)
        parts_of(units, packed[:, :, first : first + units.shape[1], :hidden].movedim(1, 0))
    return packed.flatten(-2)


def unpack(columns: Float[Tensor, "S K C"], hidden: int) -> Float[Tensor, "S K 4H"]:
    """The gates in their usual order again."""
    return columns.unflatten(-1, (-1, GATES))[:, :, :hidden].mT.flatten(-2)


def fill(taped: Float[Tensor, "S N B P K"], x: Float[Tensor, "S T B I"], first: int) -> None:
    """Lays out the inputs of some steps from column `first` on, and ones for the bias."""
    steps, inputs = x.shape[1], x.shape[-1]
    parts_of(x, taped[:, :steps, :, :, first : first + inputs].movedim(3, 0))
    taped[:, :steps, :, 0, first + inputs] = 1


def times(
    left: BFloat16[Tensor, "S T B Q K"], right: BFloat16[Tensor, "S T B P C"]
) -> Float[Tensor, "S K C"]:
    """left' @ right over time and batch: of their parts, one product for each part of `right`.

    Of the Q parts of `left` the first P are taken.
    """
    left, right = left.flatten(1, 2), right.flatten(1, 2)  # (S, N, _, _)
    found = []
    parts = right.shape[2]
    for part in reversed(range(parts)):
        some = left[:, :, : parts - part].flatten(2).mT  # (S, (P - part) K, N)
        found += _bmm(some, right[:, :, part]).unflatten(1, (parts - part, -1)).unbind(1)
    return torch.stack(found).sum(0)


def _bmm(one: Tensor, other: Tensor) -> Tensor:
    """In float32."""
    if one.device.type == "cpu":  # torch has no such product there
        return one.float() @ other.float()
    return torch.bmm(one, other, out_dtype=torch.float32)
