"""The stable LSTM (Miller and Hardt, ICLR 2019), under the authors' rule or a provable one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnn_study.cells.cell import Parameters
from rnn_study.cells.lstm import LSTM

_BUDGETS = {"i": 0.395, "f": 0.155, "o": 0.395, "g": 0.099}
"""Norm of each gate's recurrent block, from the code of Ribeiro et al. (2020)."""
_FORGET_INPUT = 0.25
"""Norm of the forget gate's input block, likewise."""


class StableLSTM(LSTM):
    """An LSTM whose weights are moved into a bounded set after every optimiser step.

    `authors`: every recurrent block, and the forget gate's input block, is rescaled so that each of
    its columns (the weights that leave one unit) has the absolute sum of its budget, also when it
    was far below. The forget bias is free, so nothing proves that the network contracts. The
    paper's Table 1 comes from this rule.

    `provable`: the absolute sum of the weights that enter a unit is scaled down to the same budgets
    where it exceeds them, and the forget bias is zero. The forget gate's weights that enter from
    the input are held to their budget over the largest input that there can be, so the condition
    of `is_contractive` holds at every step, for that input.
    """

    def __init__(self, rule: Literal["authors", "provable"] = "authors") -> None:
        self.rule = rule

    def init(self, rng: np.random.Generator, inputs: int, hidden: int) -> dict[str, np.ndarray]:
        """As the LSTM's, then projected: the network lies in the set from the first epoch on."""
        params = {
            k: torch.from_numpy(v)[None] for k, v in super().init(rng, inputs, hidden).items()
        }
        self.project_(params)
        return {name: tensor[0].numpy() for name, tensor in params.items()}

    @torch.no_grad()
    def project_(self, params: Parameters, largest: Float[Tensor, "S"] | None = None) -> None:
        provable = self.rule == "provable"
        for name, block in _gates(params["w_h"]).items():
            _bound_(block, _BUDGETS[name], entering=provable)
        budget: float | Tensor = _FORGET_INPUT
        if provable and largest is not None:
            budget = _FORGET_INPUT / largest.clamp_min(1)[:, None, None]
        _bound_(_gates(params["w_x"])["f"], budget, entering=provable)
        if provable:
            for bias in ("b_x", "b_h"):
                _gates(params[bias])["f"].zero_()


def _gates(tensor: Tensor) -> dict[str, Tensor]:
    """Views of the four gates along the last axis."""
    return dict(zip("ifog", tensor.chunk(4, -1), strict=True))


def _bound_(
    block: Float[Tensor, "S A H"], budget: float | Float[Tensor, "S 1 1"], entering: bool
) -> None:
    """Scales the sums of entering weights down to the budget, or those of leaving ones to it."""
    sums = block.abs().sum(-2 if entering else -1, keepdim=True)
    tiny = torch.finfo(block.dtype).tiny
    factor = budget / sums.clamp_min(tiny)
    block.mul_(factor.clamp_max(1) if entering else factor)


def is_rescaled(params: Parameters, eps: float = 1e-5) -> Bool[Tensor, "S"]:
    """Whether the authors' rule holds: the leaving sums equal their budgets, to `eps` relative."""
    blocks = [(block, _BUDGETS[name]) for name, block in _gates(params["w_h"]).items()]
    blocks.append((_gates(params["w_x"])["f"], _FORGET_INPUT))
    off = [(block.abs().sum(-1) / budget - 1).abs().amax(-1) for block, budget in blocks]
    return torch.stack(off).amax(0) <= eps


def is_contractive(params: Parameters, max_input: float = 1.0) -> Bool[Tensor, "S"]:
    """Whether each member meets the sufficient condition of Miller and Hardt (Proposition 2).

    `max_input` bounds the absolute value of every input. With the infinity norm |.|, the largest
    sum of absolute weights that enter a unit, and the largest value the forget gate can take,

        f = sigmoid(|U_f| + max_input |W_f| + |b_f|),

    it asks |U_i|, |U_o| <= 1 - f, |U_g| <= (1 - f) / 4 and |U_f| <= (1 - f)^2.
    """
    norms = {k: block.abs().sum(-2).amax(-1) for k, block in _gates(params["w_h"]).items()}
    rest = 1 - _largest_forget_gate(params, max_input)
    return (
        (norms["i"] <= rest)
        & (norms["o"] <= rest)
        & (norms["g"] <= rest / 4)
        & (norms["f"] <= rest**2)
    )


def certified_rate(params: Parameters, max_input: float = 1.0) -> Float[Tensor, "S"]:
    """The factor per step by which distances shrink at least, in the long run, at equal inputs.

    With f as in `is_contractive`, two trajectories differ by at most a in c and b in h, and one
    step makes that a' <= f a + 3/4 (1 - f) b and b' <= a' + 1/4 (1 - f) b once |c| <= 1 / (1 - f),
    where all trajectories end. The spectral radius of this linear map is

        (1 + sqrt(1 - f (1 - f))) / 2 < 1,

    so every Lyapunov exponent is at most its logarithm. NaN where `is_contractive` is false.
    """
    forget = _largest_forget_gate(params, max_input)
    rate = (1 + (1 - forget * (1 - forget)).sqrt()) / 2
    return rate.where(is_contractive(params, max_input), torch.nan)


def _largest_forget_gate(params: Parameters, max_input: float) -> Float[Tensor, "S"]:
    """f of `is_contractive`."""
    recurrent = _gates(params["w_h"])["f"].abs().sum(-2).amax(-1)
    entering = _gates(params["w_x"])["f"].abs().sum(-2).amax(-1)
    bias = _gates(params["b_x"] + params["b_h"])["f"].abs().amax(-1)
    return torch.sigmoid(recurrent + max_input * entering + bias)
