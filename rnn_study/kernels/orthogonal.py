"""The orthogonal cell's time loop in one launch each way, in Triton.

A program has one member and some of its sequences, and goes through all time steps alone; nothing
is exchanged between programs. A step's state is written to the outputs, which must be written
anyway, and read back by the same program in tiles, after a barrier. The recurrent matrix is read
again each step, from the second-level cache.
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
from rnn_study.cells.orthogonal import Orthogonal
from rnn_study.kernels.product import Precision, times_matrix


class FusedOrthogonal(Orthogonal):
    """The orthogonal cell, its `scan` as one kernel. `Orthogonal.scan` is its oracle."""

    def __init__(self, precision: Precision = "ieee", sequences: int = 16) -> None:
        """`sequences`: how many a program has."""
        self.precision, self.sequences = precision, sequences

    def scan(
        self, weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B D"]
    ) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B D"]]:
        names = ("w_x", "w_h", "b")
        how = (self.precision, self.sequences)
        return _Scan.apply(x, *(weights[name] for name in names), state, *how)


class _Scan(torch.autograd.Function):
    """As the oracle's, but for the loops; the gradients of the weights are formed likewise."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        b: Tensor,
        h0: Tensor,
        precision: Precision,
        rows: int,
    ) -> tuple[Tensor, Tensor]:
        outputs = (x.flatten(1, 2) @ w_x).unflatten(1, x.shape[1:3])  # z at first
        w_h, h0 = w_h.contiguous(), h0.contiguous()
        ctx.how = precision, rows
        _launch(forward_kernel, outputs, (w_h, b.contiguous(), h0), *ctx.how)
        ctx.save_for_backward(x, w_x, w_h, h0, outputs)
        ctx.set_materialize_grads(False)
        return outputs, outputs[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last = d
        x, w_x, w_h, h0, outputs = ctx.saved_tensors
        d_z = torch.zeros_like(outputs) if d_outputs is None else d_outputs.clone()
        if d_last is not None:
            d_z[:, -1] += d_last
        d_h0 = torch.empty_like(h0)
        _launch(backward_kernel, d_z, (w_h, outputs, d_h0), *ctx.how)
        d_flat = d_z.flatten(1, 2)  # (S, T B, H)
        before = torch.cat((h0[:, None], outputs[:, :-1]), 1)
        return (
            (d_flat @ w_x.mT).view_as(x) if ctx.needs_input_grad[0] else None,
            x.flatten(1, 2).mT @ d_flat,
            before.flatten(1, 2).mT @ d_flat,
            outputs.sign().mul_(d_z).sum((1, 2)),
            d_h0,
            None,
            None,
        )


def _launch(
    kernel: Any,
    steps: Float[Tensor, "S T B H"],
    others: tuple[Tensor, ...],
    precision: Precision,
    rows: int,
) -> None:
    members, time, batch, hidden = steps.shape
    kernel[(members, triton.cdiv(batch, rows))](
        steps,
        *others,
        time,
        batch,
        hidden,
        ROWS=rows,
        COLUMNS=64,
        INNER=32,
        PRECISION=precision,
        num_warps=4,
        num_stages=1,  # nothing of a step may be read before the step before it is written
    )


@triton.jit
def forward_kernel(
    steps, w_h, b, h0, time, batch, hidden, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """steps (S, T, B, H): z without its recurrent part; becomes the outputs."""
    member, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows = block * ROWS + tl.arange(0, ROWS)
    size = batch * hidden
    at = steps + member * time * size
    before = h0 + member * size
    matrix = w_h + member * hidden * hidden
    for _ in range(time):
        for start in range(0, hidden, COLUMNS):
            columns = start + tl.arange(0, COLUMNS)
            inside = (rows[:, None] < batch) & (columns[None, :] < hidden)
            place = at + rows[:, None] * hidden + columns[None, :]
            z = tl.load(place, mask=inside, other=0.0)
            z = times_matrix(
                z, before, matrix, rows, columns, batch, hidden, hidden, hidden, 1, INNER, PRECISION
            )
            offset = tl.load(b + member * hidden + columns, mask=columns < hidden, other=0.0)
            size_of = tl.maximum(tl.abs(z) + offset[None, :], 0.0)
            out = tl.where(z > 0, size_of, tl.where(z < 0, -size_of, z * 0.0))
            tl.store(place, out, mask=inside)
        tl.debug_barrier()
        before = at
        at += size


@triton.jit
def backward_kernel(
    steps, w_h, outputs, d_h0, time, batch, hidden, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    INNER: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """steps (S, T, B, H): gradients of the outputs from outside; becomes those of z."""
    member, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows = block * ROWS + tl.arange(0, ROWS)
    size = batch * hidden
    matrix = w_h + member * hidden * hidden
    after = steps + member * time * size  # of step 0 once the loop is over
    for back in range(time):
        at = steps + (member * time + time - 1 - back) * size
        seen = outputs + (member * time + time - 1 - back) * size
        for start in range(0, hidden, COLUMNS):
            columns = start + tl.arange(0, COLUMNS)
            inside = (rows[:, None] < batch) & (columns[None, :] < hidden)
            place = rows[:, None] * hidden + columns[None, :]
            d_h = tl.load(at + place, mask=inside, other=0.0)
            if back > 0:
                d_h = times_matrix(
                    d_h, at + size, matrix, rows, columns, batch, hidden, hidden, 1, hidden,
                    INNER, PRECISION,
                )  # fmt: skip
            out = tl.load(seen + place, mask=inside, other=0.0)
            tl.store(at + place, tl.where(out == 0, d_h * 0.0, d_h), mask=inside)
        tl.debug_barrier()
    for start in range(0, hidden, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        inside = (rows[:, None] < batch) & (columns[None, :] < hidden)
        d_h = tl.zeros((ROWS, COLUMNS), tl.float32)
        d_h = times_matrix(
            d_h, after, matrix, rows, columns, batch, hidden, hidden, 1, hidden, INNER, PRECISION
        )
        place = rows[:, None] * hidden + columns[None, :]
        tl.store(d_h0 + member * size + place, d_h, mask=inside)
