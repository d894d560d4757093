"""Lyapunov exponents: how fast small deviations grow along an orbit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
import torch.autograd.forward_ad as forward
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vmap

from rnn_study.dynamics.orbits import advance
from rnn_study.dynamics.step import Step


def evolve(
    step: Step, state: Float[Tensor, "S B D"], deviations: Float[Tensor, "S B D K"]
) -> tuple[Float[Tensor, "S B D"], Float[Tensor, "S B D K"]]:
    """The next state, and K deviations multiplied by the Jacobian there, which is never formed."""
    if deviations.shape[-1] == 1:  # without what the batching of several costs
        with forward.dual_level():
            both = forward.unpack_dual(step(forward.make_dual(state, deviations[..., 0])))
        still = torch.zeros_like(state) if both.tangent is None else both.tangent
        return both.primal, still[..., None]
    several = vmap(lambda deviation: push(step, state, deviation), 3, (None, 3))  # type: ignore
    moved, pushed = several(deviations)
    return moved, pushed


def push(step: Step, state: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """The next state, and one deviation (S, B, D) multiplied by the Jacobian there."""
    both: tuple[Tensor, Tensor] = jvp(step, (state,), (deviation,))  # type: ignore[assignment]
    return both


@torch.no_grad()
def lyapunov_spectrum(
    step: Step, state: Float[Tensor, "S B D"], steps: int, k: int = 1, transient: int = 100
) -> Float[Tensor, "S B K"]:
    """The `k` largest Lyapunov exponents of `step`, in nats per step, descending.

    QR on evolved deviation vectors (Benettin et al., Meccanica 15, 1980). `transient` steps let the
    state reach its attractor and the vectors their directions before the mean over `steps` begins.
    The error of that mean is of the order of 1 / `steps`. Minus infinity where a step maps all
    deviations onto fewer than k directions; NaN where the orbit diverges. Raises ValueError unless
    1 <= k <= D.
    """
    size = state.shape[-1]
    if not 1 <= k <= size:
        raise ValueError(f"k: {k} is not allowed; use 1 to {size}, the size of the state")
    lead = transient // 2
    begun = advance(step, state, transient - lead)
    finite = begun.isfinite().all(-1, keepdim=True)
    total = begun.new_zeros(*begun.shape[:2], k)
    for t, (state, stretch) in enumerate(islice(stretches(step, begun, k), lead + steps)):
        finite &= state.isfinite().all(-1, keepdim=True)
        if t >= lead:
            total += stretch.log()
    means = (total / steps).where(finite, torch.nan)
    return means.sort(-1, descending=True).values


def stretches(
    step: Step, state: Float[Tensor, "S B D"], k: int
) -> Iterator[tuple[Float[Tensor, "S B D"], Float[Tensor, "S B K"]]]:
    """Without end: the next state, and how far the step stretched each of K orthonormal deviations.

    The mean logarithm of the stretches tends to the K largest exponents.
    """
    members, batch, size = state.shape
    deviations = spread(size, k, state).expand(members, batch, size, k)
    while True:
        state, deviations = evolve(step, state, deviations)
        deviations, stretch = _orthonormal(deviations)
        yield state, stretch


def _orthonormal(
    deviations: Float[Tensor, "S B D K"],
) -> tuple[Float[Tensor, "S B D K"], Float[Tensor, "S B K"]]:
    """Q of the QR decomposition and the absolute diagonal of R; a single vector costs less."""
    if deviations.shape[-1] > 1:
        q, r = torch.linalg.qr(deviations)
        return q, r.diagonal(dim1=-2, dim2=-1).abs()
    length = deviations.norm(dim=-2)
    return deviations / length.clamp_min(torch.finfo(length.dtype).tiny)[..., None, :], length


def spread(size: int, k: int, like: Tensor) -> Float[Tensor, "D K"]:
    """k orthonormal vectors that lie along no axis, so that none stays in an invariant plane.

    They are waves of a frequency without symmetry, not random: a result never depends on a seed.
    """
    rows = torch.arange(1, size + 1, dtype=like.dtype, device=like.device)[:, None]
    columns = torch.arange(1, k + 1, dtype=like.dtype, device=like.device)
    return torch.linalg.qr(torch.cos(rows * columns + rows.sqrt()))[0]
