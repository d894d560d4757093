"""The LSTM's time loop in one launch each way, in Triton; laid out as `orthogonal`'s is.

A program computes a tile of hidden units at a time, all four gates of it, so that the elementwise
part of a step stays on the chip. Gates are stored activated, for the way back.
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
from rnn_study.cells.lstm import LSTM
from rnn_study.kernels.product import Precision, times_matrix


class FusedLSTM(LSTM):
    """The LSTM, its `scan` as one kernel. `LSTM.scan` is its oracle."""

    def __init__(self, precision: Precision = "ieee", sequences: int = 16) -> None:
        """`sequences`: how many a program has."""
        self.precision, self.sequences = precision, sequences

    def scan(
        self, weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B D"]
    ) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B D"]]:
        bias = weights["b_x"] + weights["b_h"]
        h, c = state.chunk(2, -1)
        how = (self.precision, self.sequences)
        outputs, h, c = _Scan.apply(x, weights["w_x"], weights["w_h"], bias, h, c, *how)
        return outputs, torch.cat((h, c), -1)


class _Scan(torch.autograd.Function):
    """The loops as kernels; products with the inputs and gradients of the weights around them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        bias: Tensor,
        h0: Tensor,
        c0: Tensor,
        precision: Precision,
        rows: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (members, steps, batch, _), hidden = x.shape, h0.shape[-1]
        gates = torch.baddbmm(bias[:, None], x.flatten(1, 2), w_x)
        gates = gates.unflatten(1, (steps, batch)).contiguous()
        outputs, cells = h0.new_empty(2, members, steps + 1, batch, hidden)  # from before the first
        outputs[:, 0], cells[:, 0] = h0, c0
        ctx.how = precision, rows
        w_h = w_h.contiguous()
        _launch(forward_kernel, gates, (w_h, outputs, cells), hidden, *ctx.how)
        ctx.save_for_backward(x, w_x, w_h, gates, outputs, cells)
        ctx.set_materialize_grads(False)
        return outputs[:, 1:], outputs[:, -1].clone(), cells[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last_h, d_last_c = d
        x, w_x, w_h, gates, outputs, cells = ctx.saved_tensors
        d_h = torch.zeros_like(outputs)  # of the outputs, and in the first place of h0
        if d_outputs is not None:
            d_h[:, 1:] = d_outputs
        if d_last_h is not None:
            d_h[:, -1] += d_last_h
        d_c = torch.zeros_like(cells[:, 0]) if d_last_c is None else d_last_c.contiguous().clone()
        d_gates = torch.empty_like(gates)
        others = (w_h, gates, cells, d_h, d_c)
        _launch(backward_kernel, d_gates, others, d_h.shape[-1], *ctx.how)
        d_flat = d_gates.flatten(1, 2)  # (S, T B, 4H)
        return (
            (d_flat @ w_x.mT).view_as(x) if ctx.needs_input_grad[0] else None,
            x.flatten(1, 2).mT @ d_flat,
            outputs[:, :-1].flatten(1, 2).mT @ d_flat,
            d_flat.sum(1),
            d_h[:, 0],
            d_c,
            None,
            None,
        )


def _launch(
    kernel: Any,
    steps: Float[Tensor, "S T B G"],
    others: tuple[Tensor, ...],
    hidden: int,
    precision: Precision,
    rows: int,
) -> None:
    members, time, batch, _ = steps.shape
    kernel[(members, triton.cdiv(batch, rows))](
        steps,
        *others,
        time,
        batch,
        hidden,
        ROWS=rows,
        COLUMNS=32,
        INNER=32,
        PRECISION=precision,
        num_warps=4,
        num_stages=1,  # nothing of a step may be read before the step before it is written
    )


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def forward_kernel(
    steps, w_h, outputs, cells, time, batch, hidden, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """steps (S, T, B, 4H): gates without their recurrent part; become the activated gates.

    outputs, cells (S, T+1, B, H): the first of each is there, the others are written.
    """
    member, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows = block * ROWS + tl.arange(0, ROWS)
    size, wide = batch * hidden, 4 * hidden
    matrix = w_h + member * hidden * wide
    for t in range(time):
        gates = steps + (member * time + t) * 4 * size
        before = (member * (time + 1) + t) * size
        for start in range(0, hidden, COLUMNS):
            columns = start + tl.arange(0, COLUMNS)
            inside = (rows[:, None] < batch) & (columns[None, :] < hidden)
            place = rows[:, None] * hidden + columns[None, :]
            gate = gates + rows[:, None] * wide + columns[None, :]
            i = tl.load(gate, mask=inside, other=0.0)
            f = tl.load(gate + hidden, mask=inside, other=0.0)
            o = tl.load(gate + 2 * hidden, mask=inside, other=0.0)
            g = tl.load(gate + 3 * hidden, mask=inside, other=0.0)
            h = outputs + before
            i = times_matrix(i, h, matrix, rows, columns, batch, hidden, hidden, wide, 1, INNER,
                             PRECISION)  # fmt: skip
            f = times_matrix(f, h, matrix + hidden, rows, columns, batch, hidden, hidden, wide, 1,
                             INNER, PRECISION)  # fmt: skip
            o = times_matrix(o, h, matrix + 2 * hidden, rows, columns, batch, hidden, hidden, wide,
                             1, INNER, PRECISION)  # fmt: skip
            g = times_matrix(g, h, matrix + 3 * hidden, rows, columns, batch, hidden, hidden, wide,
                             1, INNER, PRECISION)  # fmt: skip
            i, f, o, g = tl.sigmoid(i), tl.sigmoid(f), tl.sigmoid(o), _tanh(g)
            tl.store(gate, i, mask=inside)
            tl.store(gate + hidden, f, mask=inside)
            tl.store(gate + 2 * hidden, o, mask=inside)
            tl.store(gate + 3 * hidden, g, mask=inside)
            c = f * tl.load(cells + before + place, mask=inside, other=0.0) + i * g
            tl.store(cells + before + size + place, c, mask=inside)
            tl.store(outputs + before + size + place, o * _tanh(c), mask=inside)
        tl.debug_barrier()


@triton.jit
def backward_kernel(
    steps, w_h, gates, cells, d_h, d_c, time, batch, hidden, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """steps (S, T, B, 4H): become the gradients of the gates before they are activated.

    d_h (S, T+1, B, H): gradients of the outputs from outside, and in the first place, at first
    zero, those of the first state; d_c (S, B, H): of the last cell, becomes that of the first.
    """
    member, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows = block * ROWS + tl.arange(0, ROWS)
    size, wide = batch * hidden, 4 * hidden
    matrix = w_h + member * hidden * wide
    for back in range(time):
        t = time - 1 - back
        here = (member * time + t) * 4 * size
        before = (member * (time + 1) + t) * size
        for start in range(0, hidden, COLUMNS):
            columns = start + tl.arange(0, COLUMNS)
            inside = (rows[:, None] < batch) & (columns[None, :] < hidden)
            place = rows[:, None] * hidden + columns[None, :]
            dh = tl.load(d_h + before + size + place, mask=inside, other=0.0)
            if back > 0:
                dh = times_matrix(dh, steps + here + 4 * size, matrix, rows, columns, batch, hidden,
                                  wide, 1, wide, INNER, PRECISION)  # fmt: skip
            gate = here + rows[:, None] * wide + columns[None, :]
            i = tl.load(gates + gate, mask=inside, other=0.0)
            f = tl.load(gates + gate + hidden, mask=inside, other=0.0)
            o = tl.load(gates + gate + 2 * hidden, mask=inside, other=0.0)
            g = tl.load(gates + gate + 3 * hidden, mask=inside, other=0.0)
            c_before = tl.load(cells + before + place, mask=inside, other=0.0)
            tanh_c = _tanh(tl.load(cells + before + size + place, mask=inside, other=0.0))
            dc = tl.load(d_c + member * size + place, mask=inside, other=0.0)
            dc += dh * o * (1 - tanh_c * tanh_c)
            tl.store(steps + gate, dc * g * i * (1 - i), mask=inside)
            tl.store(steps + gate + hidden, dc * c_before * f * (1 - f), mask=inside)
            tl.store(steps + gate + 2 * hidden, dh * tanh_c * o * (1 - o), mask=inside)
            tl.store(steps + gate + 3 * hidden, dc * i * (1 - g * g), mask=inside)
            tl.store(d_c + member * size + place, dc * f, mask=inside)
        tl.debug_barrier()
    for start in range(0, hidden, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        inside = (rows[:, None] < batch) & (columns[None, :] < hidden)
        dh = tl.zeros((ROWS, COLUMNS), tl.float32)
        first = steps + member * time * 4 * size
        dh = times_matrix(dh, first, matrix, rows, columns, batch, hidden, wide, 1, wide, INNER,
                          PRECISION)  # fmt: skip
        place = rows[:, None] * hidden + columns[None, :]
        tl.store(d_h + member * (time + 1) * size + place, dh, mask=inside)
