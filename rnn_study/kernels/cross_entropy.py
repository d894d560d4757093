"""Cross entropy of a linear layer with many outputs, on a GPU, in Triton.

The outputs are read once for their loss, and once more, from the cache, to put their gradient in
their place; the gradients of layer and input are made of it at once (`in_place`).
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import triton
import triton.language as tl
from jaxtyping import Float, Integer
from torch import Tensor

from rnn_study.kernels import in_place

SIZE = 4096
"""Outputs that a program works on at a time."""


def linear_cross_entropy(
    hidden: Float[Tensor, "N H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, "V"],
    targets: Integer[Tensor, "N"],
) -> Float[Tensor, ""]:
    """The mean cross entropy, nats, of the outputs `hidden @ weight' + bias`; differentiable
    once."""
    return in_place.linear_cross_entropy(hidden, weight, bias, targets, _turned)


def _turned(outputs: Tensor, targets: Tensor, kept: bool) -> Tensor:
    count, words = outputs.shape
    losses = outputs.new_empty(count)
    loss_kernel[(count,)](
        outputs, targets, losses, words, 1 / count, KEPT=kept, SIZE=SIZE, num_warps=8
    )
    return losses


@triton.jit
def loss_kernel(outputs, targets, losses, words, share, KEPT: tl.constexpr, SIZE: tl.constexpr):
    """outputs (N, V) become the gradient of `share` times the sum of losses (N,), if KEPT."""
    row = tl.program_id(0).to(tl.int64)
    here, n = outputs + row * words, tl.arange(0, SIZE)
    most = tl.full((SIZE,), float("-inf"), tl.float32)
    total = tl.zeros((SIZE,), tl.float32)
    for start in range(0, words, SIZE):
        inside = start + n < words
        each = tl.load(here + start + n, mask=inside, other=float("-inf"))
        more = tl.maximum(most, each)
        safe = tl.where(more == float("-inf"), 0.0, more)
        total = total * tl.exp(most - safe) + tl.exp(each - safe)
        most = more
    top = tl.max(most, 0)
    whole = tl.sum(total * tl.exp(most - top), 0)
    target = tl.load(targets + row)
    tl.store(losses + row, tl.log(whole) + top - tl.load(here + target))
    if KEPT:
        tl.debug_barrier()
        scale = share / whole
        for start in range(0, words, SIZE):
            inside = start + n < words
            each = tl.load(here + start + n, mask=inside, other=float("-inf"))
            d = tl.exp(each - top) * scale
            d = tl.where(start + n == target, d - share, d)
            tl.store(here + start + n, d, mask=inside)
