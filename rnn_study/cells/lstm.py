"""The long short-term memory cell (Hochreiter and Schmidhuber, 1997), as in `torch.nn.LSTM`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_study.cells.cell import Cell, Parameters, Weights, uniform


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
        bias = weights["b_x"] + weights["b_h"]
        h, c = state.chunk(2, -1)
        outputs, h, c = _Scan.apply(x, weights["w_x"], weights["w_h"], bias, h, c)
        return outputs, torch.cat((h, c), -1)


class _Scan(torch.autograd.Function):
    """The loop of `LSTM.step` with its backward pass by hand.

    One product a step each way; the gradients of the weights are one product each after the loop.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_x: Tensor, w_h: Tensor, bias: Tensor, h0: Tensor, c0: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (members, steps, batch, _), hidden = x.shape, h0.shape[-1]
        # one channel: the product of a batch of one would round otherwise than that of a pack
        affine = torch.addcmul if x.shape[-1] == 1 else torch.baddbmm
        gates = affine(bias[:, None], x.flatten(1, 2), w_x).unflatten(1, (steps, batch))
        outputs, cells, squashed = h0.new_empty(3, members, steps, batch, hidden)
        h, c = h0, c0
        for t in range(steps):
            gate = gates[:, t]  # (S, B, 4H)
            gate.baddbmm_(h, w_h)
            gate[..., : 3 * hidden].sigmoid_()
            gate[..., 3 * hidden :].tanh_()
            i, f, o, g = gate.chunk(4, -1)
            c = torch.mul(f, c, out=cells[:, t]).addcmul_(i, g)
            h = torch.mul(o, torch.tanh(c, out=squashed[:, t]), out=outputs[:, t])
        ctx.save_for_backward(x, w_x, w_h, h0, c0, gates, outputs, cells, squashed)
        ctx.set_materialize_grads(False)
        return outputs, h.clone(), c.clone()  # not views: what goes unused then costs no gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, d_last_h, d_last_c = d
        x, w_x, w_h, h0, c0, gates, outputs, cells, squashed = ctx.saved_tensors
        steps, hidden = x.shape[1], h0.shape[-1]
        d_gates = torch.empty_like(gates)
        d_h = torch.zeros_like(c0) if d_last_h is None else d_last_h.clone()
        d_c = torch.zeros_like(c0) if d_last_c is None else d_last_c.clone()
        w_h_T = w_h.transpose(1, 2)
        for t in reversed(range(steps)):
            if d_outputs is not None:
                d_h += d_outputs[:, t]
            gate, d_gate = gates[:, t], d_gates[:, t]
            i, f, o, g = gate.chunk(4, -1)
            d_i, d_f, d_o, d_g = d_gate.chunk(4, -1)
            tanh_c = squashed[:, t]
            d_c += torch.ops.aten.tanh_backward(d_h * o, tanh_c)
            torch.mul(d_c, g, out=d_i)
            torch.mul(d_c, cells[:, t - 1] if t else c0, out=d_f)
            torch.mul(d_h, tanh_c, out=d_o)
            torch.mul(d_c, i, out=d_g)
            d_c *= f
            three, last = slice(3 * hidden), slice(3 * hidden, None)
            torch.ops.aten.sigmoid_backward(
                d_gate[..., three], gate[..., three], grad_input=d_gate[..., three]
            )
            torch.ops.aten.tanh_backward(
                d_gate[..., last], gate[..., last], grad_input=d_gate[..., last]
            )
            torch.bmm(d_gate, w_h_T, out=d_h)
        d_flat = d_gates.flatten(1, 2)  # (S, T B, 4H)
        before = torch.cat((h0[:, None], outputs[:, :-1]), 1)  # (S, T, B, H)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (d_flat @ w_x.transpose(1, 2)).view_as(x)
        return (
            d_x,
            x.flatten(1, 2).transpose(1, 2) @ d_flat,
            before.flatten(1, 2).transpose(1, 2) @ d_flat,
            d_flat.sum(1),
            d_h,
            d_c,
        )


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
