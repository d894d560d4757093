"""Cross entropy of a linear layer with many outputs, which become their own gradient.

So nothing else of their size is in memory, and one array serves one network after another. What
turns them is a kernel (`cross_entropy`); what is here needs no Triton.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

Turn = Callable[[Tensor, Tensor, bool], Tensor]
"""From outputs (N, V) and targets (N,) the losses (N,); if told so, it puts the gradient of their
mean in the place of the outputs."""


def linear_cross_entropy(
    hidden: Float[Tensor, "N H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, "V"],
    targets: Integer[Tensor, "N"],
    turn: Turn,
) -> Float[Tensor, ""]:
    """The mean cross entropy, nats, of the outputs `hidden @ weight' + bias`; differentiable
    once."""
    given = (hidden, weight, bias)
    kept = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    return _Loss.apply(*given, targets, turn, kept)


class _Loss(torch.autograd.Function):
    """Makes the gradients on the way there, if they are wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        turn: Turn,
        kept: bool,
    ) -> Tensor:
        outputs = torch.addmm(bias, hidden, weight.T)
        losses = turn(outputs, targets, kept)
        if kept:
            ctx.save_for_backward(outputs @ weight, outputs.T @ hidden, outputs.sum(0))
        return losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        return *(d * gradient for gradient in ctx.saved_tensors), None, None, None
