"""`Members`: what is remembered of the epochs before, at a cost that does not grow with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import TRIAL, trials

from rnn_study.config import Pack
from rnn_study.training import Checkpoints
from rnn_study.training.members import Members


@pytest.fixture
def members():
    return Members.start(Pack(tuple(trials(2))), torch.device("cpu"))


def record(members, *losses):
    members.epochs = members.epochs + 1
    members.record({"val_loss": np.array(losses)})


def test_an_epoch_is_added_in_place(members):
    record(members, 1.0, 2.0)
    held = members.histories[0]["val_loss"]
    record(members, 3.0, 4.0)
    assert members.histories[0]["val_loss"] is held
    assert held.tolist() == [1.0, 3.0]
    assert members.histories[1]["epoch"].tolist() == [1, 2]


def test_rates_fall_on_the_plateaus_of_each_alone_also_of_those_that_go_on():
    trials = [replace(TRIAL, seed=seed, patience=1, decay=0.5) for seed in range(2)]
    members = Members.start(Pack(tuple(trials)), torch.device("cpu"))
    first = TRIAL.learning_rate
    record(members, 1.0, 1.0)
    record(members, 2.0, 0.5)
    assert members.rates().tolist() == [first, first]
    assert members.rates(np.array([2.0, 2.0])).tolist() == [first / 2, first]  # not recorded
    assert members.rates().tolist() == [first, first]
    left = members.keep(np.array([True, False]))
    record(left, 2.0)
    assert left.rates().tolist() == [first / 2]


def test_those_that_go_on_leave_the_histories_of_all_alone(members):
    record(members, 1.0, 2.0)
    rest = members.keep(np.array([False, True]))
    record(rest, 3.0)
    assert rest.histories[0]["val_loss"].tolist() == [2.0, 3.0]
    assert members.histories[1]["val_loss"].tolist() == [2.0]


def test_histories_are_saved_and_resumed_to_the_last_bit(members, tmp_path):
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(
        np.float64
    )  # two kinds of NaN
    store = Checkpoints(tmp_path)
    for losses in (odd, np.array([np.inf, -0.0]), np.array([5e-324, 1 / 3])):
        record(members, *losses)
        members.save(store, ("training",) * 2, np.ones(2, bool))
        members = Members.start(Pack(members.trials), torch.device("cpu"), store)
    expected = np.array([odd, [np.inf, -0.0], [5e-324, 1 / 3]])
    for s, trial in enumerate(members.trials):
        history = store.load(trial).history
        assert history["val_loss"].tobytes() == expected[:, s].tobytes()
        assert history["epoch"].dtype == np.int64 and history["epoch"].tolist() == [1, 2, 3]
