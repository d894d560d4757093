"""The LSTM on a GPU where its products are large: those by cuBLAS, all that is between in Triton.

An input's part in the gates is one product before the loop, and the gradients of the weights are
products after it. Within, a step is a product and one launch, each way.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_study.cells.cell import Weights
from rnn_study.kernels.parts import tanh

SIZE = 1024
"""Numbers of a state that a program works on."""


def scan(
    weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B 2H"]
) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B 2H"]]:
    """As `LSTM.scan`, its oracle; CUDA and float32, products in the precision that torch is set
    to."""
    h, c = state.chunk(2, -1)
    bias = weights["b_x"] + weights["b_h"]
    # copies begin at 16 bytes, which the products need; a pack's own parameters need not
    given = (x, weights["w_x"].clone(), weights["w_h"].clone(), bias, h, c)
    outputs, h, c = _Scan.apply(*given)
    return outputs, torch.cat((h, c), -1)


class _Scan(torch.autograd.Function):
    """The loops, and the products around them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_x: Tensor, w_h: Tensor, bias: Tensor, h0: Tensor, c0: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (members, steps, batch, _), hidden = x.shape, h0.shape[-1]
        gates = torch.baddbmm(bias[:, None], x.flatten(1, 2), w_x).unflatten(1, (steps, batch))
        outputs = h0.new_empty(members, steps, batch, hidden)
        cells = h0.new_empty(members, steps + 1, batch, hidden)
        h0 = h0.contiguous()
        cells[:, 0] = c0
        h, size = h0, batch * hidden
        for t in range(steps):
            gates[:, t].baddbmm_(h, w_h)
            forward_kernel[triton.cdiv(size, SIZE), members](
                gates, cells, outputs, t, steps, size, hidden, SIZE=SIZE
            )
            h = outputs[:, t]
        ctx.save_for_backward(x, w_x, w_h, h0, gates, outputs, cells)
        ctx.set_materialize_grads(False)
        return outputs, h.clone(), cells[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last_h, d_last_c = d
        x, w_x, w_h, h0, gates, outputs, cells = ctx.saved_tensors
        members, steps, batch, hidden = outputs.shape
        d_h, d_c = (
            torch.zeros_like(h0) if last is None else last.contiguous().clone()
            for last in (d_last_h, d_last_c)
        )
        d_gates, size = torch.empty_like(gates), batch * hidden
        given = d_h if d_outputs is None else d_outputs.contiguous()
        for t in reversed(range(steps)):
            backward_kernel[triton.cdiv(size, SIZE), members](
                gates, cells, given, d_gates, d_h, d_c, t, steps, size, hidden,
                GIVEN=d_outputs is not None, SIZE=SIZE,
            )  # fmt: skip
            torch.bmm(d_gates[:, t], w_h.mT, out=d_h)
        d_flat = d_gates.flatten(1, 2)  # (S, T B, 4H)
        return (
            (d_flat @ w_x.mT).view_as(x) if ctx.needs_input_grad[0] else None,
            x.flatten(1, 2).mT @ d_flat,
            of_recurrent(h0, outputs, d_gates),
            d_flat.sum(1),
            d_h,
            d_c,
        )


def of_recurrent(
    h0: Float[Tensor, "S B H"], outputs: Float[Tensor, "S T B H"], d: Float[Tensor, "S T B N"]
) -> Float[Tensor, "S H N"]:
    """The gradient of the recurrent weights, from that of what they make of each state."""
    made = torch.bmm(h0.mT, d[:, 0])
    return made.baddbmm_(outputs[:, :-1].flatten(1, 2).mT, d[:, 1:].flatten(1, 2))


@triton.jit(do_not_specialize=["t"])
def forward_kernel(gates, cells, outputs, t, steps, size, hidden, SIZE: tl.constexpr):
    """gates (S, T, B, 4H): those of step t become activated; state and output follow."""
    n = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    member = tl.program_id(1).to(tl.int64)
    inside = n < size
    gate = gates + (member * steps + t) * 4 * size + n // hidden * 4 * hidden + n % hidden
    i = tl.sigmoid(tl.load(gate, mask=inside))
    f = tl.sigmoid(tl.load(gate + hidden, mask=inside))
    o = tl.sigmoid(tl.load(gate + 2 * hidden, mask=inside))
    g = tanh(tl.load(gate + 3 * hidden, mask=inside))
    cell = cells + (member * (steps + 1) + t) * size + n
    c = f * tl.load(cell, mask=inside) + i * g
    tl.store(gate, i, mask=inside)
    tl.store(gate + hidden, f, mask=inside)
    tl.store(gate + 2 * hidden, o, mask=inside)
    tl.store(gate + 3 * hidden, g, mask=inside)
    tl.store(cell + size, c, mask=inside)
    tl.store(outputs + (member * steps + t) * size + n, o * tanh(c), mask=inside)


@triton.jit(do_not_specialize=["t"])
def backward_kernel(
    gates, cells, d_outputs, d_gates, d_h, d_c, t, steps, size, hidden, GIVEN: tl.constexpr,
    SIZE: tl.constexpr,
):  # fmt: skip
    """d_gates (S, T, B, 4H): those of step t are written, before they are activated."""
    n = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    member = tl.program_id(1).to(tl.int64)
    inside = n < size
    at = (member * steps + t) * size
    place = 4 * at + n // hidden * 4 * hidden + n % hidden
    i = tl.load(gates + place, mask=inside)
    f = tl.load(gates + place + hidden, mask=inside)
    o = tl.load(gates + place + 2 * hidden, mask=inside)
    g = tl.load(gates + place + 3 * hidden, mask=inside)
    cell = cells + at + member * size + n
    tanh_c = tanh(tl.load(cell + size, mask=inside))
    dh = tl.load(d_h + member * size + n, mask=inside)
    if GIVEN:
        dh += tl.load(d_outputs + at + n, mask=inside)
    dc = tl.load(d_c + member * size + n, mask=inside)
    dc += dh * o * (1 - tanh_c * tanh_c)
    tl.store(d_gates + place, dc * g * i * (1 - i), mask=inside)
    d_f = dc * tl.load(cell, mask=inside) * f * (1 - f)
    tl.store(d_gates + place + hidden, d_f, mask=inside)
    tl.store(d_gates + place + 2 * hidden, dh * tanh_c * o * (1 - o), mask=inside)
    tl.store(d_gates + place + 3 * hidden, dc * i * (1 - g * g), mask=inside)
    tl.store(d_c + member * size + n, dc * f, mask=inside)
