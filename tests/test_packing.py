"""Packing is invisible: a trial alone has the history that it has in any pack.

On a CPU to the last bit; on a GPU to 1e-3 of every loss over the first epochs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest
import torch
from small import results, trials

from rnn_study.cells import CELLS
from rnn_study.config import Pack
from rnn_study.training import Checkpoints, train

EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
SHAPES = {
    "odd": {"hidden": 11, "batch": 7, "train_size": 14, "val_size": 10, "epochs": 2},
    "odder": {"hidden": 17, "batch": 13, "train_size": 26, "val_size": 19, "epochs": 2},
    "narrow": {"hidden": 3, "batch": 5, "train_size": 10, "val_size": 7, "epochs": 3},
    "single": {"hidden": 200, "batch": 1, "train_size": 2, "val_size": 1, "epochs": 1},
    "even": {"hidden": 32, "batch": 16, "train_size": 32, "val_size": 16, "epochs": 2},
}
"""Hidden sizes and batches that fill no vector register evenly, one that does, single sequences."""


def in_packs(members, size):
    """Every trial's result to the last bit, trained in packs of at most `size`."""
    packs = [members[start : start + size] for start in range(0, len(members), size)]
    return {trial: found.bits for pack in packs for trial, found in results(pack).items()}


@cache
def alone(members):
    return in_packs(members, 1)


@EVERY_CELL
@pytest.mark.parametrize("shape", SHAPES)
def test_a_trial_alone_has_the_history_that_it_has_in_a_pack(cell, shape):
    members = tuple(trials(16, cell=cell, **SHAPES[shape]))
    for size in (2, 7, 16):
        assert in_packs(members[:size], size) == {t: alone(members)[t] for t in members[:size]}


@EVERY_CELL
def test_a_trial_has_the_same_history_at_any_place_in_a_pack(cell):
    members = tuple(trials(7, cell=cell, batch_loss="sum", clip=0.01))
    assert in_packs(members[::-1], 7) == in_packs(members, 7) == alone(members)


@EVERY_CELL
def test_a_trial_has_the_same_history_when_others_solve_their_task(cell):
    changes = {"epochs": 6, "train_size": 14, "val_size": 1}  # one right answer is soon found
    members = tuple(replace(t, data_seed=t.seed) for t in trials(16, cell=cell, **changes))
    members = tuple(replace(t, learning_rate=10 * t.learning_rate) for t in members)
    found = alone(members)
    solved = [bits["status"] == "solved" for bits in found.values()]
    assert any(solved) and not all(solved)
    assert len({len(bits["epoch"]) for bits in found.values()}) > 2  # they leave one after another
    for size in (7, 16):
        assert in_packs(members, size) == found


@EVERY_CELL
def test_a_trial_has_the_same_history_when_others_diverge(cell):
    members = trials(7, cell=cell)
    for place, rate in ((0, 1e38), (3, 1e300), (5, 1e38)):
        members[place] = replace(members[place], learning_rate=rate)
    found = alone(tuple(members))
    status = [found[trial]["status"] for trial in members]
    assert [s == "diverged" for s in status] == [place in (0, 3, 5) for place in range(7)]
    for size in (2, 7):
        assert in_packs(members, size) == found


@EVERY_CELL
def test_a_trial_has_the_same_history_when_others_are_elsewhere_in_theirs(cell, tmp_path):
    members = tuple(trials(7, cell=cell, epochs=5, decay_epochs=(2, 4)))
    begun = {trial: place // 2 for place, trial in enumerate(members)}  # epochs; 0, 0, 1, 1, ..
    checkpoints = Checkpoints(tmp_path)
    for trial, epochs in begun.items():
        list(islice(train(Pack((trial,)), "cpu", checkpoints, 1e-9), epochs))
    for trial, rest in results(members, checkpoints).items():
        assert len(rest.history["epoch"]) == 5 - begun[trial]
        whole = alone(members)[trial]
        assert rest.status == whole["status"]
        for name in rest.history:
            assert rest.bits[name] == whole[name][8 * begun[trial] :], name


@EVERY_CELL
def test_a_trial_ends_with_the_same_parameters(cell, tmp_path):
    members = trials(7, cell=cell, val_size=2)
    together, apart = Checkpoints(tmp_path / "together"), Checkpoints(tmp_path / "apart")
    results(members, together)
    for trial in members:
        results([trial], apart)
        one, other = together.load(trial), apart.load(trial)
        assert (one.epoch, one.steps, one.status) == (other.epoch, other.steps, other.status)
        for name in one.params:
            assert one.params[name].tobytes() == other.params[name].tobytes()


@pytest.mark.parametrize("cell", ["lstm", "orthogonal"])
def test_a_trial_has_the_same_history_whatever_the_threads_that_torch_may_use(cell):
    members = tuple(trials(3, cell=cell, **SHAPES["even"]))
    expected = alone(members)
    torch.set_num_threads(2)
    assert in_packs(members, 1) == expected
    assert in_packs(members, 3) == expected


def test_members_do_differ():
    """Or else the tests above would say nothing."""
    losses = {bits["val_loss"] for bits in alone(tuple(trials(16, **SHAPES["odd"]))).values()}
    assert len(losses) == 16
    first, other_data = trials(1)[0], replace(trials(1)[0], data_seed=1)
    found = in_packs([first, other_data], 2)
    assert found[first]["train_loss"] != found[other_data]["train_loss"]


@pytest.mark.gpu
@EVERY_CELL
@pytest.mark.parametrize("shape", SHAPES)
def test_packing_is_invisible_on_a_gpu_within_tolerance(cell, shape):
    members = trials(16, cell=cell, **SHAPES[shape])
    members[3] = replace(members[3], learning_rate=1e300)
    packed, on_cpu = results(members, device="cuda"), results(members)
    for trial in members:
        (single,) = results([trial], device="cuda").values()
        assert single.status == packed[trial].status == on_cpu[trial].status
        for name in ("train_loss", "val_loss", "gradient_norm"):
            ours, theirs = packed[trial].history[name], single.history[name]
            np.testing.assert_allclose(ours, theirs, rtol=1e-3)
            np.testing.assert_allclose(ours[0], on_cpu[trial].history[name][0], rtol=1e-2)
