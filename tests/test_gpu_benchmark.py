"""`benchmarks/gpu.py` runs from end to end, small and on a CPU, and refuses what it cannot do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rnn_study.cells import CELLS, LSTM
from rnn_study.tasks import grammar

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(*options):
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_runs_small_on_a_cpu(tmp_path):
    done = run("--device", "cpu", "--toy", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0
    assert all(line.endswith("s at most") for line in done.stderr.splitlines())
    assert "FAILS" not in done.stdout and "BROKEN" not in done.stdout
    assert done.stdout.count("ok, <= ") == 36
    left_out = [line.partition("  ")[0] for line in done.stdout.splitlines() if "not run" in line]
    assert left_out == [
        "kernels against their oracles", "rates in TF32", "tiles", "what TF32 changes", "two parts"
    ]  # fmt: skip
    found = json.loads((tmp_path / "found.json").read_text())
    for cell in ("lstm", "stable_lstm", "orthogonal"):
        what = f"{cell}: text, pack 2"
        over = found["numbers"]["plain LSTM language model"] / found["numbers"][what]
        assert found["numbers"][f"{what}, over plain LSTM"] == over > 0
    for cell in ("lstm", "orthogonal"):
        for task in ("memory", "memory of a text"):
            assert found["numbers"][f"{cell}: {task} foretold"] > 0
    assert found["command"].endswith(f"gpu.py --device cpu --toy --json {tmp_path}/found.json")
    assert len(found["seconds"]) == 18 and found["tracebacks"] == {}
    rows = [(row["cell"], row["pack"], row["rival"].split()[0]) for row in found["rows"]]
    assert rows == [
        (cell, pack, rival)
        for cell in ("lstm", "orthogonal")
        for pack, rival in ((2, "serial"), (3, "serial"), (3, "processes"))
    ]
    for row in found["rows"]:
        assert row["ratio"] == row["updates_per_second"] / row["rival_updates_per_second"] > 0
        assert row["bytes_per_member"] > 0


def test_what_there_is_no_time_for_is_said(tmp_path):
    done = run("--device", "cpu", "--toy", "--budget", "1e-6")
    assert done.returncode == 1
    assert done.stdout.count("not run: no time left") == len(done.stdout.splitlines()) == 18
    assert done.stdout.count("FAILS") == 6  # checks that were not made


BAD = """
import signal, sys, time
import gpu
from gpu_setting import changed

def breaks(setting, notes):
    notes.number("before", 1.0)
    with changed(gpu, LAUNCHES=7):
        raise RuntimeError("as it must")

def waits(setting, notes):
    notes.number("launches", gpu.LAUNCHES)
    with notes.trying("waiting"):
        time.sleep(60)

def hangs(setting, notes):
    notes.number("last", 2.0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as a launch that never ends
    time.sleep(60)

gpu.CHECKS, gpu.MEASUREMENTS, gpu.GRACE = (breaks, waits), (hangs,), 0.1
gpu.main(["--device", "cpu", "--toy", "--budget", "1", "--json", sys.argv[1]])
"""


def test_whatever_ends_a_run_what_was_found_is_kept(tmp_path):
    command = [sys.executable, "-c", BAD, str(tmp_path / "found.json")]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and "in hangs" in done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["numbers"] == {"before": 1, "launches": 50, "last": 2}
    assert [*found["tracebacks"]] == ["breaks"]
    assert "in breaks" in found["tracebacks"]["breaks"] in done.stderr
    assert found["lines"] == [
        ["before", "1", ""], ["breaks", "RuntimeError: as it must", "BROKEN"],
        ["launches", "50", ""], ["waits", "not run: no time left for all of it", "FAILS"],
        ["last", "2", ""],
    ]  # fmt: skip


UNEVEN = """
import multiprocessing
from gpu_setting import Setting

class Uneven(Setting):
    def __getattribute__(self, name):
        if name == "batch" and multiprocessing.current_process()._identity[-1] == 1:
            raise RuntimeError("no memory here")
        return super().__getattribute__(name)
"""


@pytest.mark.slow  # two processes that import torch
def test_a_rival_that_fails_ends_the_others(tmp_path, monkeypatch):
    (tmp_path / "uneven.py").write_text(UNEVEN)
    for folder in (SCRIPT.parent, tmp_path):
        monkeypatch.syspath_prepend(str(folder))
    import rivals
    from uneven import Uneven

    with pytest.raises(RuntimeError, match="no memory here"):
        rivals.concurrent("lstm", Uneven("cpu", hidden=5, processes=2, seconds=0.01))


class Greedy(LSTM):
    def scan(self, weights, x, state):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().scan(weights, x, state)


def test_the_rate_of_a_pack_that_halves_itself_is_none(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu

    monkeypatch.setitem(CELLS, "lstm", Greedy())
    assert gpu.packed("lstm", 2, gpu.TOY) > 0
    with pytest.raises(RuntimeError, match="of 3 networks 2 train together"):
        gpu.packed("lstm", 3, gpu.TOY)


def test_the_float32_rivals_are_exact_and_settings_are_what_they_were(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from gpu_setting import products

    def now():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = now()
    for tf32, expected in ((True, ("high", True)), (False, ("highest", False))):
        with pytest.raises(ZeroDivisionError), products(tf32):
            assert now() == expected
            _ = 1 / 0
        assert now() == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            ("--device", "cpu", "--budget", "0"),
            "budget: 0.0 is not allowed; use a finite number above 0",
        ),
        (("--device", "tpu"), "device: 'tpu' is not allowed; use cuda or cpu"),
        pytest.param(
            ("--toy",),
            "device: 'cuda' is not allowed; PyTorch sees no GPU here; use cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(options, error, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu

    assert gpu.main(list(options)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {error}") and printed.count("\n") == 1


LANGUAGE = """
import sys
import torch
from rnn_study.cells import CELLS, StableLSTM
class Greedy(StableLSTM):
    def scan(self, weights, x, state):
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().scan(weights, x, state)
CELLS["stable_lstm"] = Greedy()
import gpu_language
sys.exit(gpu_language.main(sys.argv[1:]))
"""


@pytest.fixture
def text(tmp_path):
    for split, words in grammar.texts().items():
        (tmp_path / f"{split}.txt").write_text(words[:60_000])
    return tmp_path


def test_the_paper_s_language_model_trains_with_the_core_alone(text):
    command = [sys.executable, "-c", LANGUAGE, "--data", str(text), "--json"]
    small = [
        "--device", "cpu", "--hidden", "8", "--seeds", "2", "--epochs", "2",
        "--cells", "lstm", "stable_lstm", "orthogonal",
    ]  # fmt: skip
    command += [str(text / "found.json"), *small]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1  # as one cell has no memory for two networks
    assert done.stderr.count("\n") == 1 and "out of memory with 2 networks" in done.stderr
    assert re.search("^stable_lstm +no epoch of all its", done.stdout, re.MULTILINE)
    found = json.loads((text / "found.json").read_text())["epochs"]
    assert found["stable_lstm"] == []
    for cell in ("lstm", "orthogonal"):
        first, last = found[cell]
        for seed in range(2):
            assert 1 < last["val_perplexity"][seed] < first["val_perplexity"][seed]
        best = "  ".join(f"{value:.1f}" for value in last["test_perplexity"])
        assert re.search(rf"^{cell} +2 +[\d.]+ +{re.escape(best)}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--json", "/nowhere/x.json"), "json: '/nowhere/x.json' is not allowed; it cannot be"),
        (("--tf32",), "tf32: True is not allowed; leave it out: it needs a GPU"),
        (("--cells", "gru"), "cells: 'gru' is not allowed"),
    ],
)
def test_a_language_model_is_refused_before_anything_trains(
    options, error, text, capsys, monkeypatch
):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_language

    assert gpu_language.main(["--device", "cpu", "--data", str(text), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {error}") and printed.count("\n") == 1


@pytest.mark.slow  # two whole studies
def test_a_study_shared_through_ray_comes_to_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/another.db")
    command = [sys.executable, str(SCRIPT.with_name("gpu_study.py")), "--device", "cpu", "--toy"]
    command += ["--pack-size", "1", "--shares", "1", "0.5", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone, shared = json.loads((tmp_path / "found.json").read_text())["rows"]
    for row, share in ((alone, 1.0), (shared, 0.5)):
        assert row["cpus_per_pack"] == share
        assert (row["trials"], row["failed"]) == (4, 0)
        assert row["updates"] == 4 * 2 * 2  # trials, epochs, batches of an epoch
        assert 0 < row["updates a second, in all"] < row["updates a second, packs training"]
    assert shared["largest difference of a last accuracy"] == 0
    assert not (tmp_path / "another.db").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--shares", "1", "4096"), "cpus_per_pack: '4096 cpu' is not allowed; a pack must fit"),
        (("--json", "/nowhere/x.json"), "json: '/nowhere/x.json' is not allowed; it cannot be"),
    ],
)
def test_a_shared_study_is_refused_before_anything_trains(options, error, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_study

    assert gpu_study.main(["--device", "cpu", "--toy", *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {error}") and printed.count("\n") == 1
