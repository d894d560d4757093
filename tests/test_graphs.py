"""A replayed step equals the plain one: on a CPU to the last bit, on a GPU to rounding."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from small import results, trials
from texts import pack_of

from rnn_study.cells import CELLS
from rnn_study.config import Pack
from rnn_study.training import Checkpoints, reading, train
from rnn_study.training.epochs import Eager, means_of
from rnn_study.training.graphs import Pool, Replay
from rnn_study.training.members import Members
from rnn_study.training.reading import Reading, beginning, texts_of
from rnn_study.training.replayed_reading import ReplayedReading
from rnn_study.training.step import evaluate, update_


def bits(found):
    return {trial: result.bits for trial, result in found.items()}


@pytest.mark.parametrize("task", ["symbol", "sine"])
@pytest.mark.parametrize("cell", CELLS)
def test_replayed_batches_train_as_plain_ones_do(tmp_path, cell, task):
    pack = trials(3, cell=cell, task=task)
    plain, replayed = Checkpoints(tmp_path / "plain"), Checkpoints(tmp_path / "replayed")
    assert bits(results(pack, plain)) == bits(results(pack, replayed, runner=Replay))
    for trial in pack:
        one, other = plain.load(trial), replayed.load(trial)
        assert one.steps == other.steps
        for name, array in one.params.items():
            assert array.tobytes() == other.params[name].tobytes()


@pytest.mark.parametrize("changes", [{"val_size": 5}, {"val_size": 14}, {"train_size": 7}])
def test_whatever_the_rest_of_the_validation_data(changes):
    """Smaller than a batch, whole batches alone; and one batch of training data."""
    pack = trials(2, **changes)
    assert bits(results(pack)) == bits(results(pack, runner=Replay))


@pytest.mark.parametrize("cell", CELLS)
def test_replayed_segments_train_as_plain_ones_do(tmp_path, cell, corpora):
    pack = pack_of(3, cell=cell)
    plain, replayed = Checkpoints(tmp_path / "plain"), Checkpoints(tmp_path / "replayed")
    found = results(pack, plain, runner=Reading, corpora=corpora)
    assert bits(found) == bits(results(pack, replayed, runner=ReplayedReading, corpora=corpora))
    for trial in pack:
        one, other = plain.load(trial), replayed.load(trial)
        assert one.steps == other.steps
        for group in ("params", "first", "second"):
            for name, array in getattr(one, group).items():
                assert array.tobytes() == getattr(other, group)[name].tobytes()


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.0}, {"length": 300}, {"length": 1}, {"val_size": 45}, {"train_size": 87}],
)
def test_whatever_the_segments(changes, corpora):
    """One for the whole text; of one word; and texts with and without a shorter one at the end."""
    pack = pack_of(2, **changes)
    plain = bits(results(pack, runner=Reading, corpora=corpora))
    assert plain == bits(results(pack, runner=ReplayedReading, corpora=corpora))


def test_readers_that_leave_are_captured_out(corpora):
    pack = pack_of(3, epochs=4)
    pack[1] = replace(pack[1], learning_rate=1e38)  # it diverges at once
    runner = ReplayedReading()
    found = results(pack, runner=lambda: runner, corpora=corpora)
    assert bits(found) == bits(results(pack, runner=Reading, corpora=corpora))
    assert [found[trial].status for trial in pack] == ["unsolved", "diverged", "unsolved"]
    assert runner.captures == 2


def test_members_that_leave_are_captured_out_when_half_are_gone():
    pack = trials(32, epochs=4, train_size=14, val_size=1)[10:]  # of which many solve it at once
    pack = [replace(t, data_seed=t.seed, learning_rate=10 * t.learning_rate) for t in pack]
    runner = Replay()
    found = results(pack, runner=lambda: runner)
    assert bits(found) == bits(results(pack))
    lasted = [len(result.history["epoch"]) for result in found.values()]
    assert len(set(lasted)) > 2  # they leave one after another
    size, captures = 2 * len(pack), 0
    for epoch in range(1, 5):
        members = sum(last >= epoch for last in lasted)
        if 2 * members <= size:
            size, captures = members, captures + 1
    assert runner.captures == captures == 2


@pytest.mark.parametrize("of_text", [False, True])
def test_one_that_diverges_while_its_pack_is_captured_leaves_alone(tmp_path, corpora, of_text):
    runners = (Reading, ReplayedReading) if of_text else (Eager, Replay)
    if of_text:
        pack = pack_of(3, hidden=20, length=200, train_size=1000, dropout=0.0)
    else:
        pack = trials(3, hidden=20, length=200, train_size=14, val_size=7)
    found = []
    for runner in runners:
        store = Checkpoints(tmp_path / runner.__name__)
        members = Members.start(Pack(tuple(pack)), torch.device("cpu"), corpora=corpora)
        members.network.views(members.flat)["w_h"][1] *= 60  # chaos: its gradient is infinite
        members.epochs += 1
        members.save(store, ("training",) * 3, np.ones(3, bool))
        found.append(results(pack, store, runner=runner, corpora=corpora))
    assert bits(found[0]) == bits(found[1])
    ends = [found[0][trial].status for trial in pack]
    assert ends[1] == "diverged" and "diverged" not in (ends[0], ends[2])


def test_members_that_resume_go_on_at_their_own_step(tmp_path):
    pack = trials(3, epochs=4)
    whole = results(pack, runner=Replay)
    checkpoints = Checkpoints(tmp_path)
    results([replace(pack[0])], checkpoints, runner=Replay, epochs=2)
    rest = results(pack, checkpoints, runner=Replay)
    assert len(rest[pack[0]].history["epoch"]) == 2
    for trial in pack:
        past = whole[trial].history["val_loss"]
        now = rest[trial].history["val_loss"]
        assert now.tobytes() == past[-len(now) :].tobytes()


def test_a_graph_that_does_something_else_is_refused(monkeypatch, corpora):
    def other(body, device, pool):
        return lambda: None  # which leaves the sums at zero

    monkeypatch.setattr("rnn_study.training.graphs.capture", other)
    with pytest.raises(RuntimeError, match="a replayed CUDA graph gives another"):
        results(trials(2), runner=Replay)
    with pytest.raises(RuntimeError, match="a replayed CUDA graph gives another"):
        results(pack_of(2), runner=ReplayedReading, corpora=corpora)


def test_no_graph_goes_into_a_pool_that_has_lost_all_of_its_own(monkeypatch):
    """torch aborts on it while something in there is alive, as the workspace of cuBLAS is."""
    handles, used = count(), []

    class Graph:
        def replay(self):
            pass

    @contextmanager
    def graph(made, pool):
        used.append(pool)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, next(handles)))
    pool = Pool()
    one, other = pool.capture(lambda: None), pool.capture(lambda: None)
    del one
    one = pool.capture(lambda: None)
    assert used == [(0, 0)] * 3
    del one, other
    one = pool.capture(lambda: None)
    pool.capture(lambda: None)
    assert used[3:] == [(0, 1)] * 2
    del one


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_reads_no_value_on_the_host(cell):
    """Tensors on the `meta` device have none to read: it would raise."""
    members = Members.start(Pack(tuple(trials(2, cell=cell))), torch.device("meta"))
    network, trial, adam = members.network, members.trials[0], members.adam
    (correction,) = adam.corrections(members.rates(), 1)
    x, targets = members.training.chosen(torch.empty(2, 7, dtype=torch.int64, device="meta"))
    sums = update_(network, trial, members.flat, adam, correction, x, targets)
    sums |= {f"val_{k}": v for k, v in evaluate(network, members.flat, x, targets).items()}
    assert {value.shape for value in sums.values()} == {(2,)}
    with pytest.raises(NotImplementedError, match="meta tensor"):
        means_of(trial, sums, sums)


@pytest.mark.parametrize("cell", CELLS)
def test_a_segment_reads_no_value_on_the_host(cell, corpora):
    pack = Pack(tuple(pack_of(2, cell=cell)))
    members = Members.start(pack, torch.device("meta"), corpora=corpora)
    network, text, val, _ = texts_of(members)
    (correction,) = members.adam.corrections(members.rates(), 1)
    keys = torch.zeros(2, dtype=torch.int64, device="meta")
    state = beginning(members).values["state"]
    trial, flat = members.trials[0], members.flat
    found, state = reading.update_(
        network, trial, flat, members.adam, correction, text[0], state, keys
    )
    total = reading.evaluate(network, flat, val)
    assert {value.shape for value in (*found.values(), total)} == {(2,)}


@pytest.mark.gpu
@pytest.mark.parametrize("cell", CELLS)
def test_graphs_of_a_text_on_a_gpu_train_as_plain_segments_do(cell, corpora):
    pack = pack_of(3, cell=cell, hidden=32, batch=20, length=53, train_size=8000)
    plain = results(pack, device="cuda", runner=Reading, corpora=corpora)
    graphs = results(pack, device="cuda", runner=ReplayedReading, corpora=corpora)
    for trial in pack:
        for name, values in plain[trial].history.items():
            np.testing.assert_allclose(graphs[trial].history[name], values, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("cell", CELLS)
def test_graphs_on_a_gpu_train_as_plain_batches_do(cell):
    pack = trials(5, cell=cell, hidden=32, epochs=3)
    plain = results(pack, device="cuda", runner=Eager)
    graphs = results(pack, device="cuda", runner=Replay)
    for trial in pack:
        for name, values in plain[trial].history.items():
            np.testing.assert_allclose(graphs[trial].history[name], values, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_left_is_captured_anew_on_a_gpu(cell, others):
    """Into a pool that has lost all of its graphs, and into one where another pack's are left."""
    pack = trials(6, cell=cell, hidden=32, epochs=3)
    pack = [replace(t, learning_rate=1e38) if s % 2 else t for s, t in enumerate(pack)]
    pool = Pool()
    another = train(Pack((pack[0], pack[2])), "cuda", runner=partial(Replay, pool))
    if others:
        next(another)
    runner = Replay(pool)
    plain = results(pack, device="cuda", runner=Eager)
    graphs = results(pack, device="cuda", runner=lambda: runner)
    assert runner.captures == 2
    for trial in pack:
        assert graphs[trial].status == plain[trial].status
        for name, values in plain[trial].history.items():
            np.testing.assert_allclose(graphs[trial].history[name], values, rtol=1e-3, atol=1e-5)
    if others:  # they replay the graphs of their first epoch
        for epoch in another:
            for trial, loss in zip(epoch.trials, epoch.metrics["train_loss"], strict=True):
                past = plain[trial].history["train_loss"]
                assert loss == pytest.approx(past[epoch.number[0] - 1], rel=1e-3)


@pytest.mark.gpu
def test_the_readers_that_are_left_are_captured_anew_on_a_gpu(corpora):
    pack = pack_of(3, hidden=32, batch=20, length=53, train_size=8000, epochs=3)
    pack[1] = replace(pack[1], learning_rate=1e38)  # it diverges at once
    plain = results(pack, device="cuda", runner=Reading, corpora=corpora)
    runner = ReplayedReading()
    graphs = results(pack, device="cuda", runner=lambda: runner, corpora=corpora)
    assert runner.captures == 2
    for trial in pack:
        for name, values in plain[trial].history.items():
            np.testing.assert_allclose(graphs[trial].history[name], values, rtol=1e-3, atol=1e-5)
