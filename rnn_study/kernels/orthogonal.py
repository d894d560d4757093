"""The orthogonal cell's time loop on a GPU: products by cuBLAS, all that is between in Triton.

Laid out as `wide_lstm` is: the input's part is one product before the loop, and the gradients of
the weights are products after it.
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
from rnn_study.kernels.wide_lstm import SIZE, of_recurrent


def scan(
    weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B H"]
) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B H"]]:
    """As `Orthogonal.scan`, its oracle; CUDA and float32, products in the precision that torch is
    set to."""
    # a copy begins at 16 bytes, which the products need; a pack's own parameters need not
    return _Scan.apply(x, weights["w_x"].clone(), weights["w_h"], weights["b"], state)


class _Scan(torch.autograd.Function):
    """The loops, and the products around them. An output has the sign of its z, and is zero where
    modReLU is flat."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        (members, steps, batch, _), hidden = x.shape, h0.shape[-1]
        outputs = torch.bmm(x.flatten(1, 2), w_x).unflatten(1, (steps, batch))
        w_h, b, h0 = w_h.contiguous(), b.contiguous(), h0.contiguous()
        h, size = h0, batch * hidden
        for t in range(steps):
            outputs[:, t].baddbmm_(h, w_h)
            forward_kernel[triton.cdiv(size, SIZE), members](
                outputs, b, t, steps, size, hidden, SIZE=SIZE
            )
            h = outputs[:, t]
        ctx.save_for_backward(x, w_x, w_h, h0, outputs)
        ctx.set_materialize_grads(False)
        return outputs, h.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last = d
        x, w_x, w_h, h0, outputs = ctx.saved_tensors
        members, steps, batch, hidden = outputs.shape
        d_h = torch.zeros_like(h0) if d_last is None else d_last.contiguous().clone()
        d_z, d_b, size = torch.empty_like(outputs), torch.zeros_like(h0), batch * hidden
        given = d_h if d_outputs is None else d_outputs.contiguous()
        for t in reversed(range(steps)):
            backward_kernel[triton.cdiv(size, SIZE), members](
                outputs, given, d_z, d_b, d_h, t, steps, size,
                GIVEN=d_outputs is not None, SIZE=SIZE,
            )  # fmt: skip
            torch.bmm(d_z[:, t], w_h.mT, out=d_h)
        d_flat = d_z.flatten(1, 2)  # (S, T B, H)
        return (
            (d_flat @ w_x.mT).view_as(x) if ctx.needs_input_grad[0] else None,
            x.flatten(1, 2).mT @ d_flat,
            of_recurrent(h0, outputs, d_z),
            d_b.sum(1),
            d_h,
        )


@triton.jit(do_not_specialize=["t"])
def forward_kernel(outputs, b, t, steps, size, hidden, SIZE: tl.constexpr):
    """outputs (S, T, B, H): that of step t is z as it comes, becomes modReLU(z); b (S, H)."""
    n = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    member = tl.program_id(1).to(tl.int64)
    inside = n < size
    place = outputs + (member * steps + t) * size + n
    z = tl.load(place, mask=inside)
    raised = tl.abs(z) + tl.load(b + member * hidden + n % hidden, mask=inside)
    raised = tl.where(raised < 0, 0.0, raised)  # what is no number stays so
    tl.store(place, tl.where(z < 0, -raised, tl.where(z == 0, 0.0, raised)), mask=inside)


@triton.jit(do_not_specialize=["t"])
def backward_kernel(
    outputs, d_outputs, d_z, d_b, d_h, t, steps, size, GIVEN: tl.constexpr, SIZE: tl.constexpr
):
    """d_z (S, T, B, H): that of step t is written; d_b (S, B, H): its part of `b` is added."""
    n = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    member = tl.program_id(1).to(tl.int64)
    inside = n < size
    at = (member * steps + t) * size + n
    h = tl.load(outputs + at, mask=inside)
    dh = tl.load(d_h + member * size + n, mask=inside)
    if GIVEN:
        dh += tl.load(d_outputs + at, mask=inside)
    sign = tl.where(h > 0, 1.0, tl.where(h < 0, -1.0, h))
    signed = dh * sign
    summed = d_b + member * size + n
    tl.store(summed, tl.load(summed, mask=inside) + signed, mask=inside)
    tl.store(d_z + at, signed * sign, mask=inside)
