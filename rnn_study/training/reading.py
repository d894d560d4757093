"""`Reading`: the runner that trains networks on a text, segment after segment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rnn_study.config import Trial
from rnn_study.training.adam import Adam, clip_
from rnn_study.training.epochs import Means, Runner
from rnn_study.training.members import Members, Place
from rnn_study.training.noise import dropout_keys, random_bytes
from rnn_study.training.streams import Segment, Streams
from rnn_study.training.tied import TiedNetwork

Keep = Callable[[Members], None]
"""Writes checkpoints of members that are within an epoch."""


def update_(
    network: TiedNetwork,
    trial: Trial,
    flat: Float[Tensor, "S P"],
    adam: Adam,
    correction: Float[Tensor, "2 S 1"],
    segment: Segment,
    state: Float[Tensor, "S B D"],
    keys: Int64[Tensor, "S"],
) -> tuple[dict[str, Float[Tensor, "S"]], Float[Tensor, "S B D"]]:
    """One optimiser step in place, of `flat` and of the moments; the loss, `norm` and the state.

    `keys`: of what dropout leaves out, as of `dropout_keys`.
    """
    noise = None
    if network.dropped:
        noise = random_bytes(keys, (2, *segment.inputs.shape, network.hidden))
    params = {k: v.detach().requires_grad_() for k, v in network.views(flat).items()}
    loss, state = network.read(params, segment, state, noise)
    gradient = network.gradient(loss, params)
    norms = clip_(gradient, trial.clip)
    adam.update_(flat, gradient, correction, network.paces)
    network.project_(network.views(flat))
    return {"loss": loss.detach(), "norm": norms}, state.detach()


@torch.no_grad()
def evaluate(network: TiedNetwork, flat: Float[Tensor, "S P"], text: Streams) -> Float[Tensor, "S"]:
    """The mean cross entropy of a whole text, nats a word; float64."""
    params = network.views(flat)
    total = flat.new_zeros(len(flat), dtype=torch.float64)
    state: Tensor | None = None
    for k in range(text.segments):
        segment = text[k]
        steps, batch = segment.inputs.shape
        if state is None:
            state = flat.new_zeros(len(flat), batch, network.cell.state_size(network.hidden))
        loss, state = network.read(params, segment, state)
        total += steps * loss.double()
    return total / text.steps


class Reading(Runner):
    """Reads the training text once an epoch, from its beginning and a zero state; operation by
    operation, and the oracle of `ReplayedReading`.

    A network's gradient ends at the beginning of a segment; its state does not. What dropout leaves
    out follows from the seed, the epoch and the segment. Checkpoints are written within an epoch.
    """

    def __init__(self, keep: Keep | None = None, seconds: float = 30.0) -> None:
        """`keep` is called every `seconds`."""
        self._keep, self._seconds = keep, seconds

    def epoch(self, members: Members, rates: np.ndarray) -> Means:
        began = time.perf_counter()
        _, text, val, test = texts_of(members)
        now, place = self._begin(members, members.place or beginning(members))
        first, earlier = int(place.batches[0]), place.values["seconds"]
        corrections = now.adam.corrections(rates, text.segments - first)
        seeds = [trial.seed for trial in now.trials]
        keys = dropout_keys(seeds, now.epochs, range(first, text.segments)).to(now.flat.device)
        for k, correction in enumerate(corrections):
            self._update(now, place, text[first + k], correction, keys[k])
            now.adam.steps = now.adam.steps + 1
            place.batches = place.batches + 1
            if self._keep is not None and time.monotonic() - members.saved >= self._seconds:
                place.values["seconds"] = earlier + (time.perf_counter() - began) / len(now)
                self._keep(replace(now, place=place))
                members.saved = time.monotonic()
        of_texts = [self._evaluate(now, each) for each in (val, test)]
        rows = (place.values["loss"] / text.steps, place.values["norm"] / text.segments, *of_texts)
        loss, norm, of_val, of_test = torch.stack(rows).cpu().numpy()
        members.flat, members.adam = self._end(now)
        members.place = None
        return {
            "train": {"loss": loss, "norm": norm}, "val": {"loss": of_val},
            "test": {"loss": of_test},
        }  # fmt: skip

    def _begin(self, members: Members, place: Place) -> tuple[Members, Place]:
        """What an epoch changes, of its own: if it fails, `members` are as they were."""
        now = replace(members, flat=members.flat.clone(), adam=members.adam.clone())
        return now, Place(place.batches, dict(place.values))

    def _update(
        self, now: Members, place: Place, segment: Segment, correction: Tensor, keys: Tensor
    ) -> None:
        """Trains on a segment, and adds to what `place` holds."""
        network, values = tied(now), place.values
        found, values["state"] = update_(
            network, now.trials[0], now.flat, now.adam, correction, segment, values["state"], keys
        )
        values["loss"] = values["loss"] + len(segment.inputs) * found["loss"].double()
        values["norm"] = values["norm"] + found["norm"].double()

    def _evaluate(self, now: Members, text: Streams) -> Float[Tensor, "S"]:
        """As `evaluate`."""
        return evaluate(tied(now), now.flat, text)

    def _end(self, now: Members) -> tuple[Float[Tensor, "S P"], Adam]:
        """The parameters and moments after the epoch."""
        return now.flat, now.adam


def tied(members: Members) -> TiedNetwork:
    """The network of members that read a text."""
    assert isinstance(members.network, TiedNetwork)
    return members.network


def texts_of(members: Members) -> tuple[TiedNetwork, Streams, Streams, Streams]:
    """The network of members that read a text, and what they train, validate and test on."""
    text, val, test = members.training, members.validation, members.test
    assert isinstance(text, Streams) and isinstance(val, Streams) and isinstance(test, Streams)
    return tied(members), text, val, test


def beginning(members: Members) -> Place:
    """The beginning of an epoch: a zero state, and nothing summed.

    `seconds`: what was spent on the epoch, a member's share.
    """
    count, flat = len(members), members.flat
    size = members.network.cell.state_size(members.network.hidden)
    zeros = flat.new_zeros(count, dtype=torch.float64)
    state = flat.new_zeros(count, members.trials[0].batch, size)
    values = {"state": state, "loss": zeros, "norm": zeros, "seconds": zeros}
    return Place(np.zeros(count, np.int64), values)
