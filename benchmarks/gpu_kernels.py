"""What `gpu.py` measures alone: scans, the matrix exponential, the loss of a language model.

Each by the kernels and by torch's operations, in one run; and what the tiles of the LSTM's kernels
do to their time, and the parts that its numbers are taken in.
"""

from __future__ import annotations

import gpu_checks
import torch
from gpu_notes import Notes
from gpu_setting import Setting, changed, peak_bytes
from rivals import INPUTS, timed

from rnn_study.cells import CELLS, Cell
from rnn_study.kernels import Scan, starts, without
from rnn_study.training.cross_entropy import linear_cross_entropy
from rnn_study.training.graphs import captured


def scan_times(setting: Setting, notes: Notes) -> None:
    """Forward and backward alone, captured, per time step and member."""
    for name, goal in (("lstm", "<= 2"), ("orthogonal", "")):
        with notes.trying(f"{name}: scan"):
            cell = CELLS[name]
            ours = scan_time(cell, cell.scan, setting)
            notes.number(f"{name}: scan, forward and backward", ours, "us/step", goal)
            if kernels(setting):
                with without():
                    torchs = scan_time(cell, cell.scan, setting)
                notes.number(f"{name}: scan by torch's operations", torchs, "us/step")
                notes.number(f"{name}: kernels over torch's operations", torchs / ours, "times")


def exponential_time(setting: Setting, notes: Notes) -> None:
    """exp of the skew-symmetric matrices of a pack, with its gradient."""
    shape = (setting.pack, setting.hidden, setting.hidden)
    upper = (torch.randn(shape, device=setting.device) * 0.1).requires_grad_()
    cell = CELLS["orthogonal"]

    def work() -> None:
        matrix = cell.weights({"skew": upper})["w_h"]
        torch.autograd.grad(matrix.sum(), upper)

    took = timed(captured(work, torch.device(setting.device)), setting)
    notes.number("exponential with gradient", 1e3 * took / setting.pack, "ms/matrix", "<= 0.1")


def loss_time(setting: Setting, notes: Notes) -> None:
    """The softmax of a segment of text and its cross entropy, forward and backward; its memory."""
    count, words = setting.text_length * setting.text_batch, setting.text_vocabulary
    hidden, weight = (
        torch.randn(n, setting.text_hidden, device=setting.device) for n in (count, words)
    )
    targets = torch.arange(count, device=setting.device) % words
    inputs = [each.requires_grad_() for each in (hidden, weight, weight[:, 0].clone())]

    def work() -> None:
        torch.autograd.grad(linear_cross_entropy(*inputs, targets), inputs)

    def measured(name: str) -> None:
        notes.number(f"loss of a segment{name}", 1e3 * timed(work, setting), "ms")
        if setting.device == "cuda":
            notes.number(f"loss of a segment{name}: memory", peak_bytes(work) / 1e9, "GB")

    measured("")
    if kernels(setting):
        with without():
            measured(" by torch's operations")


TILES = {
    "FORWARD": ((64, 32, 32, 4, 3, 168), (64, 32, 64, 4, 2), (128, 32, 32, 8, 3)),
    "BACKWARD": ((64, 32, 64, 4, 3, 168), (64, 32, 64, 4, 4), (128, 32, 64, 8, 3)),
}
"""Others than those in use; see `rnn_study.kernels.lstm.Tiles`."""


def tiles(setting: Setting, notes: Notes) -> None:
    """The LSTM's scan with cuBLAS's products, and in other tiles than the ones in use."""
    if not kernels(setting):
        return notes.left_out("tiles", "needs CUDA and Triton")
    from rnn_study.kernels import wide_lstm

    with notes.trying("lstm: scan by large products"):
        took = scan_time(CELLS["lstm"], wide_lstm.scan, setting)
        notes.number("lstm: scan by large products", took, "us/step")
    return _tiles("", setting, notes)


def two_parts(setting: Setting, notes: Notes) -> None:
    """The LSTM's numbers in two parts, not three, which nothing uses yet: errors and times."""
    if not kernels(setting):
        return notes.left_out("two parts", "needs CUDA and Triton")
    from rnn_study.kernels import lstm

    for name, values in (("gradients in two parts", 3), ("all in two parts", 2)):
        with changed(lstm, VALUE_PARTS=values, GRADIENT_PARTS=2):
            gpu_checks.against_oracle(f"lstm, {name}", lstm.scan, CELLS["lstm"], setting, notes)
            _measured(name, setting, notes)
            if values == 2:
                _tiles(f"{name}, ", setting, notes)
    return None


def _tiles(prefix: str, setting: Setting, notes: Notes) -> None:
    from rnn_study.kernels import lstm

    for which, changes in TILES.items():
        for change in changes:
            with changed(lstm, **{which: lstm.Tiles(*change)}):
                _measured(f"{prefix}{which.lower()} tiles {change}", setting, notes)


def _measured(name: str, setting: Setting, notes: Notes) -> None:
    """The LSTM's scan as its kernels are set; what does not run is noted."""
    from rnn_study.kernels import lstm

    with notes.trying(f"lstm: {name}"):
        notes.number(f"lstm: {name}", scan_time(CELLS["lstm"], lstm.scan, setting), "us/step")


def kernels(setting: Setting) -> bool:
    """Whether they can run."""
    return setting.device == "cuda" and starts()


def scan_time(cell: Cell, scan: Scan, setting: Setting) -> float:
    """Microseconds per time step and member, forward and backward, captured where it can be."""
    drawn = gpu_checks.parameters(cell, setting.pack, INPUTS, setting.hidden, setting.device)
    weights = {k: v.detach().requires_grad_() for k, v in cell.weights(drawn).items()}
    wanted = [w for name, w in weights.items() if name != "skew"]
    shape = (setting.pack, setting.length, setting.batch, INPUTS)
    x = torch.randn(shape, device=setting.device)
    state = x.new_zeros(setting.pack, setting.batch, cell.state_size(setting.hidden))

    def work() -> None:
        _, last = scan(weights, x, state)
        torch.autograd.grad(last.sum(), wanted)

    took = timed(captured(work, torch.device(setting.device)), setting)
    return 1e6 * took / setting.length / setting.pack
