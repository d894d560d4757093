"""`benchmarks/tf32.py` imitates TF32 in every product, and compares seeds with and without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small import normal

from rnn_study.native.library import SWITCH
from rnn_study.tasks import grammar

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def tf32(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tf32

    return tf32


@pytest.mark.parametrize("sign", [1, -1])
def test_ten_bits_of_a_fraction_are_kept(tf32, sign):
    x = sign * torch.tensor([1 + 2.0**-10, 1 + 2.0**-11, 3.0, 0.0, torch.inf])
    kept = sign * torch.tensor([1 + 2.0**-10, 1.0, 3.0, 0.0, torch.inf])
    assert torch.equal(tf32.cut(x), kept)


def test_products_take_cut_factors_forward_and_backward(tf32):
    one, other, more = normal(2, 3, 5), normal(2, 5, 4, seed=1), normal(2, 3, 4, seed=2)
    exact = tf32.cut(one) @ tf32.cut(other)
    leaf = one.clone().requires_grad_()
    with tf32.CutFactors() as mode:
        for found in (
            one @ other, torch.bmm(one, other, out=torch.empty(2, 3, 4)),
            more.clone().baddbmm_(one, other) - more, torch.baddbmm(more, one, other) - more,
        ):  # fmt: skip
            torch.testing.assert_close(found, exact)
        torch.testing.assert_close(torch.addmm(more[0], one[0], other[0]) - more[0], exact[0])
        torch.testing.assert_close(one[0] @ other[0], exact[0])
        (gradient,) = torch.autograd.grad(leaf @ other, leaf, more)
    torch.testing.assert_close(gradient, tf32.cut(more) @ tf32.cut(other).mT)
    assert mode.products == 8
    assert (one @ other - exact).abs().max() > 1e-4


@pytest.mark.slow  # two trainings by torch alone
def test_it_compares_the_same_seeds(tmp_path):
    for split, text in grammar.texts().items():
        (tmp_path / f"{split}.txt").write_text(text)
    small = ["--data", str(tmp_path), "--cells", "lstm", "--seeds", "2", "--epochs", "1"]
    asked = [*small, "--words", "1500", "--json", str(tmp_path / "found.json")]
    command = [sys.executable, str(BENCHMARKS / "tf32.py"), *asked]
    for switch, code in (("0", 0), ("1", 2)):
        environment = {**os.environ, SWITCH: switch}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert SWITCH in done.stderr and len(done.stderr.splitlines()) == 1
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert len(row["float32"]) == len(row["tf32"]) == 2
    for exact, rough in zip(row["float32"], row["tf32"], strict=True):
        assert exact != rough and abs(rough / exact - 1) < 0.01
