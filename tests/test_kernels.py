"""Kernels of the time loop, against the plain scan of their cells.

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

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")

SIZES = [(2, 5, 3, 7, 11), (1, 1, 17, 7, 70), (3, 7, 19, 6, 33)]
"""S, T, B, I, H: less than a tile, more than one, and a single step."""


def run(code: str, interpret: bool) -> str:
    environment = {**os.environ, "TRITON_INTERPRET": str(int(interpret))}
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
    """What a scan gives, and what flows back from outputs and last state, each with weights."""
    params, x, state = require_grad(start), x.clone().requires_grad_(), state.clone()
    state.requires_grad_()
    outputs, last = cell.scan(cell.weights(params), x, state)
    weighed = (outputs * outputs.new_tensor(0.5)).cos().sum() + last.sin().sum()
    return outputs, last, *torch.autograd.grad(weighed, [*params.values(), x, state])


def compare(device: str) -> None:
    """Fails unless kernels and oracles agree at all sizes, in values and in gradients."""
    from rnn_study.cells import LSTM, Orthogonal
    from rnn_study.kernels.lstm import FusedLSTM
    from rnn_study.kernels.orthogonal import FusedOrthogonal

    for oracle, kernel in ((Orthogonal(), FusedOrthogonal()), (LSTM(), FusedLSTM())):
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
            found = values_and_gradients(kernel, start, x, state)
            for one, other in zip(found, expected, strict=True):
                assert (one - other).norm() <= 1e-5 * other.norm()
            print(type(kernel).__name__, members, steps, batch, inputs, hidden, "agree")


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rnn_study.kernels import lstm, orthogonal

for module, columns in ((orthogonal, 64), (lstm, 32)):
    for kernel in (module.forward_kernel, module.backward_kernel):
        names = kernel.arg_names
        types = {n: "i32" if n in ("time", "batch", "hidden") else "*fp32" for n in names}
        fixed = {"ROWS": 16, "COLUMNS": columns, "INNER": 32, "PRECISION": "ieee"}
        source = ASTSource(kernel, types | dict.fromkeys(fixed, "constexpr"), fixed)
        made = triton.compile(source, GPUTarget("cuda", 90, 32), {"num_stages": 1})
        print(kernel.__name__, len(made.asm["cubin"]))
        print(made.asm["ptx"])
"""


def test_kernels_agree_with_the_plain_scans():
    out = run("from test_kernels import compare; compare('cpu')", True)
    assert out.count("agree") == 2 * len(SIZES)


@pytest.mark.gpu
def test_kernels_agree_with_the_plain_scans_on_a_gpu():
    out = run("from test_kernels import compare; compare('cuda')", False)
    assert out.count("agree") == 2 * len(SIZES)


def test_kernels_compile_for_a_gpu_and_read_what_they_have_written():
    """Steps are read back after a barrier, and not through the cache that knows no writes."""
    out = run(COMPILE, False)
    assert [int(size) > 0 for size in re.findall(r"_kernel (\d+)\n", out)] == [True] * 4
    assert "ld.global" in out and "bar.sync" in out
    assert "ld.global.nc" not in out
