"""The native library: made once, wherever it can be, and never silently left out."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from rnn_study.cells import CELLS, Cell
from rnn_study.errors import InvalidInput
from rnn_study.native import library
from rnn_study.training.adam import Adam, clip_

SCAN = """
import torch
from rnn_study.cells import CELLS, Cell
from rnn_study.native import library
from rnn_study.training.adam import Adam, clip_
cell = CELLS["lstm"]
weights = {"w_x": torch.ones(1, 2, 12), "w_h": torch.ones(1, 3, 12)}
weights |= {"b_x": torch.zeros(1, 12), "b_h": torch.zeros(1, 12)}
outputs, _ = cell.scan(weights, torch.ones(1, 4, 5, 2), torch.zeros(1, 5, 6))
print(library.for_tensor(outputs) is not None, outputs.shape)
"""
"""Says whether the library was there, and the shape of what a scan returned."""
TINY = """
#include "number.h"
extern "C" int number() { return NUMBER; }
"""
needs_compiler = pytest.mark.skipif(library.compiler() is None, reason="no C++ compiler")


def scan_elsewhere(tmp_path, **environment):
    """Runs SCAN in a process of its own with an empty cache."""
    given = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
    command = [sys.executable, "-c", SCAN]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=True)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A small library's, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "tiny.cpp").write_text(TINY)
    (folder / "number.h").write_text("#define NUMBER 3\n")
    return folder


def kept(tmp_path):
    return sorted((tmp_path / "cache" / "rnn_study").iterdir())


@needs_compiler
def test_it_is_compiled_once_and_again_when_a_source_changes(tmp_path, sources):
    for _ in range(2):
        assert library.load(library.compiler(), sources)._functions.number() == 3
    (first,) = kept(tmp_path)
    made = first.stat().st_mtime_ns
    (sources / "number.h").write_text("#define NUMBER 4\n")
    assert library.load(library.compiler(), sources)._functions.number() == 4
    assert len(kept(tmp_path)) == 2 and first.stat().st_mtime_ns == made


@needs_compiler
def test_many_may_make_it_at_once(tmp_path, sources):
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: library.load(library.compiler(), sources), range(4)):
            assert made._functions.number() == 3
    assert len(kept(tmp_path)) == 1  # and nothing half made beside it


@needs_compiler
def test_without_a_place_to_keep_it_every_process_makes_its_own(tmp_path, sources, caplog):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert library.load(library.compiler(), sources)._functions.number() == 3
    assert "compiled anew in every process" in caplog.text


def test_without_a_compiler_torch_does_it_and_one_warning_says_so(tmp_path):
    done = scan_elsewhere(tmp_path, PATH="", CXX="")
    assert done.stdout.split()[0] == "False" and "[1, 4, 5, 3]" in done.stdout
    assert done.stderr.count("no C++ compiler") == 1
    assert "torch's operations" in done.stderr and f"{library.SWITCH}=0" in done.stderr


def test_a_compiler_that_fails_is_quoted(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho no such flag >&2\nexit 1\n')
    broken.chmod(0o755)
    done = scan_elsewhere(tmp_path, CXX=str(broken))
    assert done.stdout.split()[0] == "False"
    assert done.stderr.count("cannot be made") == 1 and "no such flag" in done.stderr
    assert not kept(tmp_path)


def test_switched_off_it_is_not_even_made(tmp_path):
    done = scan_elsewhere(tmp_path, **{library.SWITCH: "0"})
    assert done.stdout.split()[0] == "False" and not done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("value", ["", "yes", "2"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch, value):
    monkeypatch.setenv(library.SWITCH, value)
    with pytest.raises(InvalidInput, match=library.SWITCH) as refusal:
        library.for_tensor(torch.empty(0))
    assert "\n" not in str(refusal.value)


def test_it_is_for_ordinary_numbers_on_a_cpu():
    assert library.for_tensor(torch.empty(0, device="meta")) is None
    assert library.for_tensor(torch.empty(0, dtype=torch.float16)) is None


@needs_compiler
def test_processors_without_wide_vectors_can_have_it():
    """As far as a compiler can tell."""
    if os.uname().machine != "x86_64":
        pytest.skip("not on this machine")
    flags = [flag for flag in library.FLAGS if flag != "-march=native"]
    command = [library.compiler(), *flags, "-march=x86-64", "-fsyntax-only"]
    subprocess.run([*command, library.SOURCES / "library.cpp"], check=True, capture_output=True)


@pytest.mark.parametrize("name", CELLS)
def test_it_runs_in_threads_that_start_later(name):
    cell = CELLS[name]
    shapes = {"w_x": (1, 6, 800), "w_h": (1, 200, 800), "b_x": (1, 800), "b_h": (1, 800)}
    if cell.gates == 1:
        shapes = {"w_x": (1, 6, 200), "w_h": (1, 200, 200), "b": (1, 200)}
    numbers = torch.Generator().manual_seed(0)
    weights = {k: 0.05 * torch.randn(*v, generator=numbers) for k, v in shapes.items()}
    given = weights, torch.ones(1, 3, 5, 6), torch.zeros(1, 5, cell.state_size(200))
    with ThreadPoolExecutor(2) as pool:
        for outputs, _ in pool.map(lambda _: cell.scan(*given), range(2)):
            assert torch.equal(outputs, cell.scan(*given)[0])


@pytest.mark.parametrize("pays", [0, float("inf")], ids=["tiles", "vectors"])
@pytest.mark.parametrize("scale", [1.0, 1e30], ids=["usual", "huge"])
@pytest.mark.parametrize(("batch", "hidden"), [(100, 200), (33, 65), (17, 48)])
def test_large_products_are_those_of_float64(monkeypatch, pays, scale, batch, hidden):
    """Shapes with whole and partial tiles; the numbers' products are finite."""
    native = library.for_tensor(torch.empty(0))
    if native is None or (not pays and not native.tiles):
        pytest.skip("not on this machine")
    monkeypatch.setattr(library, "TILES_PAY", pays)
    cell, numbers = CELLS["orthogonal"], torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, batch, 6, generator=numbers) * scale
    weights = {
        "w_x": torch.randn(2, 6, hidden, generator=numbers),
        "w_h": torch.randn(2, hidden, hidden, generator=numbers) / hidden**0.5,
        "b": torch.full((2, hidden), -0.1),
    }
    leaves = [tensor.requires_grad_() for tensor in (*weights.values(), x)]

    def of(scan, leaves):
        weights, x = dict(zip(("w_x", "w_h", "b"), leaves[:3], strict=True)), leaves[3]
        outputs, _ = scan(weights, x, x.new_zeros(2, batch, hidden))
        return [outputs, *torch.autograd.grad(outputs.sum() / scale, leaves)]

    exact = of(
        partial(Cell.scan, cell), [leaf.detach().double().requires_grad_() for leaf in leaves]
    )
    values, *gradients = zip(of(cell.scan, leaves), exact, strict=True)
    for most, pairs in ((1e-6, [values]), (1e-5, gradients)):
        for ours, value in pairs:
            assert (ours - value).norm() <= most * value.norm()


@needs_compiler
def test_an_optimiser_step_is_that_of_torch_and_a_broken_member_touches_no_other(monkeypatch):
    """To rounding: with a part that has a pace of its own, and one member clipped, one not."""
    found = {}
    for switch in ("0", "1"):
        monkeypatch.setenv(library.SWITCH, switch)
        numbers = torch.Generator().manual_seed(0)
        params, gradient = (torch.randn(3, 203, generator=numbers) for _ in range(2))
        gradient[0] *= 1e-3
        gradient[2, 5] = float("nan")
        adam = Adam.zeros(params)
        for (correction,) in (adam.corrections(np.array([0.1, 0.2, 0.3]), 1) for _ in range(2)):
            norms = clip_(gradient, 1.0)
            adam.update_(params, gradient, correction, [(slice(7, 40), 0.5)])
        found[switch] = [norms, gradient, params, adam.first, adam.second]
    for ours, theirs in zip(found["1"], found["0"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, equal_nan=True)
        assert ours[:2].isfinite().all()


def test_sources_are_part_of_the_package():
    """All that `library.cpp` includes lies beside it."""
    for path in library.SOURCES.glob("*.[ch]*"):
        for line in path.read_text().splitlines():
            if line.startswith('#include "'):
                assert (library.SOURCES / line.split('"')[1]).exists(), (path.name, line)
