"""Where orbits that still settle will end: linear prediction of the steps to come, summed up."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_TERMS: Final = 4
"""Exponentials that an approach is the sum of, a spiral's two among them."""


class Ends(NamedTuple):
    """Where Q orbits end, each value in the units of the orbits."""

    places: Float[Tensor, "Q p O"]
    """The points of the fixed point or cycle; not finite where an orbit drifts without end."""
    error: Float[Tensor, "Q"]
    """How far they may be off; large or NaN where they cannot be foreseen."""


def ends(orbits: Float[Tensor, "Q T O"], period: int) -> Ends:
    """Where orbits end that settle on a fixed point (`period` 1) or a cycle. On a CPU.

    Near its end an orbit is a sum of exponentials, so its steps obey a linear recurrence, which is
    fitted to its last part and summed to infinity (vector extrapolation; Smith, Ford and Sidi, SIAM
    Review 29, 1987). The error is ten times what the last eighth of the orbit has changed in that,
    and twice the square of the way still to go, relative to the size of the states: what is not
    linear, as gates that are still saturated. `period` is at most a quarter of T.
    """
    length = orbits.shape[1]
    now, before = (_extrapolated(orbits[:, :t], period) for t in (length, length - length // 8))
    # The phases of a cycle: those of the shorter orbit are turned to fall upon the others.
    before = before.roll(-(length // 8) % period, 1)
    changed = (now - before).norm(dim=-1).amax(-1)
    way = (now - orbits[:, -period:]).norm(dim=-1).amax(-1)
    size = orbits.abs().amax((1, 2)).clamp_min(torch.finfo(orbits.dtype).tiny)
    return Ends(now, 10 * changed + 2 * way * (way / size))


def _extrapolated(orbits: Float[Tensor, "Q T O"], period: int) -> Float[Tensor, "Q p O"]:
    """The last period at the end of time.

    Steps are taken as long as a tenth of the orbit, or fast and slow exponentials would look alike.
    """
    length = orbits.shape[1]
    stride = max(1, round(length / 10 / period)) * period
    terms = min(_TERMS, (length - 1) // stride - 1)
    steps = orbits[:, stride:] - orbits[:, :-stride]
    rows = min(length // 2, steps.shape[1] - terms * stride)
    last = steps.shape[1] - stride * torch.arange(terms + 1)
    past = torch.stack([steps[:, end - rows : end].flatten(1) for end in last], -1)
    weights = torch.linalg.lstsq(past[..., 1:], past[..., :1], driver="gelsd").solution
    recent = torch.stack([steps[:, end - period : end] for end in last[:terms]], 1)
    to_come = (weights[..., None] * recent.cumsum(1)).sum(1) / (1 - weights.sum(1, keepdim=True))
    return orbits[:, -period:] + to_come
