"""Kernels for a GPU, against the plain scans of their cells and torch's cross entropy.

Without a GPU Triton's interpreter runs them; its compiler makes code for one all the same. Both
need `triton` (`pip install triton`), and a process of their own: the interpreter is chosen when a
kernel is defined.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from small import normal, parameters, require_grad
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")

SIZES = [(2, 5, 3, 7, 11), (1, 1, 17, 7, 70), (3, 7, 19, 6, 33), (1, 3, 70, 2, 40)]
"""S, T, B, I, H: less than a tile, more than one in units or in sequences, and a single step."""


def run(code: str, interpret: bool, **environment: str) -> str:
    environment = {**os.environ, "TRITON_INTERPRET": str(int(interpret)), **environment}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def values_and_gradients(cell, start, x, state):
    """What a scan gives, and what flows back from outputs and last state, each with weights.

    The outputs are read as at every step of a sequence: their gradient is not contiguous.
    """
    params, x, state = require_grad(start), x.clone().requires_grad_(), state.clone()
    state.requires_grad_()
    outputs, last = cell.scan(cell.weights(params), x, state)
    read = outputs.transpose(1, 2).flatten(1, 2)
    weighed = (read * read.new_tensor(0.5)).cos().sum() + last.sin().sum()
    return outputs, last, *torch.autograd.grad(weighed, [*params.values(), x, state])


def compare(device: str) -> None:
    """Fails unless kernels and oracles agree at all sizes, in values and in gradients."""
    from rnn_study.cells import LSTM, Orthogonal
    from rnn_study.kernels import lstm, orthogonal, wide_lstm

    lstm.AHEAD = 3  # so that inputs are laid out more than once
    for oracle, kernel, parts in (
        (Orthogonal(), orthogonal, (3, 3)), (LSTM(), wide_lstm, (3, 3)),
        (LSTM(), lstm, (3, 3)), (LSTM(), lstm, (3, 2)), (LSTM(), lstm, (2, 2)),
    ):  # fmt: skip
        lstm.VALUE_PARTS, lstm.GRADIENT_PARTS = parts
        cell = type(oracle)()
        cell.scan = kernel.scan
        for members, steps, batch, inputs, hidden in SIZES:
            start = parameters(oracle, members, inputs, hidden)
            for name in start.keys() & {"skew", "b"}:  # nothing is at a special value
                start[name] += 0.1 * normal(*start[name].shape)
            start, x, state = (
                {name: value.to(device) for name, value in start.items()},
                normal(members, steps, batch, inputs, seed=1).to(device),
                normal(members, batch, oracle.state_size(hidden), seed=2).to(device),
            )
            expected = values_and_gradients(oracle, start, x, state)
            found = values_and_gradients(cell, start, x, state)
            with torch.no_grad():
                found += tuple(cell.scan(cell.weights(start), x, state))
            for i, (one, other) in enumerate(zip(found, expected + expected[:2], strict=True)):
                value = i < 2 or i >= len(expected)
                close = 1e-5 if value or parts[1] == 3 else 1e-4
                assert (one - other).norm() <= close * other.norm()
            print(kernel.__name__, members, steps, batch, inputs, hidden, "agree")


class Copies(TorchDispatchMode):
    """Counts them."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.clone.default
        return func(*args, **(kwargs or {}))


def count_copies() -> None:
    """Fails if there are more of them in more steps."""
    from rnn_study.cells import LSTM, Orthogonal
    from rnn_study.kernels import lstm, orthogonal, wide_lstm

    for cell, kernel in ((Orthogonal(), orthogonal), (LSTM(), lstm), (LSTM(), wide_lstm)):
        cell.scan = kernel.scan
        counts = set()
        for steps in (2, 5):
            x, state = normal(1, steps, 3, 2), normal(1, 3, cell.state_size(4))
            with Copies() as copies:
                values_and_gradients(cell, parameters(cell, 1, 2, 4), x, state)
            counts.add(copies.count)
        assert len(counts) == 1, (kernel.__name__, counts)
        print(kernel.__name__, "copies once")


def compare_losses(device: str) -> None:
    """Likewise, of the cross entropy, in a vocabulary that is filled up, and where it is not."""
    from rnn_study.kernels.cross_entropy import linear_cross_entropy
    from rnn_study.training.cross_entropy import aligned

    for count, hidden, words in ((7, 5, 13), (3, 8, 9001), (4, 3, 4096)):
        drawn = normal(count, hidden), normal(words, hidden, seed=1), normal(words, seed=2)
        inputs = [each.to(device).requires_grad_() for each in drawn]
        targets = (torch.arange(count) * 5 % words).to(device)
        exact = torch.nn.functional.cross_entropy(inputs[0] @ inputs[1].T + inputs[2], targets)
        ours = linear_cross_entropy(inputs[0], *aligned(*inputs[1:]), targets)
        assert abs(ours / exact - 1) <= 1e-6
        with torch.no_grad():
            assert linear_cross_entropy(inputs[0], *aligned(*inputs[1:]), targets) == ours
        pairs = zip(*(torch.autograd.grad(3 * each, inputs) for each in (ours, exact)), strict=True)
        for one, other in pairs:
            assert (one - other).norm() <= 1e-5 * other.norm()
        print("losses agree")


COMPILE = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rnn_study.kernels import cross_entropy, lstm, orthogonal, wide_lstm

def fixed(tiles, parts, dtype=tl.bfloat16):
    sizes = {"ROWS": tiles.rows, "UNITS": tiles.units, "INNER": tiles.inner}
    sizes |= {"MULTIPLIED": dtype, "PARTS": parts}
    return sizes, {"num_warps": tiles.warps, "num_stages": tiles.stages}

whole = {"KEPT": True, "GIVEN": True, "ENDS": True, "LAST": False, "SIZE": 1024}
for kernel, (sizes, options) in (
    (lstm.forward_kernel, fixed(lstm.FORWARD, 3)), (lstm.backward_kernel, fixed(lstm.BACKWARD, 3)),
    (lstm.forward_kernel, fixed(lstm.FORWARD, 2, tl.float16)),
    (lstm.backward_kernel, fixed(lstm.BACKWARD, 2)),
    (wide_lstm.forward_kernel, ({}, {})), (wide_lstm.backward_kernel, ({}, {})),
    (orthogonal.forward_kernel, ({}, {})), (orthogonal.backward_kernel, ({}, {})),
    (cross_entropy.loss_kernel, ({}, {})),
):
    parts = {"back": "*bf16", "d_gates": "*bf16"} if sizes else {}
    values = "*fp16" if sizes.get("MULTIPLIED") == tl.float16 else "*bf16"
    others = {"share": "fp32", "targets": "*i64", "packed": values, "taped": values, **parts}
    arrays = ("gates", "cells", "outputs", "d_outputs", "d_gates", "d_h", "d_c", "d_z", "d_b", "b",
              "d_last", "losses")
    others = dict.fromkeys(arrays, "*fp32") | others
    given = {n: v for n, v in {**whole, **sizes}.items() if n in kernel.arg_names}
    types = {n: "constexpr" if n in given else others.get(n, "i32") for n in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(types) if types[n][0] == "*"}
    made = triton.compile(
        ASTSource(kernel, types, given, aligned), GPUTarget("cuda", 90, 32), options
    )
    products = made.asm["ptx"].count("wgmma.mma_async")
    print("kernel", len(made.asm["cubin"]), "products", products)
"""


def test_kernels_agree_with_the_plain_scans():
    out = run("from test_kernels import compare; compare('cpu')", True)
    assert out.count("agree") == 5 * len(SIZES)


def test_no_step_copies_the_gradient_of_all():
    assert run("from test_kernels import count_copies; count_copies()", True).count("once") == 3


def test_the_loss_agrees_with_torch_s():
    out = run("from test_kernels import compare_losses; compare_losses('cpu')", True)
    assert out.count("agree") == 3


def test_where_triton_does_not_start_a_warning_says_so_once(tmp_path):
    code = "import logging, sys; logging.basicConfig(stream=sys.stdout)\n"
    code += "from rnn_study import kernels; print(kernels.starts(), kernels.starts())"
    out = run(code, False, CC=str(tmp_path / "none"), TRITON_CACHE_DIR=str(tmp_path))
    assert out.endswith("False False\n") and out.count("It needs a C compiler ($CC") == 1


@pytest.mark.gpu
def test_kernels_agree_on_a_gpu():
    out = run("from test_kernels import *; compare('cuda'); compare_losses('cuda')", False)
    assert out.count("agree") == 5 * len(SIZES) + 3


def test_kernels_compile_for_a_gpu_and_the_lstm_s_for_its_matrix_units():
    out = run(COMPILE, False)
    found = re.findall(r"kernel (\d+) products (\d+)", out)
    assert len(found) == 9 and all(int(size) > 0 for size, _ in found)
    assert [int(products) > 0 for _, products in found] == [True] * 4 + [False] * 5
