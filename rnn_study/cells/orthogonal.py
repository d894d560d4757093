"""The orthogonal cell: expRNN (Lezcano-Casado and Martinez-Rubio, ICML 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_study.cells.cell import Cell, Parameters, Weights, uniform
from rnn_study.cells.exponential import exponential_of_upper
from rnn_study.cells.native_orthogonal import NativeScan
from rnn_study.cells.scratch import blocks, dense, rows
from rnn_study.cells.tape import as_columns, stacked, tape, two_wide
from rnn_study.kernels import orthogonal_bytes, orthogonal_scan
from rnn_study.native.library import for_tensor

SQUARINGS = {"cpu": None, "meta": 2, "cuda": 8}
"""Of the exponential in training, which is in float32, by device: on a CPU as many as a pack needs,
most often none or one. A GPU is not asked; there members diverge at norms of A - A' above 844. On
`meta`, where tensors have no values, what to reckon with. Looks at attractors are in float64, and
no graph holds them: as many as they need."""


class Orthogonal(Cell):
    """A recurrent matrix that stays orthogonal, and the modReLU; D = H.

        h' = modReLU(x W + h exp(A - A'))      modReLU(z) = sign(z) relu(|z| + b)

    Parameters: W is `w_x` (S, I, H), A is `skew` (S, H, H), of which only the part above the
    diagonal counts, and b is `b` (S, H).
    """

    gates = 1
    orthogonal = "skew"

    def init(self, rng: np.random.Generator, inputs: int, hidden: int) -> dict[str, np.ndarray]:
        """Henaff's blocks for A (Henaff et al., ICML 2016), Kaiming's normal for W, b near zero.

        The eigenvalues of exp(A - A') are then pairs exp(+-i s) with s uniform in [-pi, pi].
        """
        skew = np.zeros((hidden, hidden), dtype=np.float32)
        pairs = np.arange(0, hidden - 1, 2)
        skew[pairs, pairs + 1] = rng.uniform(-np.pi, np.pi, len(pairs))
        w_x = rng.standard_normal((inputs, hidden)) * np.sqrt(2 / inputs)
        return {"w_x": w_x.astype(np.float32), "skew": skew, "b": uniform(rng, 0.01, hidden)}

    def weights(self, params: Parameters) -> Weights:
        upper = params["skew"]
        squarings = None
        if upper.dtype == torch.float32:
            squarings = SQUARINGS.get(upper.device.type, SQUARINGS["cuda"])
        return {**params, "w_h": exponential_of_upper(upper, squarings)}

    def step(
        self, weights: Weights, x: Float[Tensor, "S B I"], state: Float[Tensor, "S B D"]
    ) -> Float[Tensor, "S B D"]:
        z = torch.baddbmm(x @ weights["w_x"], state, weights["w_h"])
        return z.sign() * (z.abs() + weights["b"][:, None]).relu()

    def scan(
        self, weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B D"]
    ) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B D"]]:
        if (fast := orthogonal_scan(x)) is not None:
            return fast(weights, x, state)
        given = (x, weights["w_x"], weights["w_h"], weights["b"], state)
        library = for_tensor(x)
        if library is not None:
            return NativeScan.apply(library, *given)
        if x.shape[2] == 1:
            return two_wide(self.scan, weights, x, state)
        return _Scan.apply(*given)

    def kernel_bytes(self, length: int, batch: int, inputs: int, hidden: int, step: int) -> int:
        return orthogonal_bytes(length, batch, hidden)


class _Scan(torch.autograd.Function):
    """The loop of `Orthogonal.step` with its backward pass by hand, laid out as `tape` says.

    The product of a step covers state and input at once, and so does that of their gradients. Only
    the outputs are kept: an output has the sign of its z, and is zero where modReLU is flat.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        (members, steps, batch, _), hidden = x.shape, h0.shape[-1]
        size = hidden * batch
        taped, weight = tape(x, h0), stacked(w_h, w_x)  # (S, T+1, K, B), (S, K, H)
        entering = rows(members, weight[0].numel(), x).view_as(weight.mT).copy_(weight.mT)
        offsets, signs = rows(members, size, x), rows(members, size, x)
        z = dense(members, size, like=x)
        as_columns(offsets, batch).copy_(b[..., None])
        for part in blocks(members, weight[0].numel() + 5 * size, x):
            inputs, h = taped[part].unbind(1), taped[part, :, :hidden].flatten(2).unbind(1)
            w, offset, z_t, sign = entering[part], offsets[part], z[part], signs[part]
            product = as_columns(z_t, batch)
            for t in range(steps):
                torch.bmm(w, inputs[t], out=product)
                torch.sign(z_t, out=sign)
                torch.mul(torch.addcmul(offset, z_t, sign, out=z_t).relu_(), sign, out=h[t + 1])
        ctx.save_for_backward(weight, taped)
        ctx.inputs = x.shape[-1]
        ctx.set_materialize_grads(False)
        # the last state is no view: outputs that go unused then cost no gradient
        return taped[:, 1:, :hidden].mT, taped[:, -1, :hidden].mT.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last = d
        weight, taped = ctx.saved_tensors
        (members, steps, _, batch), hidden = taped.shape, weight.shape[-1]
        steps, size = steps - 1, hidden * batch
        d_z, signs, d_offset = (rows(members, size, weight) for _ in range(3))
        d_h = dense(members, size, like=weight)
        d_offset.zero_()
        if d_last is None:
            d_h.zero_()
        else:
            as_columns(d_h, batch).copy_(d_last.mT)
        d_weight = dense(*weight.shape, like=weight).zero_()
        entered = slice(hidden, hidden + ctx.inputs)  # rows of the tape that have the input
        shape = (members, steps, ctx.inputs, batch)
        d_x = taped.new_empty(shape) if ctx.needs_input_grad[0] else None
        for part in blocks(members, 2 * weight[0].numel() + 6 * size, weight):
            before, h = taped[part].unbind(1), taped[part, :, :hidden].flatten(2).unbind(1)
            dh, dz, sign, db = d_h[part], d_z[part], signs[part], d_offset[part]
            dh_columns, dz_columns = as_columns(dh, batch), as_columns(dz, batch)
            dz_rows, dw = dz_columns.mT, d_weight[part]
            w_h, w_x = weight[part, :hidden], weight[part, entered]
            for t in reversed(range(steps)):
                if d_outputs is not None:
                    dh_columns += d_outputs[part, t].mT
                torch.mul(dh, torch.sign(h[t + 1], out=sign), out=dz)
                db += dz
                dz *= sign
                torch.bmm(w_h, dz_columns, out=dh_columns)
                dw.baddbmm_(before[t], dz_rows)
                if d_x is not None:
                    torch.bmm(w_x, dz_columns, out=d_x[part, t])
        return (
            None if d_x is None else d_x.mT,
            d_weight[:, entered],
            d_weight[:, :hidden],
            as_columns(d_offset, batch).sum(-1),
            as_columns(d_h, batch).mT,
        )


def is_orthogonal(matrix: Float[Tensor, "S H H"], eps: float = 1e-4) -> Bool[Tensor, "S"]:
    """Whether each matrix times its transpose is the identity, to `eps` in every entry."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (matrix @ matrix.mT - eye).abs().amax((1, 2)) <= eps
