"""The exponential of skew-symmetric matrices, for many at once and without asking the host."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.cells.native_exponential import NativeExponential
from rnn_study.native.library import for_tensor

_LARGEST = {torch.float32: 3.3, torch.float64: 1.1}
"""Norms for which the Taylor polynomial is the exponential to rounding: x^19 / 19! is below it."""
# fmt: off
_COEFFICIENTS = (
    (0.0, -1.00365581030144618e-01, -8.02924648241156932e-03, -8.92138498045729985e-04, 0.0),
    (0.0, 3.97849749499645078e-01, 1.36783778460411720e00, 4.98289622525382669e-01,
     -6.37898194594723280e-04),
    (-1.09676396052962062e01, 1.68015813878906206e00, 5.71779846478865511e-02,
     -6.98210122488052056e-03, 3.34975017086070471e-05),
    (-9.04316832390810593e-02, -6.76404519071381882e-02, 6.75961301770459655e-02,
     2.95552570429315521e-02, -1.39180257516060693e-05),
    (0.0, 0.0, -9.23364619367118555e-02, -1.69364939002081723e-02, -1.40086798182036094e-05),
)
# fmt: on
"""Of 1, A, A^2, A^3, A^6 in five sums B: with C = B1 B5 + B4 the polynomial of degree 18 is
B2 + (B3 + C) C."""


def matrix_exp(
    skew: Float[Tensor, "S H H"], squarings: int | None = None
) -> Float[Tensor, "S H H"]:
    """exp of each skew-symmetric matrix, to the rounding of its type; differentiable.

    Scaling and squaring of the Taylor polynomial of degree 18 with five products (Bader, Blanes and
    Casas, Mathematics 7, 2019). A matrix is halved until its spectral norm is below 3.3 (in float64
    1.1), as often as it needs and whatever else is in the pack; the norm is bounded by the sixth
    root of the largest absolute row sum of the sixth power. What was squared is made orthogonal by
    a step of Newton's iteration. The gradient is by hand: of eight products, as the square of a
    symmetric or skew-symmetric matrix needs one instead of two. It is the skew-symmetric part. For
    a second derivative (`create_graph`) it is that of `torch.linalg.matrix_exp`, and slower.

    Without `squarings` the host reads how many are needed. With a number it reads nothing, so that
    a CUDA graph can hold it all: there are always so many, those that a matrix does not need leave
    it as it is, and norms above 3.3 (1.1) * 2^`squarings` give NaN. So does a matrix whose sixth
    power is not finite, and no other does for it.
    """
    return _Exponential.apply(skew, squarings)


def exponential_of_upper(
    upper: Float[Tensor, "S H H"], squarings: int | None = None
) -> Float[Tensor, "S H H"]:
    """exp(A - A'), where A is the part above the diagonal; as `matrix_exp`, on a CPU natively."""
    library = for_tensor(upper) if squarings is None else None
    if library is not None:
        return NativeExponential.apply(library, upper, _LARGEST[upper.dtype])
    above = upper.triu(1)
    return matrix_exp(above - above.mT, squarings)


class _Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, skew: Tensor, squarings: int | None) -> Tensor:
        members, size, _ = skew.shape
        powers = skew.new_empty(members, 4, size, size)
        one, two, three, six = powers.unbind(1)
        one.copy_(skew)
        torch.bmm(one, one, out=two)
        torch.bmm(one, two, out=three)
        torch.bmm(three, three, out=six)
        norms = six.abs().sum(-1).amax(-1) ** (1 / 6)
        halvings = (norms / _LARGEST[skew.dtype]).log2().ceil().clamp_min(0)
        halvings = halvings.where(norms.isfinite(), 0)  # NaN anyway, and costs no other a squaring
        read = squarings is None
        squarings = int(halvings.max()) if squarings is None else squarings
        scale = torch.exp2(-halvings)[:, None, None]
        if squarings:
            for power, exponent in zip(powers.unbind(1), (1, 2, 3, 6), strict=True):
                power *= scale**exponent
        of_one, of_powers = _coefficients(skew.dtype, skew.device)
        sums = (of_powers @ powers.flatten(2)).view(members, 5, size, size)
        sums.diagonal(dim1=2, dim2=3).add_(of_one)
        b1, b2, b3, b4, b5 = sums.unbind(1)
        c = torch.baddbmm(b4, b1, b5)
        b3 += c
        results = [torch.baddbmm(b2, b3, c)]
        wanted = [(k < halvings)[:, None, None] for k in range(squarings)]
        for want in wanted:
            last = results[-1]
            results.append(torch.where(want, last @ last, last))
        result = results.pop()
        if squarings:  # they double errors; a step of Newton's takes those that orthogonality shows
            better = torch.baddbmm(result, result, result.mT @ result, beta=1.5, alpha=-0.5)
            result = torch.where(wanted[0], better, result)
        if not read:
            result = result.where((halvings <= squarings)[:, None, None], torch.nan)
        ctx.save_for_backward(skew, powers, b1, b3, b5, c, scale, *results, *wanted)
        return result

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        skew, powers, b1, b3, b5, c, scale, *rest = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, which torch's own function has
            result = torch.linalg.matrix_exp(skew)
            (gradient,) = torch.autograd.grad(result, skew, d, create_graph=True)
            return (gradient - gradient.mT) / 2, None
        results, wanted = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        for last, want in zip(reversed(results), reversed(wanted), strict=True):
            d = torch.where(want, torch.baddbmm(d @ last.mT, last.mT, d), d)
        d_sums = d.new_empty(len(d), 5, *d.shape[1:])
        d1, d2, d3, d4, d5 = d_sums.unbind(1)
        d2.copy_(d)
        torch.bmm(d, c.mT, out=d3)
        torch.baddbmm(d3, b3.mT, d, out=d4)  # of c, and so of b4
        torch.bmm(d4, b5.mT, out=d1)
        torch.bmm(b1.mT, d4, out=d5)
        d_powers = (_coefficients(d.dtype, d.device)[1].mT @ d_sums.flatten(2)).view_as(powers)
        one, two, three, _ = powers.unbind(1)
        d_one, d_two, d_three, d_six = d_powers.unbind(1)
        # odd powers are skew-symmetric and even ones symmetric, and so are their gradients (twice)
        d_six = d_six + d_six.mT
        d_three.baddbmm_(three, d_six, alpha=-1)
        d_three = d_three - d_three.mT
        d_two.baddbmm_(one, d_three, alpha=-0.5)
        d_two = d_two + d_two.mT
        d_one.baddbmm_(one, d_two, alpha=-1).baddbmm_(d_three, two, alpha=0.5)
        return (d_one - d_one.mT) * (scale / 2), None


@cache  # while a CUDA graph is captured, nothing can come from the host
def _coefficients(
    dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "5 1"], Float[Tensor, "5 4"]]:
    """Those of the identity, and those of the powers."""
    table = torch.tensor(_COEFFICIENTS, dtype=dtype, device=device)
    return table[:, :1], table[:, 1:]
