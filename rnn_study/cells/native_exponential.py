"""The exponential of A - A' in the native library, with the gradient of A."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rnn_study.cells.scratch import dense
from rnn_study.native.library import LANES, Library, Shape


class NativeExponential(Function):
    """From A (S, H, H), of which only the part above the diagonal counts, to exp(A - A').

    As `exponential.matrix_exp` computes it: halved until the norm of A - A' is below `largest`.
    """

    @staticmethod
    def forward(ctx: Any, library: Library, upper: Tensor, largest: float) -> Tensor:
        members, hidden, _ = upper.shape
        width = -(-hidden // LANES) * LANES
        powers = dense(members, 4, hidden, width, like=upper)
        halvings = torch.empty(members, dtype=torch.int64)
        shape = Shape(members, 0, 0, 0, hidden)
        library.call("powers", shape, upper, upper.contiguous(), largest, powers, halvings)
        most = max(int(halvings.max()), 1)
        shape = Shape(members, most, 0, 0, hidden)
        c = dense(members, hidden, width, like=upper)
        squared = dense(members, most, hidden, width, like=upper)
        value = torch.empty_like(upper, memory_format=torch.contiguous_format)
        library.call("exponential", shape, upper, powers, halvings, c, squared, value)
        ctx.library, ctx.shape = library, shape
        ctx.save_for_backward(upper, powers, halvings, c, squared)
        return value

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[None, Tensor, None]:
        upper, powers, halvings, c, squared = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, which torch's own function has
            above = upper.triu(1)
            result = torch.linalg.matrix_exp(above - above.mT)
            return None, torch.autograd.grad(result, upper, d, create_graph=True)[0], None
        d_upper = torch.empty_like(d, memory_format=torch.contiguous_format)
        ctx.library.call(
            "exponential_backward", ctx.shape, upper, powers, halvings, c, squared,
            d.contiguous(), d_upper,
        )  # fmt: skip
        return None, d_upper, None
