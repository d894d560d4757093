"""One batch of a pack in training: forward, backward, clip, optimiser and projection.

Nothing here reads a value on the host, so a CUDA graph can hold it, and tensors without values
(torch's `meta` device) tell what it needs in memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.config import Trial
from rnn_study.training.adam import Adam, clip_
from rnn_study.training.network import Network

Sums = dict[str, Float[Tensor, "S"]]
"""What a batch adds to an epoch: `loss`, and the task's scores, summed over sequences."""


def update_(
    network: Network,
    trial: Trial,
    flat: Float[Tensor, "S P"],
    adam: Adam,
    correction: Float[Tensor, "2 S 1"],
    x: Float[Tensor, "S T B I"],
    targets: Tensor,
) -> Sums:
    """One optimiser step in place, of `flat` and of the moments; `trial` has the clip.

    Of the loss it returns the mean over the batch, and also `norm`, the gradient's before clipping.
    """
    params = {k: v.detach().requires_grad_() for k, v in network.views(flat).items()}
    outputs = network.outputs(params, x)  # (S, B, O) or (S, B, T, O)
    losses = network.task.loss(outputs, targets)  # (S, B)
    loss = losses.mean(1) if trial.batch_loss == "mean" else losses.sum(1)  # (S,)
    gradient = network.gradient(loss, params)  # (S, P)
    norms = clip_(gradient, trial.clip)
    adam.update_(flat, gradient, correction, network.paces)
    network.project_(network.views(flat))
    with torch.no_grad():
        scores = network.task.scores(outputs, targets)
        return {"loss": losses.mean(1), "norm": norms, **_summed(scores)}


@torch.no_grad()
def evaluate(
    network: Network, flat: Float[Tensor, "S P"], x: Float[Tensor, "S T B I"], targets: Tensor
) -> Sums:
    """The loss and the scores of a batch, summed over its sequences."""
    outputs = network.outputs(network.views(flat), x)
    loss, scores = network.task.loss(outputs, targets), network.task.scores(outputs, targets)
    return _summed({"loss": loss, **scores})


def _summed(values: dict[str, Float[Tensor, "S B"]]) -> Sums:
    return {name: value.sum(1) for name, value in values.items()}
