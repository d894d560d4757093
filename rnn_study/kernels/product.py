"""The product that the kernels make in each time step."""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Literal

import triton
import triton.language as tl

Precision = Literal["ieee", "tf32", "tf32x3"]
"""Of products: float32; TF32; float32 split into three products of TF32."""


@triton.jit
def times_matrix(
    acc, source, matrix, rows, columns, batch, hidden, inner, along, across, INNER: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """acc + source @ matrix, for some rows and columns.

    source (batch, inner) is contiguous; matrix (inner, hidden) has the strides `along`, `across`.
    """
    for start in range(0, inner, INNER):
        k = start + tl.arange(0, INNER)
        left = tl.load(
            source + rows[:, None] * inner + k[None, :],
            mask=(rows[:, None] < batch) & (k[None, :] < inner),
            other=0.0,
        )
        right = tl.load(
            matrix + k[:, None] * along + columns[None, :] * across,
            mask=(k[:, None] < inner) & (columns[None, :] < hidden),
            other=0.0,
        )
        acc = tl.dot(left, right, acc, input_precision=PRECISION)
    return acc
