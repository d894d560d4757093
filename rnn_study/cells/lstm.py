"""The long short-term memory cell (Hochreiter and Schmidhuber, 1997), as in `torch.nn.LSTM`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_study.cells.cell import Cell, Parameters, Weights, uniform
from rnn_study.cells.native_lstm import NativeScan
from rnn_study.cells.scratch import blocks, dense, rows
from rnn_study.cells.tape import as_columns, stacked, tape, two_wide
from rnn_study.kernels import lstm_bytes, lstm_scan
from rnn_study.native.library import for_tensor


class LSTM(Cell):
    """One layer with a forget gate and without peepholes; D = 2H, the state is h, then c.

        i, f, o = sigmoid(x W + h U + b)_ifo      g = tanh(x W + h U + b)_g
        c' = f c + i g                            h' = o tanh(c')

    Parameters: W is `w_x` (S, I, 4H), U is `w_h` (S, H, 4H), and b is the sum of `b_x` and `b_h`
    (S, 4H each). There are two, as in torch, because under Adam their sum moves twice as fast as a
    single bias would. The gates lie in the order i, f, o, g: one sigmoid covers the first three.
    """

    gates = 4

    def state_size(self, hidden: int) -> int:
        return 2 * hidden

    def output(self, state: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch H"]:
        return state.chunk(2, -1)[0]

    def init(self, rng: np.random.Generator, inputs: int, hidden: int) -> dict[str, np.ndarray]:
        """All entries uniform within 1/sqrt(H), torch's default."""
        bound = hidden**-0.5
        return {
            "w_x": uniform(rng, bound, inputs, 4 * hidden),
            "w_h": uniform(rng, bound, hidden, 4 * hidden),
            "b_x": uniform(rng, bound, 4 * hidden),
            "b_h": uniform(rng, bound, 4 * hidden),
        }

    def step(
        self, weights: Weights, x: Float[Tensor, "S B I"], state: Float[Tensor, "S B D"]
    ) -> Float[Tensor, "S B D"]:
        h, c = state.chunk(2, -1)
        bias = (weights["b_x"] + weights["b_h"])[:, None]
        gates = torch.baddbmm(x @ weights["w_x"] + bias, h, weights["w_h"])
        i, f, o, g = gates.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return torch.cat((o.sigmoid() * c.tanh(), c), -1)

    def scan(
        self, weights: Weights, x: Float[Tensor, "S T B I"], state: Float[Tensor, "S B D"]
    ) -> tuple[Float[Tensor, "S T B H"], Float[Tensor, "S B D"]]:
        if (fast := lstm_scan(x, weights["w_h"].shape[1])) is not None:
            return fast(weights, x, state)
        bias = weights["b_x"] + weights["b_h"]
        h, c = state.chunk(2, -1)
        given = (x, weights["w_x"], weights["w_h"], bias, h, c)
        kept = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        library = for_tensor(x)
        if library is not None:
            outputs, h, c = NativeScan.apply(library, *given, kept)
            return outputs, torch.cat((h, c), -1)
        if x.shape[2] == 1:
            return two_wide(self.scan, weights, x, state)
        outputs, h, c = _Scan.apply(*given, kept)
        return outputs, torch.cat((h, c), -1)

    def kernel_bytes(self, length: int, batch: int, inputs: int, hidden: int, step: int) -> int:
        return lstm_bytes(length, batch, inputs, hidden, step)


class _Scan(torch.autograd.Function):
    """The loop of `LSTM.step` with its backward pass by hand, laid out as `tape` says.

    The product of a step covers state, input and bias at once, and so does that of their gradients.
    Every gate of a member lies in one piece.
    """

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
        size = hidden * batch  # of one gate
        taped = tape(x, h0, ones=True)
        weight = stacked(w_h, w_x, bias[:, None])  # (S, K, 4H)
        entering = rows(members, weight[0].numel(), x).view_as(weight.mT).copy_(weight.mT)
        slots = steps if kept else 1  # what no gradient needs is overwritten
        gates = rows(members, slots * 4 * size, x).unflatten(1, (slots, -1))
        cells = rows(members, (slots + 1) * size, x).unflatten(1, (slots + 1, -1))
        squashed, work = rows(members, size, x), dense(members, 4 * size, like=x)
        cells[:, 0].unflatten(1, (hidden, batch)).copy_(c0.mT)
        for part in blocks(members, weight[0].numel() + 12 * size, x):
            inputs, h = taped[part].unbind(1), taped[part, :, :hidden].flatten(2).unbind(1)
            _, i, f, o, g, three = split(gates[part], steps)
            w, new, tanh_c, c = entering[part], work[part], squashed[part], cells[part].unbind(1)
            new_c, new_three, new_g = new[:, :size], new[:, : 3 * size], new[:, 3 * size :]
            product = as_columns(new, batch)
            if not kept:
                c = c[:1] * (steps + 1)
            for t in range(steps):
                torch.bmm(w, inputs[t], out=product)
                torch.sigmoid(new_three, out=three[t])
                torch.tanh(new_g, out=g[t])
                torch.addcmul(torch.mul(f[t], c[t], out=new_c), i[t], g[t], out=c[t + 1])
                torch.mul(o[t], torch.tanh(c[t + 1], out=tanh_c), out=h[t + 1])
        ctx.save_for_backward(weight, taped, gates, cells)
        ctx.inputs = x.shape[-1]
        ctx.set_materialize_grads(False)
        last = as_columns(cells[:, steps if kept else 0], batch).mT
        # the last state is no view: outputs that go unused then cost no gradient
        return taped[:, 1:, :hidden].mT, taped[:, -1, :hidden].mT.clone(), last.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last_h, d_last_c = d
        weight, taped, gates, cells = ctx.saved_tensors
        (members, steps, _), batch = gates.shape, taped.shape[-1]
        hidden = weight.shape[-1] // 4
        size = hidden * batch
        d_c, squashed, work = (rows(members, size, weight) for _ in range(3))
        d_h = dense(members, size, like=weight)
        for d_state, given in ((d_h, d_last_h), (d_c, d_last_c)):
            if given is None:
                d_state.zero_()
            else:
                as_columns(d_state, batch).copy_(given.mT)
        d_gates = rows(members, 4 * size, weight)[:, None]
        d_weight = dense(*weight.shape, like=weight).zero_()
        entered = slice(hidden, hidden + ctx.inputs)  # rows of the tape that have the input
        shape = (members, steps, ctx.inputs, batch)
        d_x = taped.new_empty(shape) if ctx.needs_input_grad[0] else None
        for part in blocks(members, 2 * weight[0].numel() + 16 * size, weight):
            before, c = taped[part].unbind(1), cells[part].unbind(1)
            _, i, f, o, g, three = split(gates[part], steps)
            d_gate, d_i, d_f, d_o, d_g, d_three = (views[0] for views in split(d_gates[part], 1))
            d_columns, dh_columns = as_columns(d_gate, batch), as_columns(d_h[part], batch)
            d_rows, dw = d_columns.mT, d_weight[part]
            w_h, w_x = weight[part, :hidden], weight[part, entered]
            dh, dc, tanh_c, new = d_h[part], d_c[part], squashed[part], work[part]
            for t in reversed(range(steps)):
                if d_outputs is not None:
                    dh_columns += d_outputs[part, t].mT
                torch.tanh(c[t + 1], out=tanh_c)
                _tanh_backward(torch.mul(dh, o[t], out=new), tanh_c, grad_input=new)
                dc += new
                torch.mul(dc, g[t], out=d_i)
                torch.mul(dc, c[t], out=d_f)
                torch.mul(dh, tanh_c, out=d_o)
                _sigmoid_backward(d_three, three[t], grad_input=d_three)
                _tanh_backward(torch.mul(dc, i[t], out=d_g), g[t], grad_input=d_g)
                dc *= f[t]
                torch.bmm(w_h, d_columns, out=dh_columns)
                dw.baddbmm_(before[t], d_rows)
                if d_x is not None:
                    torch.bmm(w_x, d_columns, out=d_x[part, t])
        return (
            None if d_x is None else d_x.mT,
            d_weight[:, entered],
            d_weight[:, :hidden],
            d_weight[:, entered.stop],
            as_columns(d_h, batch).mT,
            as_columns(d_c, batch).mT,
            None,
        )


_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def split(gates: Float[Tensor, "S T N"], steps: int) -> tuple[tuple[Tensor, ...], ...]:
    """Of each step: all gates, then i, f, o, g, then the first three; (S, ...) each.

    One step serves for all if it is the only one.
    """
    i, f, o, g = gates.chunk(4, -1)
    three = gates[..., : 3 * i.shape[-1]]
    views = (part.unbind(1) for part in (gates, i, f, o, g, three))
    return tuple(view * (steps // len(view)) for view in views)


_TORCH_NAMES = {
    "w_x": "weight_ih_l0",
    "w_h": "weight_hh_l0",
    "b_x": "bias_ih_l0",
    "b_h": "bias_hh_l0",
}


def from_torch(lstm: torch.nn.LSTM) -> Parameters:
    """The parameters of a one-layer `torch.nn.LSTM` with biases, as a pack of one."""
    theirs = {name: tensor.detach() for name, tensor in lstm.named_parameters()}
    return {ours: _swap_o_and_g(theirs[name]).t()[None] for ours, name in _TORCH_NAMES.items()}


def to_torch(params: Parameters, member: int = 0) -> torch.nn.LSTM:
    """One member as a `torch.nn.LSTM` with `batch_first`, the inverse of `from_torch`."""
    inputs, hidden = params["w_x"].shape[1], params["w_h"].shape[1]
    lstm = torch.nn.LSTM(inputs, hidden, batch_first=True)
    state = {name: _swap_o_and_g(params[ours][member].t()) for ours, name in _TORCH_NAMES.items()}
    lstm.load_state_dict(state)
    return lstm


def _swap_o_and_g(rows: Tensor) -> Tensor:
    """Exchanges the last two of the four gates along the first axis: torch has i, f, g, o."""
    i, f, o, g = rows.chunk(4)
    return torch.cat((i, f, g, o))
