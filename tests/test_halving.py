"""A pack for which there is no memory halves itself and goes on; nothing is lost."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from small import results, trials

from rnn_study.cells import CELLS, LSTM
from rnn_study.config import Pack
from rnn_study.training import Checkpoints, graphs
from rnn_study.training.adam import Adam
from rnn_study.training.graphs import Replay
from rnn_study.training.halving import is_out_of_memory
from rnn_study.training.watch import Watch
from rnn_study.worker import train_pack


class Greedy(LSTM):
    """Raises what CUDA's allocator raises, as if three networks or more did not fit."""

    fits = 2
    scans = 0
    error: type[Exception] = torch.OutOfMemoryError

    def scan(self, weights, x, state):
        self.scans += 1
        if len(x) > self.fits:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB\nmore lines")
        return super().scan(weights, x, state)


@pytest.fixture
def greedy(monkeypatch):
    cell = Greedy()
    monkeypatch.setitem(CELLS, "lstm", cell)
    return cell


def bits(found):
    return {trial: result.bits for trial, result in found.items()}


@pytest.mark.parametrize("runner", [None, Replay])
def test_a_pack_that_does_not_fit_trains_in_parts_to_the_same_results(greedy, caplog, runner):
    pack = trials(7)
    with caplog.at_level(logging.WARNING):
        found = results(pack, runner=runner)
    assert bits(found) == bits({t: r for t in pack for t, r in results([t]).items()})
    assert [line.partition(" (")[0] for line in caplog.messages] == [
        "out of memory with 7 networks together",
        "out of memory with 4 networks together",
        "out of memory with 3 networks together",
    ]
    assert caplog.messages[0].endswith("2.00 GiB); going on with 4 and 3 by turns")


def test_networks_that_cannot_be_looked_at_together_are_looked_at_in_parts(monkeypatch):
    pack, fits = trials(3, epochs=1, dynamics_every=1, hidden=5), 1
    expected, look = bits(results(pack)), Watch.look

    def failing(watch, trials, flat):
        if len(trials) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return look(watch, trials, flat)

    monkeypatch.setattr(Watch, "look", failing)
    assert bits(results(pack)) == expected
    fits = 0
    with pytest.raises(torch.OutOfMemoryError):
        results(pack)


def test_memory_that_runs_out_within_an_epoch_takes_nothing_back(greedy, tmp_path):
    """The second batch of the second epoch fails; the first has already been trained on."""
    pack = trials(2)
    expected = bits(results(pack))
    batches = greedy.scans // pack[0].epochs
    greedy.scans = 0

    class Failing(Greedy):
        def scan(self, weights, x, state):
            if self.scans == batches + 1 and len(x) == 2:
                self.scans += 1
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().scan(weights, x, state)

    CELLS["lstm"] = Failing()  # the fixture puts the real one back
    checkpoints = Checkpoints(tmp_path)
    found = results(pack, checkpoints)
    assert bits(found) == expected
    for trial in pack:
        assert checkpoints.load(trial).epoch == trial.epochs
        assert checkpoints.load(trial).finished


def test_memory_that_runs_out_after_the_replay_of_an_epoch_takes_nothing_back(monkeypatch):
    """When its results are copied from the memory of the graphs."""
    pack = trials(2)
    expected = bits(results(pack, runner=Replay))
    left = iter((True, False))

    def failing(first, second, steps):
        if not next(left, True):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Adam(first, second, steps)

    monkeypatch.setattr(graphs, "Adam", failing)  # stands for the copies that it is made of
    assert bits(results(pack, runner=Replay)) == expected


@pytest.mark.usefixtures("unchecked")
def test_a_worker_loses_no_trial(greedy, tmp_path):
    """Every trial is reported as it would have been, and finished in its checkpoint."""
    pack = Pack(tuple(trials(5)))
    config = {
        "pack": pack.to_json(),
        "rule": "",
        "device": "cpu",
        "checkpoints": str(tmp_path),
        "checkpoint_seconds": 30.0,
        "cuda_graphs": "on",
        "corpora": str(tmp_path),
        "ray_node": "4711",
    }
    messages = [result["message"] for result in train_pack(config)]
    assert {i: status for m in messages for i, status in m.finished.items()} == {
        trial.id: "unsolved" for trial in pack.trials
    }
    for trial in pack.trials:
        epochs = [m.histories[trial.id]["epoch"] for m in messages if trial.id in m.histories]
        assert np.concatenate(epochs).tolist() == [1, 2, 3]
        assert Checkpoints(tmp_path).load(trial).finished


def test_a_network_that_does_not_fit_alone_is_an_error(greedy):
    greedy.fits = 0
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        results(trials(3))


def test_another_error_halves_nothing(greedy):
    greedy.error = ValueError
    with pytest.raises(ValueError, match="CUDA"):
        results(trials(3))
    greedy.error = RuntimeError
    greedy.fits = 0
    with pytest.raises(RuntimeError):
        results(trials(1))


def test_out_of_memory_is_known_from_below_other_errors():
    try:
        try:
            raise torch.OutOfMemoryError("no")
        except RuntimeError:
            raise RuntimeError("capture failed") from None
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("capture failed"))
    assert is_out_of_memory(MemoryError())
    for status in ("NOT_INITIALIZED", "ALLOC_FAILED"):
        handle = f"CUDA error: CUBLAS_STATUS_{status} when calling `cublasCreate(handle)`"
        assert is_out_of_memory(RuntimeError(handle))


LIMITED = """
import resource, sys, torch
sys.path.insert(0, "tests")
from small import results, trials
from rnn_study.training import bytes_per_member
torch.set_num_threads(1)
pack = trials(8, length=300, hidden=64, batch=100, train_size=100, val_size=10, epochs=1)
need = bytes_per_member(pack[0])
results(pack[:1])  # what torch needs for itself
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(1.5 * need)  # and what the scans of one keep
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = results(pack)
print(len(found), {len(result.history["epoch"]) for result in found.values()})
"""


def test_when_the_system_really_has_no_more_memory_a_pack_halves_itself():
    process = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)
    assert process.stdout.split(maxsplit=1) == ["8", "{1}\n"], process.stderr
    assert "out of memory with 8 networks together" in process.stderr
    assert "out of memory with 4 networks together" in process.stderr
