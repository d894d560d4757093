"""The orthogonal cell: expRNN (Lezcano-Casado and Martinez-Rubio, ICML 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_study.cells.cell import Cell, Parameters, Weights, uniform


class Orthogonal(Cell):
    """A recurrent matrix that stays orthogonal, and the modReLU; D = H.

        h' = modReLU(x W + h exp(A - A'))      modReLU(z) = sign(z) relu(|z| + b)

    Parameters: W is `w_x` (S, I, H), A is `skew` (S, H, H), of which only the part above the
    diagonal counts, and b is `b` (S, H).
    """

    gates = 1

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
        upper = params["skew"].triu(1)
        return {**params, "w_h": matrix_exp(upper - upper.mT)}

    def step(
        self, weights: Weights, x: Float[Tensor, "S B I"], state: Float[Tensor, "S B D"]
    ) -> Float[Tensor, "S B D"]:
        z = torch.baddbmm(x @ weights["w_x"], state, weights["w_h"])
        return z.sign() * (z.abs() + weights["b"][:, None]).relu()

    def scan(
        self, weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B D"]
    ) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B D"]]:
        return _Scan.apply(x, weights["w_x"], weights["w_h"], weights["b"], state)


class _Scan(torch.autograd.Function):
    """The loop of `Orthogonal.step` with its backward pass by hand.

    One product a step each way; the gradients of the weights are one product each after the loop.
    Only the outputs are kept: an output has the sign of its z, and is zero where modReLU is flat.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        steps, batch = x.shape[1:3]
        z = (x.flatten(1, 2) @ w_x).unflatten(1, (steps, batch))  # (S, T, B, H)
        outputs = torch.empty_like(z)
        h, offset = h0, b[:, None]
        for t in range(steps):
            z_t = z[:, t].baddbmm_(h, w_h)
            h = torch.abs(z_t, out=outputs[:, t]).add_(offset).relu_().mul_(z_t.sign_())
        ctx.save_for_backward(x, w_x, w_h, h0, outputs)
        ctx.set_materialize_grads(False)
        return outputs, h.clone()  # not a view: outputs that go unused then cost no gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last = d
        x, w_x, w_h, h0, outputs = ctx.saved_tensors
        d_z = torch.empty_like(outputs)
        d_h = torch.zeros_like(h0) if d_last is None else d_last.clone()
        signs = outputs.sign()
        active = signs.abs()
        w_h_T = w_h.mT
        for t in reversed(range(x.shape[1])):
            if d_outputs is not None:
                d_h += d_outputs[:, t]
            torch.mul(d_h, active[:, t], out=d_z[:, t])
            torch.bmm(d_z[:, t], w_h_T, out=d_h)
        d_flat = d_z.flatten(1, 2)  # (S, T B, H)
        before = torch.cat((h0[:, None], outputs[:, :-1]), 1)
        d_x = (d_flat @ w_x.mT).view_as(x) if ctx.needs_input_grad[0] else None
        return (
            d_x,
            x.flatten(1, 2).mT @ d_flat,
            before.flatten(1, 2).mT @ d_flat,
            signs.mul_(d_z).sum((1, 2)),
            d_h,
        )


def matrix_exp(matrix: Float[Tensor, "S H H"]) -> Float[Tensor, "S H H"]:
    """exp of each matrix, to the rounding of its type; differentiable.

    Scaling and squaring of the Taylor polynomial of degree 16, evaluated with six products
    (Paterson and Stockmeyer, 1973). A matrix is halved until its norm is below one, as often as it
    needs and whatever else is in the pack; the truncation is then below 3e-15.
    """
    norms = matrix.detach().abs().sum(-1).amax(-1)  # (S,), a bound of the spectral norm
    norms = norms.where(norms.isfinite(), 1)  # a diverged member becomes NaN and costs no other
    halvings = norms.clamp_min(1).log2().ceil()
    one = matrix * torch.exp2(-halvings)[:, None, None]
    two = one @ one
    three = two @ one
    four = two @ two
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    powers = (eye, one, two, three)
    result = four * _INVERSE_FACTORIALS[16]
    for low in (12, 8, 4, 0):
        for k, power in enumerate(powers):
            result = result + _INVERSE_FACTORIALS[low + k] * power
        if low:
            result = four @ result
    squarings = 2 if matrix.is_meta else int(halvings.max())  # a tensor without values has no norm
    for squaring in range(squarings):
        wanted = (squaring < halvings)[:, None, None]
        result = torch.where(wanted, result @ result, result)
    return result


_INVERSE_FACTORIALS = [1.0]
for _k in range(1, 17):
    _INVERSE_FACTORIALS.append(_INVERSE_FACTORIALS[-1] / _k)


def is_orthogonal(matrix: Float[Tensor, "S H H"], eps: float = 1e-4) -> Bool[Tensor, "S"]:
    """Whether each matrix times its transpose is the identity, to `eps` in every entry."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (matrix @ matrix.mT - eye).abs().amax((1, 2)) <= eps
