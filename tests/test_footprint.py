"""What a member needs in memory: as foretold, of the real allocator."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from small import TRIAL
from texts import TRIAL as TEXT

from rnn_study.cells import CELLS
from rnn_study.cells.cell import Cell, uniform
from rnn_study.cells.scratch import release
from rnn_study.config import Pack
from rnn_study.kernels import in_place
from rnn_study.training import bytes_per_member, footprint, train
from rnn_study.training.tied import TiedNetwork

SHAPE = replace(TRIAL, hidden=40, batch=20, train_size=40, val_size=40)


def allocated(pack: list, corpora: Path | None = None) -> int:
    """The most bytes that torch's allocator holds at once during the first epoch of `pack`."""
    epochs = train(Pack(tuple(pack)), corpora=corpora)
    release()  # or else memory of earlier tests would serve
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        next(epochs)
    events = [e for e in profile.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("task", ["symbol", "sine"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_pack_allocates_what_its_members_need_and_at_most_a_sixth_less(cell, task):
    trial = replace(SHAPE, cell=cell, task=task, length=97)
    pack = [replace(trial, seed=s, data_seed=s) for s in range(3)]
    foretold = len(pack) * bytes_per_member(trial)
    assert 5 / 6 * foretold <= allocated(pack) <= foretold


@pytest.mark.parametrize("cell", CELLS)
def test_so_does_a_pack_that_reads_a_text(cell, corpora):
    """The softmax works on one member after another, so the bound is not as near."""
    trial = replace(TEXT, cell=cell, hidden=40, batch=20, length=97, train_size=8000)
    pack = [replace(trial, seed=s) for s in range(3)]
    foretold = len(pack) * bytes_per_member(trial)
    assert 0.6 * foretold <= allocated(pack, corpora) <= foretold


def turned(outputs, targets, kept):
    """As the kernel of `kernels.cross_entropy`, by torch's operations."""
    outputs -= outputs.amax(1, keepdim=True)
    chosen = outputs.gather(1, targets[:, None])
    total = outputs.exp_().sum(1, keepdim=True)
    if kept:
        outputs /= total
        outputs[torch.arange(len(targets)), targets] -= 1
        outputs /= len(targets)
    return (total.log() - chosen)[:, 0]


def test_on_a_gpu_the_members_share_the_outputs_of_a_language_model(corpora, monkeypatch):
    trial = replace(TEXT, cell="orthogonal", hidden=3, batch=20, length=97, train_size=8000)
    trial = replace(trial, vocabulary=1000)
    outputs = 4 * trial.batch * trial.length * trial.vocabulary
    found = footprint(trial, "cuda")
    assert 0.9 * outputs < found.shared < 1.1 * outputs and found.step < 0.2 * outputs
    loss = partial(in_place.linear_cross_entropy, turn=turned)
    monkeypatch.setattr(TiedNetwork, "loss", staticmethod(loss))
    for size in (1, 3):
        pack = [replace(trial, seed=s) for s in range(size)]
        assert 0.8 * found.of_pack(size) <= allocated(pack, corpora) <= found.of_pack(size)
    three = float(found.of_pack(3))
    assert found.members(three) == 3 and found.members(three - 1) == 2
    assert found.members(0.5 * outputs) == 0


class Plain(Cell):
    """Has no kernels."""

    gates = 3

    def init(self, rng, inputs, hidden):
        return {"w": uniform(rng, 0.1, inputs, hidden), "u": uniform(rng, 0.1, hidden, hidden)}

    def step(self, weights, x, state):
        return torch.tanh(x @ weights["w"] + state @ weights["u"])


def test_a_cell_without_kernels_needs_on_a_gpu_what_torch_s_operations_do(monkeypatch):
    monkeypatch.setitem(CELLS, "plain", Plain())
    trial = replace(SHAPE, cell="plain")
    assert footprint(trial, "cuda") == footprint(trial)


def test_on_a_gpu_it_is_what_was_measured_there():
    """`benchmarks/results/gpu.json`: megabytes a member of packs of 64 on an H200."""
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "gpu.json"
    numbers = json.loads(results.read_text())["numbers"]
    shape = replace(SHAPE, hidden=200, length=100, batch=100, train_size=500, val_size=50)
    for cell in ("lstm", "orthogonal"):
        foretold = bytes_per_member(replace(shape, cell=cell), "cuda")
        assert 0.95 <= 1e6 * numbers[f"{cell}: memory taken"] / foretold <= 1
        assert bytes_per_member(replace(shape, cell=cell)) < foretold


def test_seeds_and_rates_need_nothing_of_their_own():
    other = replace(SHAPE, seed=8, data_seed=9, learning_rate=1.0)
    assert footprint(other) is footprint(SHAPE)


@pytest.mark.parametrize("name", ["hidden", "batch", "length", "train_size"])
def test_what_is_larger_needs_more(name):
    larger = replace(SHAPE, **{name: 2 * getattr(SHAPE, name)})
    assert bytes_per_member(larger) > bytes_per_member(SHAPE)


def test_activations_grow_with_the_length_alone():
    one, three = (footprint(replace(SHAPE, length=length)) for length in (100, 300))
    assert three.state == one.state
    assert three.step == pytest.approx(3 * one.step, rel=0.1)
