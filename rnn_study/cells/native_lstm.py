"""The LSTM's scan in the native library. Values and gradients are those of `LSTM.step`'s loop.

A member's time steps lie one after another, each a matrix with a row for every sequence: h, x and a
one for the bias. Gates are kept in the order i, f, o, g.
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
    """From x, w_x, w_h, bias (S, 4H), h0, c0 to outputs, h and c; `kept`: for a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        library: Library,
        x: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        bias: Tensor,
        h0: Tensor,
        c0: Tensor,
        kept: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (members, steps, batch, inputs), hidden = x.shape, h0.shape[-1]
        shape = Shape(members, steps, batch, inputs, hidden)
        weight = stacked_densely(w_h, w_x, bias[:, None])  # (S, K, 4H)
        taped = dense(members, steps + 1, batch, weight.shape[1], like=x)
        gates = dense(members, steps if kept else 1, batch, 4 * hidden, like=x)
        cells = dense(members, steps + 1 if kept else 2, batch, hidden, like=x)
        last = x.new_empty(members, batch, hidden)
        library.call(
            "lstm_forward", shape, weight, x.contiguous(), weight, h0.contiguous(),
            c0.contiguous(), taped, gates, cells, last, int(kept),
        )  # fmt: skip
        ctx.library, ctx.shape = library, shape
        ctx.save_for_backward(weight, taped, gates, cells)
        ctx.set_materialize_grads(False)
        h = taped[..., :hidden]
        # the last state is no view: outputs that go unused then cost no gradient
        return h[:, 1:], h[:, -1].clone(), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, taped, gates, cells = ctx.saved_tensors
        shape: Shape = ctx.shape
        members, steps, batch, hidden = shape.members, shape.steps, shape.batch, shape.hidden
        d_outputs, d_h, d_c = d
        if d_outputs is not None and d_outputs.stride(-1) != 1:
            d_outputs = d_outputs.contiguous()
        d_weight = dense(*weight.shape, like=weight)
        d_h0, d_c0 = (dense(members, batch, hidden, like=weight) for _ in range(2))
        wanted = ctx.needs_input_grad[1]
        d_x = weight.new_empty(members, steps, batch, shape.inputs) if wanted else None
        ctx.library.call(
            "lstm_backward", shape, weight, weight, taped, gates, cells, outputs(d_outputs),
            None if d_h is None else d_h.contiguous(), None if d_c is None else d_c.contiguous(),
            d_x, d_weight, d_h0, d_c0,
        )  # fmt: skip
        d_w_h, d_w_x, d_bias = d_weight.split((hidden, shape.inputs, 1), 1)
        return None, d_x, d_w_x, d_w_h, d_bias[:, 0], d_h0, d_c0, None
