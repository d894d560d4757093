"""`Members`: what is remembered of the epochs before, at a cost that does not grow with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import trials

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


def test_losses_are_read_for_a_rate_only_where_it_may_fall_on_plateaus(members):
    members.histories = [{"val_loss": None}] * 2  # reading them would fail
    assert members.rates(np.ones(2)).tolist() == [t.learning_rate for t in members.trials]


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
