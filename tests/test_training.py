"""The training loop: equal to a plain loop with torch's own optimiser, and its ends and numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from plain import PlainCell, PlainLSTM, PlainStableLSTM, plain_training
from small import TRIAL, normal, results, trials

from rnn_study.cells import CELLS
from rnn_study.config import Pack
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS
from rnn_study.training import Checkpoints, Network, summary, train
from rnn_study.training.adam import Adam, clip_
from rnn_study.training.epochs import Eager

ACCURACY = TASKS["symbol"].metric


class Blind(Eager):
    """Training whose validation loss is not finite."""

    def epoch(self, members, rates):
        means = super().epoch(members, rates)
        means["val"]["loss"][:] = np.nan
        return means


def test_a_validation_loss_that_is_not_finite_is_a_divergence_without_an_accuracy():
    found = results([TRIAL], runner=Blind)[TRIAL]
    assert found.status == "diverged"
    assert np.isnan(found.history["val_accuracy"]).all()
    assert np.isfinite(found.history["train_loss"]).all()


@pytest.mark.parametrize("batch_loss", ["mean", "sum"])
@pytest.mark.parametrize(
    ("cell", "net"),
    [
        ("lstm", PlainLSTM),
        ("stable_lstm", PlainStableLSTM),
        *((cell, partial(PlainCell, cell=CELLS[cell])) for cell in CELLS),
    ],
)
def test_a_trial_trains_as_a_plain_loop_with_the_optimiser_of_torch_does(
    tmp_path, cell, net, batch_loss
):
    trial = replace(TRIAL, cell=cell, batch_loss=batch_loss, data_seed=3, seed=5, clip=0.3)
    pack = [replace(trial, seed=4), trial, replace(trial, seed=6, learning_rate=1.0, data_seed=1)]
    found = results(pack, Checkpoints(tmp_path))[trial].history
    rows, arrays = plain_training(trial, net(Network(trial).init(trial)))
    for name in rows[0]:
        np.testing.assert_allclose(found[name], [row[name] for row in rows], rtol=2e-4, atol=1e-6)
    assert (found["gradient_norm"] > trial.clip).any()  # so clipping is part of what was compared
    for name, array in Checkpoints(tmp_path).load(trial).params.items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-3, atol=2e-4, err_msg=name)


def test_an_orthogonal_matrix_has_the_rate_of_its_own_that_torch_gives_a_group(tmp_path):
    pack = trials(3, cell="orthogonal", orthogonal_rate=0.1, epochs=3)
    other = replace(pack[0], orthogonal_rate=1.0)
    checkpoints = Checkpoints(tmp_path)
    results(pack, checkpoints)
    results([other], checkpoints)
    arrays = {t: checkpoints.load(t).params for t in (*pack, other)}
    for trial in pack:
        start = Network(trial).init(trial)
        _, wanted = plain_training(trial, PlainCell(start, cell=CELLS["orthogonal"]))
        for name, array in arrays[trial].items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-3, atol=2e-4, err_msg=name)
    start = Network(other).init(other)
    moved, whole = (np.abs(arrays[t]["skew"] - start["skew"]).max() for t in (pack[0], other))
    assert 0.05 * whole < moved < 0.2 * whole
    assert arrays[pack[0]]["w_x"].tobytes() != arrays[other]["w_x"].tobytes()


def step_(adam, params, gradient, rates):
    (correction,) = adam.corrections(rates, 1)
    adam.update_(params, gradient, correction)
    adam.steps = adam.steps + 1


def test_corrections_of_many_steps_are_those_of_one_after_the_other():
    rates, ahead = np.array([0.1, 3e-3, 1.0]), Adam.zeros(normal(3, 7))
    ahead.steps = np.array([0, 5, 100_000])
    together = ahead.corrections(rates, 9)
    for each in together:
        assert torch.equal(each[None], ahead.corrections(rates, 1))
        ahead.steps = ahead.steps + 1


def test_adam_steps_each_member_as_torch_steps_one_network():
    rates, start = np.array([1e-3, 1e-1, 10.0]), normal(3, 7)
    ours, adam = start.clone(), Adam.zeros(start)
    theirs = [row.clone().requires_grad_() for row in start]
    optimisers = [torch.optim.Adam([t], float(r)) for t, r in zip(theirs, rates, strict=True)]
    for step in range(50):
        gradient = normal(3, 7, seed=step, scale=10.0 ** (step % 7 - 3))
        step_(adam, ours, gradient.clone(), rates)
        for tensor, row, optimiser in zip(theirs, gradient, optimisers, strict=True):
            tensor.grad = row
            optimiser.step()
    torch.testing.assert_close(ours, torch.stack(theirs).detach(), rtol=1e-5, atol=1e-5)


def test_adam_counts_the_steps_of_each_member():
    start, gradient, rates = normal(2, 7), normal(2, 7, seed=1), np.array([0.1, 0.1])
    old, young = Adam.zeros(start[:1]), Adam.zeros(start[:1])
    for _ in range(5):
        step_(old, start[:1].clone(), gradient[:1], rates[:1])
    mixed = Adam(
        torch.cat((old.first, young.first)),
        torch.cat((old.second, young.second)),
        np.concatenate((old.steps, young.steps)),
    )
    both, one, other = start.clone(), start[:1].clone(), start[1:].clone()
    step_(mixed, both, gradient, rates)
    step_(old, one, gradient[:1], rates[:1])
    step_(young, other, gradient[1:], rates[1:])
    assert torch.equal(both, torch.cat((one, other)))
    assert mixed.steps.tolist() == [6, 1]


def test_clip_bounds_each_member_by_its_own_norm_as_torch_does():
    gradient = normal(3, 7) * torch.tensor([[1e-3], [1.0], [1e6]])
    clipped = gradient.clone()
    norms = clip_(clipped, 0.25)
    for member, row in enumerate(gradient):
        leaf = torch.zeros(7, requires_grad=True)
        leaf.grad = row.clone()
        torch.testing.assert_close(norms[member], torch.nn.utils.clip_grad_norm_([leaf], 0.25))
        torch.testing.assert_close(clipped[member], leaf.grad)
    assert torch.equal(clipped[0], gradient[0])


def test_the_rate_falls_after_the_named_epochs():
    trial = replace(TRIAL, learning_rate=0.5, decay=0.1, decay_epochs=(1, 3), epochs=5)
    (result,) = results([trial]).values()
    np.testing.assert_allclose(result.history["learning_rate"], [0.5, 0.05, 0.05, 0.005, 0.005])


def test_an_epoch_reports_what_it_says_it_does():
    pack = Pack(tuple(trials(3, epochs=2)))
    for number, epoch in enumerate(train(pack), start=1):
        assert epoch.trials == pack.trials
        assert epoch.number.tolist() == [number] * 3
        assert epoch.status == ("training" if number < 2 else "unsolved",) * 3
        assert set(epoch.metrics) == {
            *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
            *("gradient_norm", "learning_rate", "seconds"),
        }
        assert all(v.shape == (3,) and v.dtype == np.float64 for v in epoch.metrics.values())
        assert (epoch.metrics["seconds"] > 0).all()
        assert epoch.accuracy is epoch.metrics["val_accuracy"]
    assert number == 2


def test_what_an_epoch_reported_never_changes_afterwards():
    epochs = list(train(Pack(tuple(trials(5, val_size=1, epochs=4)))))
    once = [
        (e.number.copy(), {k: v.copy() for k, v in e.metrics.items()})
        for e in train(Pack(tuple(trials(5, val_size=1, epochs=4))))
    ]
    assert len({len(epoch.trials) for epoch in epochs}) > 1  # members left
    for epoch, (number, metrics) in zip(epochs, once, strict=True):
        assert np.array_equal(epoch.number, number)
        assert all(
            np.array_equal(epoch.metrics[k], v) for k, v in metrics.items() if k != "seconds"
        )


def test_training_is_the_same_again_and_leaves_the_global_random_states_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = {t: r.bits for t, r in results(trials(2)).items()}
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(1)
    assert {t: r.bits for t, r in results(trials(2)).items()} == first


@pytest.mark.parametrize("cell", CELLS)
def test_a_diverged_member_is_recorded_and_the_rest_goes_on(cell):
    good = replace(TRIAL, cell=cell)
    bad = replace(good, learning_rate=1e38)
    first, *rest = train(Pack((good, bad)))
    assert first.status == ("training", "diverged")
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "gradient_norm"):
        assert np.isfinite(first.metrics[name][0])
    assert np.isnan(first.metrics["val_accuracy"][1])
    assert [epoch.trials for epoch in rest] == [(good,)] * 2
    assert rest[-1].status == ("unsolved",)


def test_there_is_no_accuracy_where_there_is_no_loss():
    (epoch,) = train(Pack((replace(TRIAL, learning_rate=1e38),)))
    assert np.isnan([epoch.metrics["train_loss"], epoch.metrics["val_loss"]]).all()
    assert np.isnan(epoch.metrics["val_accuracy"]).all()
    assert np.isnan(epoch.metrics["train_accuracy"]).all()


def test_a_member_whose_loss_is_right_once_and_diverges_at_once_is_not_solved():
    found = [
        result.status
        for t in trials(8, val_size=1)
        for result in results([replace(t, learning_rate=1e38)]).values()
    ]
    assert found == ["diverged"] * 8


def test_a_member_leaves_when_all_validation_sequences_are_right():
    found = results([replace(t, data_seed=t.seed) for t in trials(16, val_size=1)])
    for result in found.values():
        right = result.history["val_accuracy"] == 1
        assert not right[:-1].any()
        assert result.status == ("solved" if right[-1] else "unsolved")
        assert len(right) == 3 or right[-1]
    assert {result.status for result in found.values()} == {"solved", "unsolved"}


def test_a_driver_can_stop_after_any_epoch():
    driver = train(Pack(tuple(trials(2))))
    assert len(list(islice(driver, 1))) == 1
    driver.close()
    assert list(driver) == []


def history(accuracy, **more):
    count = len(accuracy)
    full = {"epoch": np.arange(1, count + 1), "seconds": np.full(count, 0.5), **more}
    return {**full, "val_accuracy": np.array(accuracy)}


def test_summary_of_a_solved_trial():
    assert summary(history([0.5, 0.25, 1.0]), "solved", ACCURACY) == {
        "epochs_trained": 3,
        "solved": 1,
        "diverged": 0,
        "train_seconds": 1.5,
        "val_accuracy": 1,
        "best_val_accuracy": 1,
        "epochs_to_solve": 3,
    }


def test_summary_of_an_unsolved_trial_has_its_last_and_its_best_accuracy():
    values = summary(history([0.25, 0.75, 0.5]), "unsolved", ACCURACY)
    assert (values["val_accuracy"], values["best_val_accuracy"]) == (0.5, 0.75)
    assert (values["solved"], values["diverged"], values["epochs_trained"]) == (0, 0, 3)
    assert "epochs_to_solve" not in values


def test_summary_of_a_diverged_trial_has_the_last_accuracy_that_there_was():
    values = summary(history([0.5, 0.25, np.nan]), "diverged", ACCURACY)
    assert (values["val_accuracy"], values["best_val_accuracy"]) == (0.25, 0.5)
    assert (values["solved"], values["diverged"], values["epochs_trained"]) == (0, 1, 3)
    at_once = summary(history([np.nan]), "diverged", ACCURACY)
    assert not {"val_accuracy", "best_val_accuracy", "epochs_to_solve"} & set(at_once)
    assert all(np.isfinite(list(at_once.values())))


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(InvalidInput, match="tf32: True is not allowed; it needs a GPU"):
        next(train(Pack((replace(TRIAL, tf32=True),)), "cpu"))


@pytest.mark.gpu
def test_tf32_is_for_the_trials_that_ask_for_it():
    def losses(tf32):
        pack = trials(2, tf32=tf32, hidden=64, batch=32, train_size=64, epochs=2)
        return np.array([r.history["train_loss"] for r in results(pack, device="cuda").values()])

    exact, rounded, again = losses(False), losses(True), losses(False)
    np.testing.assert_allclose(again, exact, rtol=1e-6)
    assert np.abs(rounded / exact - 1).max() > 1e-6
