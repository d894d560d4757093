"""The orthogonal cell's scan in the native library, as `Orthogonal.step`'s loop.

A member's time steps lie one after another, each a matrix with a row for every sequence: h and x.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rnn_study.cells.scratch import dense
from rnn_study.cells.tape import stacked_densely
from rnn_study.native.library import Library, Shape, outputs


class NativeScan(Function):
    """From x, w_x, w_h, b and h0 to outputs and the last state."""

    @staticmethod
    def forward(
        ctx: Any, library: Library, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        (members, steps, batch, inputs), hidden = x.shape, h0.shape[-1]
        shape = Shape(members, steps, batch, inputs, hidden)
        weight = stacked_densely(w_h, w_x)  # (S, K, H)
        taped = dense(members, steps + 1, batch, weight.shape[1], like=x)
        library.call(
            "orthogonal_forward", shape, weight, x.contiguous(), weight, b.contiguous(),
            h0.contiguous(), taped,
        )  # fmt: skip
        ctx.library, ctx.shape = library, shape
        ctx.save_for_backward(weight, taped)
        ctx.set_materialize_grads(False)
        h = taped[..., :hidden]
        # the last state is no view: outputs that go unused then cost no gradient
        return h[:, 1:], h[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, taped = ctx.saved_tensors
        shape: Shape = ctx.shape
        members, steps, batch, hidden = shape.members, shape.steps, shape.batch, shape.hidden
        d_outputs, d_last = d
        if d_outputs is not None and d_outputs.stride(-1) != 1:
            d_outputs = d_outputs.contiguous()
        d_weight = dense(*weight.shape, like=weight)
        d_b, d_h0 = weight.new_empty(members, hidden), dense(members, batch, hidden, like=weight)
        wanted = ctx.needs_input_grad[1]
        d_x = weight.new_empty(members, steps, batch, shape.inputs) if wanted else None
        ctx.library.call(
            "orthogonal_backward", shape, weight, weight, taped, outputs(d_outputs),
            None if d_last is None else d_last.contiguous(), d_x, d_weight, d_b, d_h0,
        )  # fmt: skip
        d_w_h, d_w_x = d_weight.split((hidden, shape.inputs), 1)
        return None, d_x, d_w_x, d_w_h, d_b, d_h0
