"""Numbers in parts of 16 bits, so that matrix units multiply them as exactly as float32.

A bfloat16 has 8 significant bits, a float32 24. So a number is the sum of three parts, each the
rounded rest of those before it, and a product of two such sums is six products of parts, but for
three whose terms are below the rounding of float32. What a matrix unit multiplies it adds up in
float32.

A float16 has 11 significant bits, and two parts 22: three products come to an error of 2^-22 of
what is added up, where no number is above 65504 and none that counts is near 2^-25, the step of
the smallest. That holds for the values of a network; gradients may be as small as they like.

Source: Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
higher-precision computations", 2019.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

PARTS = 3


def multiplied(parts: Tensor) -> tl.dtype:
    """As what `parts` are multiplied: Triton's interpreter, which runs kernels on a CPU, knows no
    products of bfloat16."""
    if parts.device.type == "cpu":
        return tl.float32
    return tl.float16 if parts.dtype == torch.float16 else tl.bfloat16


def parts_of(values: Float[Tensor, "*shape"], out: Float[Tensor, "P *shape"]) -> None:
    """Writes the P parts of some numbers, the largest first, in the format of `out`."""
    rest = values
    for part in out:
        part.copy_(rest)
        rest = rest - part.float()


@triton.jit
def tanh(x):
    """The hyperbolic tangent."""
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def in_halves(values):
    """The two parts of a tile in float16."""
    one = values.to(tl.float16)
    return one, (values - one.to(tl.float32)).to(tl.float16)


@triton.jit
def in_parts(values):
    """The three parts of a tile in bfloat16."""
    one = values.to(tl.bfloat16)
    rest = values - one.to(tl.float32)
    two = rest.to(tl.bfloat16)
    return one, two, (rest - two.to(tl.float32)).to(tl.bfloat16)


@triton.jit
def plus_product(
    acc, left, right, rows, columns, length, left_part, right_step, right_part,
    PARTS: tl.constexpr, INNER: tl.constexpr, MULTIPLIED: tl.constexpr,
):  # fmt: skip
    """acc (M, N) + the product of two matrices in parts, of which the first PARTS are taken: of
    three six products, of two three.

    `left` (M, INNER) and `right` (INNER, N) point at the first columns and rows of the first parts;
    `length` columns and rows are multiplied, and `right_step` leads from row to row. `rows` (M, 1)
    and `columns` (1, N) say which there are of the result. The parts are multiplied as MULTIPLIED.
    """
    for _ in range(0, length, INNER):
        a = tl.load(left, mask=rows, other=0.0).to(MULTIPLIED)
        b = tl.load(left + left_part, mask=rows, other=0.0).to(MULTIPLIED)
        x = tl.load(right, mask=columns, other=0.0).to(MULTIPLIED)
        y = tl.load(right + right_part, mask=columns, other=0.0).to(MULTIPLIED)
        if PARTS == 3:  # the smallest first
            c = tl.load(left + 2 * left_part, mask=rows, other=0.0).to(MULTIPLIED)
            z = tl.load(right + 2 * right_part, mask=columns, other=0.0).to(MULTIPLIED)
            acc = tl.dot(c, x, acc)
            acc = tl.dot(b, y, acc)
            acc = tl.dot(a, z, acc)
        acc = tl.dot(b, x, acc)
        acc = tl.dot(a, y, acc)
        acc = tl.dot(a, x, acc)
        left += INNER
        right += INNER * right_step
    return acc
