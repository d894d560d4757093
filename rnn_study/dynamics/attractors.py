"""How many attractors there are, and what share of the starts reaches each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rnn_study.dynamics.classify import Classification, Kind, classify, stays
from rnn_study.dynamics.foresee import ends
from rnn_study.dynamics.lyapunov import spread
from rnn_study.dynamics.orbits import advance
from rnn_study.dynamics.step import Read, Step, whole


@dataclass(frozen=True)
class Attractors:
    """Where P starts per input went."""

    label: Int[Tensor, "S B P"]
    """The attractor that a start reached, from 0 in the order of first arrival.

    -1: none, for it diverged or still drifts."""
    classes: Classification
    """The kind of each start's orbit, (S, B, P)."""
    orbits: Float[Tensor, "S B P T O"]
    """What was read of the states visited after the transient."""

    @property
    def count(self) -> Int[Tensor, "S B"]:
        """Distinct attractors that the starts reached."""
        return self.label.amax(-1) + 1

    @property
    def shares(self) -> Float[Tensor, "S B P"]:
        """The share of starts that reached attractor 0, 1, ...; zeros after the last."""
        labels = torch.arange(self.label.shape[-1], device=self.label.device)
        return (self.label[..., None] == labels).double().mean(-2)

    @property
    def main(self) -> Classification:
        """What most starts reached, (S, B): kind, period and exponent to report of a network.

        Of the first start that reached it; of the first start where none reached any.
        """
        widest = self.shares.argmax(-1, keepdim=True)
        first = (self.label == widest).long().argmax(-1, keepdim=True)
        each = vars(self.classes).values()
        return Classification(*(value.gather(-1, first).squeeze(-1) for value in each))


@torch.no_grad()
def attractors(
    step: Step,
    starts: Float[Tensor, "S B P D"],
    transient: int = 1000,
    steps: int = 400,
    read: Read = whole,
    tolerance: float = 0.02,
    nearness: float = 1e-4,
) -> Attractors:
    """The distinct attractors that the starts reach under `step`.

    The shares of the starts estimate the basins of attraction, weighted as the starts were drawn.
    Two orbits lie on the same attractor if their periods are equal and they visit the same places:
    fixed points and cycles to `nearness`, relative to the size of their states, or where they will
    be when they have settled, as closely as `ends` foresees it; those without a period if they pass
    one another about as closely as themselves, or to a twentieth of their extent. A start that is
    undecided because it drifts has reached none. Orbits are compared by what `read` sees, which has
    to tell states apart; of many dimensions a few will do. The largest exponent is a mean over the
    `steps` that are kept, from two neighbouring orbits (Benettin, Galgani and Strelcyn, Physical
    Review A 14, 1976); `tolerance` is that of `classify`.
    """
    lead = min(transient, steps // 4)  # until neighbours have found the direction they part in
    seats = starts.shape[1:3]
    begun = advance(step, starts.flatten(1, 2), transient - lead)
    seen, total = [], begun.new_zeros(begun.shape[:2])
    for t, (state, stretch) in enumerate(islice(_neighbours(step, begun), lead + steps)):
        if t >= lead:
            seen.append(read(state))
            total += stretch.log()
    visited = torch.stack(seen, 2).unflatten(1, seats)
    visited = visited.where(visited.isfinite(), torch.nan)
    exponents = (total / steps).unflatten(1, seats)[..., None]
    classes = classify(visited, exponents, tolerance)
    label = torch.full(starts.shape[:3], -1, dtype=torch.long)
    hosted, kinds = visited.cpu(), classes.to("cpu")  # once, not for every comparison
    for s in range(starts.shape[0]):
        for b in range(starts.shape[1]):
            _straighten(hosted[s, b], kinds[s, b])
            label[s, b] = _labels(hosted[s, b], kinds[s, b], nearness)
    return Attractors(label.to(starts.device), kinds.to(starts.device), visited)


def _neighbours(
    step: Step, state: Float[Tensor, "S BP D"]
) -> Iterator[tuple[Float[Tensor, "S BP D"], Float[Tensor, "S BP"]]]:
    """Without end: the next state, and how far the step moved a near neighbour away or closer.

    The neighbour is put back to its distance after every step. Two states in one batch cost less
    than a derivative. A step that moves it closer than rounding tells counts as doing so by that.
    """
    eps = torch.finfo(state.dtype).eps ** 0.5
    direction = spread(state.shape[-1], 1, state)[:, 0].expand_as(state)
    while True:
        distance = eps * (1 + state.abs().amax(-1, keepdim=True))
        pairs = torch.stack((state, state + distance * direction), 2)
        moved, beside = step(pairs.flatten(1, 2)).unflatten(1, (-1, 2)).unbind(2)
        apart = (beside - moved) / distance
        stretch = apart.norm(dim=-1, keepdim=True)
        direction = torch.where(stretch > 0, apart / stretch, direction)
        state = moved
        yield state, stretch.squeeze(-1).clamp_min(eps)


def _straighten(orbits: Float[Tensor, "P T O"], classes: Classification) -> None:
    """Cycles whose points will be one, as is closely foreseen, become fixed points, in place.

    A spiral of several frequencies may be nearer to repeating itself after some steps than after
    one. That its points will be one counts where `ends` foresees them to a twentieth of their size.
    """
    unsettled = (classes.kind == Kind.CYCLE) & (classes.mismatch > 1e-6)
    for p in unsettled.nonzero()[:, 0].tolist():
        end = ends(orbits[p : p + 1], int(classes.period[p]))
        spread = (end.places - end.places[:, :1]).norm(dim=-1).amax()
        if spread <= end.error / 3 and end.error <= 0.05 * orbits[p].abs().amax():
            classes.kind[p], classes.period[p], classes.nearest[p] = Kind.FIXED_POINT, 1, 1


def _labels(
    orbits: Float[Tensor, "P T O"], classes: Classification, nearness: float
) -> Int[Tensor, "P"]:
    """Each orbit against the first orbit of every attractor found so far."""
    label = torch.full((len(orbits),), -1, dtype=torch.long)
    drifts = (classes.kind == Kind.UNDECIDED) & ~stays(orbits)
    left = (classes.kind != Kind.DIVERGED) & ~drifts
    count = 0
    while left.any():
        first = int(left.nonzero()[0, 0])
        period = int(classes.period[first])
        kin = left & (classes.period == period)
        same = torch.zeros_like(left)
        same[kin] = _same(orbits[first], orbits[kin], period, nearness)
        same[first] = True
        label[same] = count
        left &= ~same
        count += 1
    return label


def _same(
    one: Float[Tensor, "T O"], others: Float[Tensor, "Q T O"], period: int, nearness: float
) -> Bool[Tensor, "Q"]:
    """Whether the others visit the places of `one`."""
    if period:
        return _same_end(one, others, period, nearness)
    among = torch.cdist(one, one)
    # An orbit near resonance returns to the same few places: what lies between them is as near as
    # a twentieth of its extent.
    extent = among.amax() / 20
    gaps = among.fill_diagonal_(torch.inf).amin(-1)
    near = torch.maximum(3 * gaps.quantile(0.9), extent)
    return torch.cdist(others, one[None]).amin(-1).median(-1).values <= near


def _same_end(
    one: Float[Tensor, "T O"], others: Float[Tensor, "Q T O"], period: int, nearness: float
) -> Bool[Tensor, "Q"]:
    """Whether the others end at the points of `one`, a fixed point or cycle.

    Those that are not there yet are compared by where they will be, as far as that can be foreseen:
    two are different only if they end farther apart than it may err.
    """
    near = nearness * one.abs().amax()
    same = _apart(others[:, -period:], one[-period:]) <= near
    if not same.all():
        here, there = ends(one[None], period), ends(others[~same], period)
        doubt = here.error + there.error
        same[~same] = ~(_apart(there.places, here.places[0]) > near + doubt)  # NaN: no telling
    return same


def _apart(others: Float[Tensor, "Q p O"], one: Float[Tensor, "p O"]) -> Float[Tensor, "Q"]:
    """How far the farthest point of each cycle is from the nearest of `one`."""
    return torch.cdist(others, one).amin(-1).amax(-1)
