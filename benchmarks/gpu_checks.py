"""The checks of `gpu.py`: whether this device computes what it should."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from gpu_notes import Notes
from gpu_setting import Setting, products
from torch import Tensor

from rnn_study.cells import CELLS, Cell, Parameters
from rnn_study.config import Pack, Trial
from rnn_study.kernels import Scan, starts, without
from rnn_study.randomness import generator
from rnn_study.training import Eager, Epoch, Replay, Runner, train

EPOCHS = 3
VALUES, GRADIENTS, TRAINING = 1e-5, 1e-4, 1e-3
"""Relative errors that are allowed: of a scan, of its gradients, of losses after some epochs."""


def packing(setting: Setting, notes: Notes) -> None:
    """A trial alone against the same in a pack."""
    for cell in CELLS:
        with notes.trying(f"{cell}: alone and packed"):
            together = losses(trained(cell, setting), setting)
            apart = [losses(trained(cell, setting)[s : s + 1], setting)[0] for s in range(2)]
            notes.check(f"{cell}: alone and packed", off(together[:2], np.stack(apart)), TRAINING)


def graphs(setting: Setting, notes: Notes) -> None:
    """Replayed batches against plain ones, also where most members leave and the rest is captured
    anew."""
    for cell in CELLS:
        pack = trained(cell, setting)
        with notes.trying(f"{cell}: graph and plain"):
            replayed, plain = losses(pack, setting, Replay), losses(pack, setting, Eager)
            notes.check(f"{cell}: graph and plain", off(replayed, plain), TRAINING)
            rest = losses(pack, setting, Replay, stay=2)
            notes.check(f"{cell}: captured anew and plain", off(rest, plain[:2]), TRAINING)


def scans(setting: Setting, notes: Notes) -> None:
    """The fast scans of the cells against `Cell.scan`, in values and gradients."""
    for name, cell in CELLS.items():
        against_oracle(name, cell.scan, cell, setting, notes)
        with without():
            against_oracle(f"{name}, by torch", cell.scan, cell, setting, notes)


def kernels(setting: Setting, notes: Notes) -> None:
    """The kernels that `scans` does not choose at this size."""
    if setting.device != "cuda" or not starts():
        return notes.left_out("kernels against their oracles", "needs CUDA and Triton")
    from rnn_study.kernels import cross_entropy, wide_lstm

    against_oracle("wide lstm", wide_lstm.scan, CELLS["lstm"], setting, notes)
    hidden = normal((300, 64), setting, seed=1).requires_grad_()
    weight = normal((setting.text_vocabulary, 64), setting, seed=2).requires_grad_()
    bias = normal((setting.text_vocabulary,), setting, seed=3).requires_grad_()
    targets = torch.arange(300, device=setting.device) * 7 % setting.text_vocabulary
    ours = cross_entropy.linear_cross_entropy(hidden, weight, bias, targets)
    double = [each.detach().double().requires_grad_() for each in (hidden, weight, bias)]
    exact = F.cross_entropy(double[0] @ double[1].T + double[2], targets)
    notes.check("cross entropy", float((ours.detach() / exact.detach() - 1).abs()), VALUES)
    found = torch.autograd.grad(ours, (hidden, weight, bias))
    expected = torch.autograd.grad(exact, double)
    worst = max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))
    notes.check("cross entropy: gradients", worst, GRADIENTS)
    return None


def exponential(setting: Setting, notes: Notes) -> None:
    """That of the orthogonal cell against torch's in float64, and whether it is orthogonal."""
    for scale in (0.01, 0.1):  # at H = 200 spectral norms of about 0.3 and 3
        shape = (3, setting.hidden, setting.hidden)
        upper = (normal(shape, setting, seed=1).triu(1) * scale).requires_grad_()
        double = upper.detach().cpu().double().requires_grad_()
        weigh = normal(shape, setting, seed=2)
        ours = CELLS["orthogonal"].weights({"skew": upper})["w_h"]
        exact = torch.linalg.matrix_exp(double.triu(1) - double.triu(1).mT)
        (gradient,) = torch.autograd.grad((ours * weigh).sum(), upper)
        (its,) = torch.autograd.grad((exact * weigh.cpu().double()).sum(), double)
        eye = torch.eye(setting.hidden, device=setting.device)
        ours = ours.detach()
        worst = float((ours @ ours.mT - eye).abs().max())
        error = float((ours.cpu() - exact.detach()).abs().max())
        notes.check(f"exponential, entries of size {scale:g}", error, 1e-5)
        notes.check(f"exponential, {scale:g}: orthogonal", worst, 1e-5)
        relative = float((gradient.cpu() - its).norm() / its.norm())
        notes.check(f"exponential, {scale:g}: gradient", relative, GRADIENTS)


def tf32_changes(setting: Setting, notes: Notes) -> None:
    """What TF32 changes: losses after some epochs, relative. No error: it is to be known."""
    if setting.device != "cuda":
        return notes.left_out("what TF32 changes", "needs CUDA")
    for cell in ("lstm", "orthogonal"):
        pack = trained(cell, setting)
        exact = losses(pack, setting)
        with products(tf32=True):
            rounded = losses(tuple(replace(trial, tf32=True) for trial in pack), setting)
        for epoch in (0, EPOCHS - 1):
            change = off(rounded[:, epoch], exact[:, epoch])
            notes.number(f"{cell}: TF32 changes the loss of epoch {epoch + 1} by", change)
    return None


ALL = (packing, graphs, scans, kernels, exponential)


def trained(cell: str, setting: Setting) -> tuple[Trial, ...]:
    """A few trials that learn."""
    return tuple(
        Trial(
            task="symbol", cell=cell, length=50, learning_rate=1e-3, seed=seed, data_seed=seed,
            hidden=setting.hidden, batch=setting.batch, train_size=3 * setting.batch,
            val_size=setting.batch + 1, epochs=EPOCHS,
        )
        for seed in range(5)
    )  # fmt: skip


def losses(
    pack: tuple[Trial, ...],
    setting: Setting,
    runner: type[Runner] | None = None,
    stay: int | None = None,
) -> np.ndarray:
    """(S, epochs) training losses; of the first S = `stay` members, if the others are to leave
    after the first epoch. None leaves by itself this early."""

    def others(epoch: Epoch) -> np.ndarray:
        return np.arange(len(epoch.trials)) >= (stay or len(pack))

    epochs = train(Pack(pack), setting.device, runner=runner, stop=others)
    rows = [epoch.metrics["train_loss"][:stay] for epoch in islice(epochs, EPOCHS)]
    return np.stack(rows, 1)


def off(one: np.ndarray, other: np.ndarray) -> float:
    """The largest relative difference."""
    return float(np.abs(one / other - 1).max())


def against_oracle(name: str, fast: Scan, oracle: Cell, setting: Setting, notes: Notes) -> None:
    """A scan against the plain one, in values and gradients, in float32."""
    with notes.trying(f"{name}: scan"), products(tf32=False):
        _against_oracle(name, fast, oracle, setting, notes)


def _against_oracle(name: str, fast: Scan, oracle: Cell, setting: Setting, notes: Notes) -> None:
    drawn = parameters(oracle, 3, 6, setting.hidden, setting.device)
    x = normal((3, 50, setting.batch, 6), setting, seed=1)
    state = normal((3, setting.batch, oracle.state_size(setting.hidden)), setting, seed=2)
    start = {k: v.detach().requires_grad_() for k, v in drawn.items()}
    found = []
    for scan in (fast, lambda *given: Cell.scan(oracle, *given)):
        outputs, last = scan(oracle.weights(start), x, state)
        read = outputs.transpose(1, 2).flatten(1, 2)  # so its gradient is not contiguous
        gradients = torch.autograd.grad(read.cos().sum() + last.sin().sum(), [*start.values()])
        found.append(((outputs.detach(), last.detach()), gradients))
    for what, allowed, pairs in zip(
        ("values", "gradients"), (VALUES, GRADIENTS), zip(*found, strict=True), strict=True
    ):
        worst = max(float((a - b).norm() / b.norm()) for a, b in zip(*pairs, strict=True))
        notes.check(f"{name}: {what} of the scan", worst, allowed)


def parameters(cell: Cell, members: int, inputs: int, hidden: int, device: str) -> Parameters:
    """Fresh parameters of some members."""
    drawn = [cell.init(generator(seed, "cell"), inputs, hidden) for seed in range(members)]
    return {k: torch.from_numpy(np.stack([d[k] for d in drawn])).to(device) for k in drawn[0]}


def normal(shape: tuple[int, ...], setting: Setting, seed: int) -> Tensor:
    """Standard normal numbers, the same on every device."""
    drawn = generator(seed, "normal").standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(drawn).to(setting.device)
