"""The LSTM's time steps on a GPU, one launch each: product, gates and state together, in Triton.

What a step multiplies lies in one row of K: the state (padded to H'), the input, and a one for the
bias (all padded), in parts of bfloat16. The weights have a row for each of these, and their columns
lie unit by unit, the four gates of a unit together (C columns): so a tile of columns holds all that
some units need, and nothing of a product leaves the chip. On the way back the gradients of the
gates are rows of C, again in parts. The gradients of the weights are three products after the loop.

Units are padded to U = C / 4: widths that are multiples of 16 let a thread read and write 16 bytes
at once. A unit that is only there to fill up has zero weights, so nothing comes of it.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_study.cells.cell import Weights
from rnn_study.kernels import padded
from rnn_study.kernels.lstm_layout import ALIGNED, GATES, fill, pack, times, unpack
from rnn_study.kernels.parts import in_halves, in_parts, multiplied, parts_of, plus_product, tanh

AHEAD = 16
"""Time steps whose inputs are laid out together where no gradient is wanted."""


@dataclass(frozen=True)
class Tiles:
    """How a launch is cut into programs."""

    rows: int
    """Sequences of a program."""
    units: int
    """Hidden units of a program."""
    inner: int
    """Numbers that are multiplied and added up between two loads."""
    warps: int
    stages: int
    """Loads that are under way while the product goes on."""
    registers: int | None = None
    """The most of a thread, so that more programs share a processor; None: what it takes."""


FORWARD = Tiles(rows=64, units=32, inner=32, warps=4, stages=3)
BACKWARD = Tiles(rows=64, units=32, inner=64, warps=4, stages=3)
GRADIENT_PARTS = 3
"""Of the gradients of the gates: three or two. Two halve the products of the way back and take less
memory, as on a CPU; how much time that saves on a GPU is for `benchmarks/gpu.py` to say."""
VALUE_PARTS = 3
"""Of states, inputs and weights on the way forward: three of bfloat16, or, where gradients have two
parts, two of float16, which halve its products too. Likewise."""


def scan(
    weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B 2H"]
) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B 2H"]]:
    """As `LSTM.scan`, its oracle; CUDA and float32."""
    h, c = state.chunk(2, -1)
    given = (x, weights["w_x"], weights["w_h"], weights["b_x"] + weights["b_h"], h, c)
    kept = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    outputs, h, c = _Scan.apply(*given, kept)
    return outputs, torch.cat((h, c), -1)


class _Scan(torch.autograd.Function):
    """The steps one after the other, and those of the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        bias: Tensor,
        h0: Tensor,
        c0: Tensor,
        kept: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (members, steps, batch, _), hidden = x.shape, h0.shape[-1]
        packed = pack(w_h, w_x, bias)
        halves = VALUE_PARTS == 2
        forward = pack(w_h, w_x, bias, 2, torch.float16) if halves else packed
        units = packed.shape[-1] // GATES
        slots = steps if kept and not halves else min(AHEAD, steps)
        row = VALUE_PARTS, packed.shape[2]
        taped = x.new_zeros(members, slots + 1, batch, *row, dtype=forward.dtype)
        back = taped  # what the gradients of the weights need
        if halves:
            back = packed.new_zeros(members, steps + 1 if kept else 0, batch, *row)
        outputs = x.new_empty(members, steps, batch, units)
        gates = x.new_empty(members, steps if kept else 0, GATES, batch, units)
        cells = x.new_empty(members, (steps if kept else 1) + 1, batch, units)
        cells[:, 0, :, :hidden], cells[:, 0, :, hidden:] = c0, 0
        for tape in (taped, back) if halves and kept else (taped,):
            parts_of(h0, tape[:, 0, :, :, :hidden].movedim(2, 0))
        if halves and kept:
            fill(back, x, padded(hidden, ALIGNED))
        for first in range(0, steps, slots):
            fill(taped, x[:, first : first + slots], padded(hidden, ALIGNED))
            if first:
                taped[:, 0, :, :, :hidden] = taped[:, slots, :, :, :hidden]
            for t in range(first, min(first + slots, steps)):
                _forward(forward, taped, back, cells, gates, outputs, hidden, t, t - first, kept)
        ctx.save_for_backward(packed, back, gates, cells)
        ctx.sizes = hidden, x.shape[-1]
        ctx.set_materialize_grads(False)
        outputs, last = outputs[..., :hidden], cells[:, steps if kept else steps % 2, :, :hidden]
        return outputs, outputs[:, -1].clone(), last.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last_h, d_last_c = d
        packed, taped, gates, cells = ctx.saved_tensors
        (members, steps, _, batch, _), (hidden, inputs) = gates.shape, ctx.sizes
        d_gates = gates.new_empty(
            members, steps, batch, GRADIENT_PARTS, packed.shape[-1], dtype=torch.bfloat16
        )
        d_c = torch.zeros_like(cells[:, 0])
        if d_last_c is not None:
            d_c[..., :hidden] = d_last_c
        d_outputs, d_last_h = (
            None if each is None else each.contiguous() for each in (d_outputs, d_last_h)
        )
        for t in reversed(range(steps)):
            _backward(packed, gates, cells, d_gates, d_c, d_outputs, d_last_h, hidden, t)
        d_weight = unpack(times(taped[:, :steps], d_gates), hidden)
        whole = packed.float().sum(1)  # (S, K, C)
        first = d_gates[:, 0].float().sum(2)
        entered = slice(padded(hidden, ALIGNED), padded(hidden, ALIGNED) + inputs)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_rows = d_gates.float().sum(3).flatten(1, 2)
            d_x = (d_rows @ whole[:, entered].mT).unflatten(1, (steps, batch))
        return (
            d_x,
            d_weight[:, entered],
            d_weight[:, :hidden],
            d_weight[:, entered.stop],
            first @ whole[:, :hidden].mT,
            d_c[..., :hidden],
            None,
        )


def _forward(
    packed: Tensor, taped: Tensor, back: Tensor, cells: Tensor, gates: Tensor, outputs: Tensor,
    hidden: int, t: int, slot: int, kept: bool,
) -> None:  # fmt: skip
    members, steps, batch, units = outputs.shape
    tiles = FORWARD
    grid = (triton.cdiv(units, tiles.units), triton.cdiv(batch, tiles.rows), members)
    forward_kernel[grid](
        packed, taped, back, cells, gates, outputs, t, slot, steps, taped.shape[1], batch,
        padded(hidden, ALIGNED), units, packed.shape[2],
        KEPT=kept, ROWS=tiles.rows, UNITS=tiles.units, PARTS=VALUE_PARTS, INNER=tiles.inner,
        MULTIPLIED=multiplied(packed),
        num_warps=tiles.warps, num_stages=tiles.stages, maxnreg=tiles.registers,
    )  # fmt: skip


def _backward(
    packed: Tensor, gates: Tensor, cells: Tensor, d_gates: Tensor, d_c: Tensor,
    d_outputs: Tensor | None, d_last: Tensor | None, hidden: int, t: int,
) -> None:  # fmt: skip
    members, steps, _, batch, units = gates.shape
    tiles = BACKWARD
    grid = (triton.cdiv(units, tiles.units), triton.cdiv(batch, tiles.rows), members)
    is_last = t == steps - 1
    backward_kernel[grid](
        packed, gates, cells, d_gates, d_c,
        d_c if d_outputs is None else d_outputs,
        d_c if d_last is None else d_last,
        t, steps, batch, hidden, units, packed.shape[2],
        GIVEN=d_outputs is not None, ENDS=is_last and d_last is not None, LAST=is_last,
        ROWS=tiles.rows, UNITS=tiles.units, PARTS=GRADIENT_PARTS, INNER=tiles.inner,
        MULTIPLIED=multiplied(packed),
        num_warps=tiles.warps, num_stages=tiles.stages, maxnreg=tiles.registers,
    )  # fmt: skip


@triton.jit(do_not_specialize=["t", "slot"])
def forward_kernel(
    packed, taped, back, cells, gates, outputs, t, slot, steps, slots, batch, state, units, inner,
    KEPT: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, PARTS: tl.constexpr,
    INNER: tl.constexpr, MULTIPLIED: tl.constexpr,
):  # fmt: skip
    """One step: reads row `slot` of the tape, writes the state into the next one.

    Where the tape is not what the way back needs (PARTS is 2), also into row t + 1 of `back`.
    """
    tile, block, member = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    rows = block * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tile * UNITS + tl.arange(0, UNITS)[None, :]
    columns = tile * 4 * UNITS + tl.arange(0, 4 * UNITS)[None, :]
    k, wide = tl.arange(0, INNER), 4 * units
    row = taped + (member * slots + slot) * batch * PARTS * inner + rows * PARTS * inner
    weight = packed + member * PARTS * inner * wide + k[:, None] * wide + columns
    acc = tl.zeros((ROWS, 4 * UNITS), tl.float32)
    acc = plus_product(
        acc, row + k[None, :], weight, rows < batch, columns < wide, inner, inner, wide,
        inner * wide, PARTS, INNER, MULTIPLIED,
    )  # fmt: skip
    even, odd = tl.split(tl.reshape(acc, (ROWS, UNITS, 2, 2)))
    i, o = tl.split(even)
    f, g = tl.split(odd)
    i, f, o, g = tl.sigmoid(i), tl.sigmoid(f), tl.sigmoid(o), tanh(g)
    inside = (rows < batch) & (unit < units)
    size = batch * units
    place = rows * units + unit
    if KEPT:
        before = cells + (member * (steps + 1) + t) * size
        after = before + size
        gate = gates + (member * steps + t) * 4 * size + place
        tl.store(gate, i, mask=inside)
        tl.store(gate + size, f, mask=inside)
        tl.store(gate + 2 * size, o, mask=inside)
        tl.store(gate + 3 * size, g, mask=inside)
    else:
        before = cells + (2 * member + t % 2) * size
        after = cells + (2 * member + 1 - t % 2) * size
    c = f * tl.load(before + place, mask=inside, other=0.0) + i * g
    tl.store(after + place, c, mask=inside)
    h = o * tanh(c)
    tl.store(outputs + (member * steps + t) * size + place, h, mask=inside)
    target, inside = row + batch * PARTS * inner + unit, (rows < batch) & (unit < state)
    one, two, three = in_parts(h)
    if PARTS == 3:
        tl.store(target + 2 * inner, three, mask=inside)
    elif KEPT:
        again = back + (member * (steps + 1) + t + 1) * batch * 2 * inner + rows * 2 * inner + unit
        tl.store(again, one, mask=inside)
        tl.store(again + inner, two, mask=inside)
    if PARTS == 2:
        one, two = in_halves(h)
    tl.store(target, one, mask=inside)
    tl.store(target + inner, two, mask=inside)


@triton.jit(do_not_specialize=["t"])
def backward_kernel(
    packed, gates, cells, d_gates, d_c, d_outputs, d_last, t, steps, batch, hidden, units, inner,
    GIVEN: tl.constexpr, ENDS: tl.constexpr, LAST: tl.constexpr, ROWS: tl.constexpr,
    UNITS: tl.constexpr, PARTS: tl.constexpr, INNER: tl.constexpr, MULTIPLIED: tl.constexpr,
):  # fmt: skip
    """One step back: reads the gradients of the gates of the next step, writes those of this."""
    tile, block, member = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    rows = block * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tile * UNITS + tl.arange(0, UNITS)[None, :]
    k, wide = tl.arange(0, INNER), 4 * units
    at = member * steps + t
    size = batch * units
    place = rows * units + unit
    inside = (rows < batch) & (unit < units)
    here = d_gates + at * batch * PARTS * wide + rows * PARTS * wide
    dh = tl.zeros((ROWS, UNITS), tl.float32)
    if not LAST:
        weight = packed + member * 3 * inner * wide + unit * wide + k[:, None]
        dh = plus_product(
            dh, here + batch * PARTS * wide + k[None, :], weight, rows < batch, unit < units,
            wide, wide, 1, inner * wide, PARTS, INNER, MULTIPLIED,
        )  # fmt: skip
    given, there = rows * hidden + unit, (rows < batch) & (unit < hidden)
    if GIVEN:
        dh += tl.load(d_outputs + at * batch * hidden + given, mask=there, other=0.0)
    if ENDS:
        dh += tl.load(d_last + member * batch * hidden + given, mask=there, other=0.0)
    gate = gates + at * 4 * size + place
    i = tl.load(gate, mask=inside, other=0.0)
    f = tl.load(gate + size, mask=inside, other=0.0)
    o = tl.load(gate + 2 * size, mask=inside, other=0.0)
    g = tl.load(gate + 3 * size, mask=inside, other=0.0)
    cell = cells + (member * (steps + 1) + t) * size + place
    tanh_c = tanh(tl.load(cell + size, mask=inside, other=0.0))
    dc = tl.load(d_c + member * size + place, mask=inside, other=0.0)
    dc += dh * o * (1 - tanh_c * tanh_c)
    d_i = dc * g * i * (1 - i)
    d_f = dc * tl.load(cell, mask=inside, other=0.0) * f * (1 - f)
    d_o = dh * tanh_c * o * (1 - o)
    d_g = dc * i * (1 - g * g)
    tl.store(d_c + member * size + place, dc * f, mask=inside)
    d_all = tl.join(tl.join(d_i, d_o), tl.join(d_f, d_g))
    d_all = tl.reshape(d_all, (ROWS, 4 * UNITS))
    one, two, three = in_parts(d_all)
    columns = tile * 4 * UNITS + tl.arange(0, 4 * UNITS)[None, :]
    there = (rows < batch) & (columns < wide)
    tl.store(here + columns, one, mask=there)
    tl.store(here + wide + columns, two, mask=there)
    if PARTS == 3:
        tl.store(here + 2 * wide + columns, three, mask=there)
