"""What a trial's id promises: its initial weights, its data and their order, written down once.

Where one of them changes, so do results: raise `NUMERICS`.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from small import PINNED, TRIAL
from texts import TRIAL as TEXT

from rnn_study.cells import CELLS
from rnn_study.tasks import TASKS
from rnn_study.training.data import PackData
from rnn_study.training.tied import network_of

WEIGHTS = {
    "lstm": {
        "w_x": (0.0158025, -0.047441, 0.0353079),
        "w_h": (-0.0305436, 0.0364867, 0.035355),
        "b_x": (0.038173, 0.0582282, 0.0360108),
        "b_h": (-0.0634047, -0.0209354, 0.0349237),
        "w_out": (0.0689087, 0.051493, 0.0343044),
        "b_out": (0.0335646, -0.0213979, 0.0285734),
        "embed": (-0.0692393, -0.035569, 0.0488015),
    },
    "stable_lstm": {
        "w_x": (0.02098, -0.014091, 0.0265502),
        "w_h": (-2.44718e-05, 0.00047812, 0.001305),
        "b_x": (-0.0581066, 0.00768187, 0.035732),
        "b_h": (-0.0354227, 0.0559147, 0.0355143),
        "w_out": (-0.0403343, 0.0266891, 0.0354475),
        "b_out": (-0.0393296, 0.00981488, 0.0403205),
        "embed": (0.0406185, -0.0616898, 0.0512889),
    },
    "stable_lstm_provable": {
        "w_x": (-0.0118844, -0.0294, 0.0353156),
        "w_h": (0.00249959, 0.000313344, 0.001305),
        "b_x": (-0.0430232, -0.00602306, 0.027107),
        "b_h": (-0.00373665, -0.0100977, 0.0254389),
        "w_out": (-0.0105045, -0.0488892, 0.0364911),
        "b_out": (0.0418694, 0.013127, 0.0322321),
        "embed": (-0.0593047, -0.0488759, 0.04996),
    },
    "orthogonal": {
        "w_x": (-0.734034, -0.292774, 0.452115),
        "skew": (-0.361067, 0, 0.00386308),
        "b": (-0.00163666, -0.00418611, 0.00504098),
        "w_out": (-0.0308354, 0.00368502, 0.0346943),
        "b_out": (-0.00326088, -0.0110749, 0.0213578),
        "embed": (0.0405595, 0.0872349, 0.0500534),
    },
}
"""Of each array the second entry, the last and the mean size: half the bound of uniform numbers,
0.8 standard deviations of normal ones. `embed` is that of a text's network, the others are of the
symbol task's."""


@pytest.mark.parametrize("name", CELLS)
def test_initial_weights_are_those_of_the_first_trials(name):
    assert name in WEIGHTS, "write down those of a new cell"
    trial, text = replace(PINNED, cell=name), replace(TEXT, cell=name)
    drawn = network_of(trial).init(trial) | {"embed": network_of(text).init(text)["embed"]}
    assert drawn.keys() == WEIGHTS[name].keys()
    for key, array in drawn.items():
        found = [array.flat[1], array.flat[-1], np.abs(array).mean(dtype=float)]
        np.testing.assert_allclose(found, WEIGHTS[name][key], rtol=1e-5, atol=1e-9, err_msg=key)


def test_data_are_those_of_the_first_trials():
    symbol = TASKS["symbol"].sequences(0, "train", 53, 14)
    known = "62d4f7a1514cd33ab8cd1a0251360a5a2f1f243acf2a6cbedfa51590b7feb45b"
    assert sha256(symbol.inputs.tobytes()).hexdigest() == known
    assert symbol.targets.tolist() == [3, 0, 3, 0, 2, 1, 1, 2, 2, 0, 2, 1, 0, 0]
    sine = TASKS["sine"].sequences(0, "train", 53, 14)
    np.testing.assert_allclose(sine.inputs[:3, 0], [0.368019, 0.3038207, 0.2762986], rtol=1e-6)
    np.testing.assert_allclose(sine.targets[-1, -2:], [-0.5822507, -0.2676514], rtol=1e-5)


def test_the_order_of_an_epoch_is_that_of_the_first_trials():
    trial = replace(TRIAL, seed=3)
    order = PackData([trial], "train", torch.device("cpu")).order([trial], np.array([2]))
    assert order.tolist() == [[7, 10, 8, 4, 3, 1, 2, 12, 0, 11, 13, 5, 6, 9]]
