"""Checkpoints: training goes on from them bit by bit, also where two studies write the same."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import safetensors.numpy
from saved import EVERY, folder_of, same, state_of, train_for, with_two
from small import TRIAL, results, trials

from rnn_study.cells import CELLS
from rnn_study.config import Pack
from rnn_study.training import Checkpoints, files, train


def ends(members, checkpoints):
    """What is known of each finished trial, to the last bit."""
    found = {}
    for trial in members:
        state = checkpoints.load(trial)
        assert state.finished
        history = {k: v.tobytes() for k, v in state.history.items() if k != "seconds"}
        params = {k: v.tobytes() for k, v in state.params.items()}
        assert not state.best  # the task has no test data, and no table of its best epoch
        found[trial] = (state.epoch, state.status, state.steps, history, params)
    return found


@pytest.fixture
def store(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


@pytest.fixture
def two(tmp_path):
    return with_two(tmp_path / "checkpoints")


@pytest.mark.parametrize("cell", CELLS)
def test_training_cut_off_at_any_epoch_and_packed_anew_ends_bit_by_bit_the_same(tmp_path, cell):
    members = trials(5, cell=cell, epochs=6, decay_epochs=(2, 4), val_size=2)
    members[3] = replace(members[3], learning_rate=1e30 if cell == "orthogonal" else 1e38)
    undisturbed, cut = Checkpoints(tmp_path / "undisturbed"), Checkpoints(tmp_path / "cut")
    results(members, undisturbed)
    rng = np.random.default_rng(1)
    while rest := [t for t in members if not ((state := cut.load(t)) and state.finished)]:
        rng.shuffle(rest)
        at = int(rng.integers(1, len(rest) + 1))
        for part in (rest[:at], rest[at:]):
            if part:
                train_for(int(rng.integers(0, 4)), part, cut)
    assert ends(members, cut) == ends(members, undisturbed)


def test_epochs_that_were_not_saved_are_trained_again_to_the_same_end(tmp_path):
    undisturbed, cut = Checkpoints(tmp_path / "undisturbed"), Checkpoints(tmp_path / "cut")
    members = trials(2, epochs=4)
    results(members, undisturbed)
    train_for(2, members, cut)
    train_for(1, members, cut, seconds=1e9)
    assert [cut.load(trial).epoch for trial in members] == [2, 2]
    results(members, cut)
    assert ends(members, cut) == ends(members, undisturbed)


def test_checkpoints_are_the_seconds_apart(store, monkeypatch):
    """Epochs that last a second each, and a checkpoint where 2.5 have gone since the last."""
    real, epochs, saved = time.monotonic, 0, []
    monkeypatch.setattr(time, "monotonic", lambda: real() + epochs)
    for epoch in train(Pack((replace(TRIAL, epochs=9),)), "cpu", store, 2.5):
        state = store.load(epoch.trials[0])
        saved.append(state.epoch if state else 0)
        epochs += 1
    assert saved == [0, 0, 0, 4, 4, 4, 7, 7, 9]


def test_a_member_that_leaves_is_saved_at_once(store):
    members = [TRIAL, replace(TRIAL, learning_rate=1e38)]
    train_for(1, members, store, seconds=1e9)
    assert store.load(members[0]) is None
    assert store.load(members[1]).status == "diverged"


def test_an_epoch_is_saved_before_it_is_yielded(store):
    for epoch in train(Pack((TRIAL,)), "cpu", store, EVERY):
        assert store.load(TRIAL).epoch == epoch.number[0]
        assert store.load(TRIAL).status == epoch.status[0]


def test_finished_trials_are_not_trained_again(store):
    members = trials(4)
    results(members[:2], store)
    assert set(results(members, store)) == set(members[2:])
    assert results(members, store) == {}


def test_a_checkpoint_is_read_as_it_was_written(store):
    store.save(TRIAL, state_of(3))
    assert same(store.load(TRIAL), state_of(3))
    done = replace(state_of(4, "solved"), first={}, second={})
    store.save(TRIAL, done)
    assert same(store.load(TRIAL), done)
    assert store.load(TRIAL).finished and not state_of(3).finished
    assert store.load(replace(TRIAL, seed=1)) is None


def test_the_newest_two_are_kept(store):
    for epoch in (1, 2, 9, 10, 11):
        store.save(TRIAL, state_of(epoch))
    names = sorted(path.name for path in folder_of(store).iterdir())
    assert names == [f"epoch-{e:08d}.{kind}" for e in (10, 11) for kind in ("json", "safetensors")]


def test_a_study_that_is_behind_leaves_what_another_has_saved_of_the_same_trial(store):
    behind = train(Pack((TRIAL,)), "cpu", store, 1e-9)
    next(behind)
    results([TRIAL], store)  # the other one goes on from there to the end
    ended = store.load(TRIAL)
    next(behind)
    assert store.load(TRIAL).finished
    assert [*behind][-1].number.item() == ended.epoch
    again = store.load(TRIAL)
    assert again.finished and again.history["val_loss"].tobytes() == (
        ended.history["val_loss"].tobytes()
    )


@pytest.mark.parametrize("epoch", [3, 7])
@pytest.mark.parametrize("call", range(4))
def test_another_study_may_save_the_same_trial_at_any_moment(store, monkeypatch, epoch, call):
    """It may be ahead or not, and have the same process id, in another container."""
    fsync, calls = os.fsync, count()

    def interrupted(file):
        fsync(file)
        if next(calls) == call:
            store.save(TRIAL, state_of(epoch, value=epoch))

    monkeypatch.setattr(files.os, "fsync", interrupted)  # a draft is written, but has its name yet
    store.save(TRIAL, state_of(3, value=3))
    assert next(calls) > 4  # both have saved
    assert same(store.load(TRIAL), state_of(epoch, value=epoch))
    assert not [*folder_of(store).glob(".*")]


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_another_study_that_is_behind_leaves_what_is_being_saved(store, monkeypatch, kind):
    write = files.write_atomically

    def interrupted(path, data):
        if path.name == f"epoch-00000009.{kind}":
            store.save(TRIAL, state_of(7))
        write(path, data)

    monkeypatch.setattr(files, "write_atomically", interrupted)
    store.save(TRIAL, state_of(9))
    assert same(store.load(TRIAL), state_of(9))


def test_drafts_of_the_dead_are_deleted(two):
    young, old = (folder_of(two) / f".epoch-00000009.json.{name}" for name in ("young", "old"))
    for draft in (young, old):
        draft.write_bytes(b"{")
    os.utime(old, (0, time.time() - files.ABANDONED - 1))
    two.save(TRIAL, state_of(10))
    assert young.exists() and not old.exists()


def test_no_pickle_is_written(store):
    results([TRIAL], store)
    for path in folder_of(store).iterdir():
        if path.suffix == ".json":
            about = json.loads(path.read_text())
            assert about["id"] == TRIAL.id and about["trial"]["cell"] == "lstm"
        else:
            assert path.suffix == ".safetensors"
            arrays = safetensors.numpy.load(path.read_bytes())
            assert all(array.dtype != object for array in arrays.values())
