"""The sine task: known waves, a loss by hand, and the read-out at every step in training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from plain import PlainCell, PlainLSTM, PlainStableLSTM, plain_training, square_error
from scipy import stats
from small import TRIAL, normal, results, trials

from rnn_study.cells import CELLS
from rnn_study.config import Pack
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS
from rnn_study.training import Checkpoints, Network, train

SINE = TASKS["sine"]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("length", [32, 97, 400])
def test_a_target_is_the_wave_of_the_frequency_that_is_the_constant_input(split, length):
    drawn = SINE.sequences(7, split, length, 23)
    assert drawn.inputs.dtype == drawn.targets.dtype == np.float32
    assert (drawn.inputs == drawn.inputs[:, :1]).all()
    for w, wave in zip(drawn.inputs[:, 0].astype(float), drawn.targets, strict=True):
        expected = [0.0, np.sin(w)]  # and on by the recurrence of a wave, without the sine
        while len(expected) <= length:
            expected.append(2 * np.cos(w) * expected[-1] - expected[-2])
        np.testing.assert_allclose(wave, expected[1:], atol=1e-4)


def test_frequencies_are_uniform_in_the_band_and_others_in_validation():
    train, validation = (
        SINE.sequences(3, split, 32, 5000).inputs[:, 0] for split in ("train", "validation")
    )
    for drawn in (train, validation):
        assert np.pi / 16 <= drawn.min() and drawn.max() <= np.pi / 8
        assert stats.kstest(drawn, stats.uniform(np.pi / 16, np.pi / 16).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(train, validation)[0, 1]) < 0.06


def test_the_shortest_sequence_holds_a_period_of_the_slowest_wave():
    assert SINE.min_length * SINE.band[0] >= 2 * np.pi > (SINE.min_length - 1) * SINE.band[0]
    with pytest.raises(InvalidInput, match=r"length: 31 .*sine task needs at least 32"):
        replace(TRIAL, task="sine", length=31)


def test_the_loss_is_the_mean_square_over_all_steps():
    outputs = torch.tensor([[[[1.0], [0.0], [3.0]], [[0.5], [0.5], [0.5]]]])  # (1, 2, 3, 1)
    targets = torch.tensor([[[0.0, 2.0, 3.0], [0.5, 0.5, 1.0]]])
    torch.testing.assert_close(SINE.loss(outputs, targets), torch.tensor([[5 / 3, 0.25 / 3]]))


def test_always_answering_zero_is_the_baseline_and_nothing_solves_it():
    targets = torch.from_numpy(SINE.sequences(0, "train", 400, 100).targets)[None]
    error = SINE.loss(torch.zeros(*targets.shape, 1), targets)
    assert abs(float(error.mean()) - SINE.metric.baseline) < 0.005
    assert not SINE.metric.solved(np.array([0.0, -1.0, np.nan])).any()


@EVERY_CELL
def test_the_read_out_at_a_step_has_seen_the_steps_up_to_it(cell):
    trial = replace(TRIAL, task="sine", cell=cell)
    network = Network(trial)
    params = network.views(network.flatten([network.init(replace(trial, seed=s)) for s in (0, 1)]))
    x = normal(2, 13, 3, 1).requires_grad_()
    outputs = network.outputs(params, x)
    assert outputs.shape == (2, 3, 13, 1)
    (slope,) = torch.autograd.grad(outputs[1, 2, 5, 0], x)
    assert slope[1, :6, 2].all() and slope.count_nonzero() == 6
    for t in (0, 5, 12):  # the same as the last step of a shorter sequence
        state = torch.zeros(2, 3, network.cell.state_size(11))
        weights = network.cell.weights(params)
        for x_t in x[:, : t + 1].unbind(1):
            state = network.cell.step(weights, x_t, state)
        read = network.cell.output(state) @ params["w_out"] + params["b_out"][:, None]
        torch.testing.assert_close(outputs[:, :, t], read)


@pytest.mark.parametrize("batch_loss", ["mean", "sum"])
@pytest.mark.parametrize(
    ("cell", "net"),
    [
        ("lstm", PlainLSTM),
        ("stable_lstm", PlainStableLSTM),
        *((cell, partial(PlainCell, cell=CELLS[cell])) for cell in CELLS),
    ],
)
def test_it_trains_as_a_plain_loop_with_the_optimiser_of_torch_does(
    tmp_path, cell, net, batch_loss
):
    trial = replace(
        TRIAL, task="sine", cell=cell, batch_loss=batch_loss, data_seed=3, seed=5, clip=0.05
    )
    pack = [replace(trial, seed=4), trial, replace(trial, seed=6, learning_rate=1.0, data_seed=1)]
    result = results(pack, Checkpoints(tmp_path))[trial]
    start = net(Network(trial).init(trial), every_step=True)
    rows, arrays = plain_training(trial, start, square_error)
    assert result.status == "unsolved"
    assert set(result.history) == {"epoch", *rows[0]}
    for name in rows[0]:
        expected = [row[name] for row in rows]
        np.testing.assert_allclose(result.history[name], expected, rtol=5e-4, atol=1e-6)
    assert (result.history["gradient_norm"] > trial.clip).any()  # so clipping was compared
    for name, array in Checkpoints(tmp_path).load(trial).params.items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-3, atol=5e-4, err_msg=name)


SHAPES = {
    "odd": {"hidden": 11, "batch": 7, "train_size": 14, "val_size": 10, "epochs": 2, "length": 37},
    "even": {
        "hidden": 32,
        "batch": 10,
        "train_size": 20,
        "val_size": 20,
        "epochs": 2,
        "length": 64,
    },
}


@EVERY_CELL
@pytest.mark.parametrize("shape", SHAPES)
def test_packing_is_invisible(cell, shape):
    members = trials(16, task="sine", cell=cell, **SHAPES[shape])
    members[3] = replace(members[3], learning_rate=1e38)  # diverges, and leaves
    alone = {trial: found.bits for one in members for trial, found in results([one]).items()}
    assert len({bits["val_loss"] for bits in alone.values()}) > 14
    for size in (2, 7, 16):
        packed = {trial: found.bits for trial, found in results(members[:size]).items()}
        assert packed == {trial: alone[trial] for trial in members[:size]}


@EVERY_CELL
def test_it_resumes_bit_by_bit(cell, tmp_path):
    members = trials(3, task="sine", cell=cell, epochs=4)
    whole = results(members)
    checkpoints = Checkpoints(tmp_path)
    list(islice(train(Pack(tuple(members)), "cpu", checkpoints, 1e-9), 2))
    for trial, rest in results(members, checkpoints).items():
        assert len(rest.history["epoch"]) == 2
        for name, bits in rest.bits.items():
            full = whole[trial].bits[name]
            assert bits == (full if name == "status" else full[8 * 2 :]), name


def test_a_small_network_learns_it():
    sizes = {"hidden": 32, "batch": 10, "train_size": 50, "val_size": 20, "length": 50}
    trial = replace(TRIAL, task="sine", cell="orthogonal", epochs=60, decay_epochs=(), **sizes)
    (result,) = results([trial]).values()
    assert result.history["val_loss"].min() < 0.1
