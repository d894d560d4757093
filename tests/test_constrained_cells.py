"""What the orthogonal cell and the stable LSTM claim, by their checkers and apart from them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import TRIAL, B, H, I, S, T, normal, parameters, require_grad, results

from rnn_study.cells import CELLS, Cell
from rnn_study.cells.exponential import matrix_exp
from rnn_study.cells.lstm import to_torch
from rnn_study.cells.orthogonal import SQUARINGS, is_orthogonal
from rnn_study.cells.stable_lstm import is_contractive, is_rescaled
from rnn_study.training import Checkpoints

AUTHORS, PROVABLE = CELLS["stable_lstm"], CELLS["stable_lstm_provable"]
BUDGETS = {"i": 0.395, "f": 0.155, "g": 0.099, "o": 0.395}


def after_training(folder, cell, rates, **changes):
    """The parameters that training at each rate led to, and the optimiser steps it took."""
    trials = [replace(TRIAL, cell=cell, learning_rate=rate, **changes) for rate in rates]
    checkpoints = Checkpoints(folder)
    results(trials, checkpoints)
    last = [checkpoints.load(trial) for trial in trials]
    names = parameters(CELLS[cell])
    params = {k: torch.from_numpy(np.stack([c.params[k] for c in last])) for k in names}
    return params, [state.steps for state in last]


def skew(norm, members=3, hidden=H, dtype=torch.float32):
    """Skew-symmetric matrices of this spectral norm."""
    upper = normal(members, hidden, hidden, dtype=torch.float64).triu(1)
    full = upper - upper.mT
    scale = norm / torch.linalg.matrix_norm(full, 2)
    return (full * scale[:, None, None]).to(dtype)


@pytest.mark.parametrize("norm", [0.1, 0.5, 0.99, 1.01, 3, 10, 30, 60])
@pytest.mark.parametrize("hidden", [2, H, 97])
def test_matrix_exp_is_that_of_torch_in_float64(norm, hidden):
    matrix = skew(norm, hidden=hidden)
    expected = torch.linalg.matrix_exp(matrix.double())
    torch.testing.assert_close(matrix_exp(matrix).double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(matrix_exp(matrix.double()), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", [0.1, 3, 30, 200])
def test_matrix_exp_needs_not_read_the_norm(norm):
    matrix = skew(norm)
    expected = matrix_exp(matrix)
    assert is_orthogonal(expected, eps=1e-5).all()
    assert torch.equal(matrix_exp(matrix, squarings=8), expected)
    needed = max(math.ceil(math.log2(norm / 3.3)), 0)
    assert not needed or matrix_exp(matrix, needed - 1).isnan().all()
    meta = matrix.to("meta").requires_grad_()  # there is none to read
    assert torch.autograd.grad(matrix_exp(meta, 8).sum(), meta)[0].shape == matrix.shape


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_trains_on_a_gpu_can_be_looked_at_in_float64(monkeypatch, device):
    monkeypatch.setitem(SQUARINGS, "cpu", SQUARINGS["cuda"])
    upper = skew(600).triu(1).to(device)
    trained, seen = (
        CELLS["orthogonal"].weights({"skew": u})["w_h"] for u in (upper, upper.double())
    )
    assert is_orthogonal(trained, eps=1e-5).all()
    assert is_orthogonal(seen, eps=1e-12).all()


@pytest.mark.parametrize("norm", [0.1, 3, 30, 200])
def test_gradients_of_matrix_exp_do_not_need_the_norm_either(norm):
    matrix = skew(norm, S).requires_grad_()
    weight = normal(S, H, H, seed=3)
    ours, same = (
        torch.autograd.grad((matrix_exp(matrix, n) * weight).sum(), matrix)[0] for n in (None, 8)
    )
    assert torch.equal(ours, same)


@pytest.mark.parametrize("squarings", [None, 8])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 1e8])
def test_a_matrix_that_has_no_exponential_spoils_no_other(broken, squarings):
    matrix = skew(30)
    expected = matrix_exp(matrix, squarings)
    matrix[1, 2, 3], matrix[1, 3, 2] = broken, -broken
    found = matrix_exp(matrix, squarings)
    assert torch.equal(found[::2], expected[::2])
    assert found[1].isnan().any()


def test_matrix_exp_scales_each_matrix_by_itself():
    mixed = torch.cat([skew(norm, members=1) for norm in (0.1, 60, 3, 0)])
    for matrix, together in zip(mixed, matrix_exp(mixed), strict=True):
        assert torch.equal(matrix_exp(matrix[None])[0], together)
    assert torch.equal(matrix_exp(mixed)[3], torch.eye(H))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
@pytest.mark.parametrize("norm", [0.1, 3, 30])
def test_orthogonal_gradients_equal_those_through_torch_matrix_exp(norm, dtype, close):
    cell = CELLS["orthogonal"]
    params = parameters(cell, dtype=dtype)
    params["skew"] = skew(norm, S, dtype=dtype).triu(1) + normal(S, H, H, dtype=dtype).tril()
    x, state = normal(S, T, B, I, dtype=dtype), normal(S, B, H, seed=1, dtype=dtype)

    def by_torch(given):
        upper = given["skew"].triu(1)
        return {**given, "w_h": torch.linalg.matrix_exp(upper - upper.mT)}

    found = []
    for weights, scan in ((cell.weights, cell.scan), (by_torch, lambda *a: Cell.scan(cell, *a))):
        leaves = require_grad(params)
        outputs, _ = scan(weights(leaves), x, state)
        (outputs * normal(*outputs.shape, seed=3, dtype=dtype)).sum().backward()
        found.append({name: leaf.grad for name, leaf in leaves.items()})
    ours, theirs = found
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).norm() <= close * gradient.norm(), name
    assert ours["skew"].triu(1).norm() > 0 == ours["skew"].tril().norm()


def test_orthogonal_stays_orthogonal_over_a_thousand_steps_at_any_sensible_rate(tmp_path):
    rates = (1e-2, 1.0, 10.0)
    sizes = {"epochs": 1, "train_size": 7000, "val_size": 499, "length": 50}
    params, steps = after_training(tmp_path, "orthogonal", rates, **sizes)
    assert steps == [1000] * len(rates)
    matrices = CELLS["orthogonal"].weights(params)["w_h"]
    assert is_orthogonal(matrices, eps=1e-4).all()
    start = CELLS["orthogonal"].weights(parameters(CELLS["orthogonal"], len(rates)))["w_h"]
    assert ((matrices - start).abs().amax((1, 2)) > 0.1).all()


def test_is_orthogonal_can_say_no():
    matrix = torch.linalg.matrix_exp(skew(3, dtype=torch.float64))
    matrix[1] *= 1 + 1e-3
    matrix[2, 0, 1] += 1e-3
    assert is_orthogonal(matrix).tolist() == [True, False, False]
    assert is_orthogonal(matrix, eps=1e-2).all()
    assert not is_orthogonal(torch.full((1, H, H), torch.nan)).any()


def test_orthogonal_starts_with_eigenvalues_spread_over_the_circle():
    cell = CELLS["orthogonal"]
    params = parameters(cell, members=50)
    angles = torch.linalg.eigvals(cell.weights(params)["w_h"].double()).angle()
    assert is_orthogonal(cell.weights(params)["w_h"]).all()
    torch.testing.assert_close(angles.sort(1)[0], -angles.sort(1, descending=True)[0])
    positive = angles.topk(H // 2, 1).values  # one angle of each pair; H is odd, so one is zero
    counts = torch.histc(positive, 5, 0, torch.pi)
    assert counts.sum() == positive.numel() == 250
    assert (counts > 30).all() and (counts < 70).all()


def blocks(params, member, name):
    """The gates' blocks of one member in torch's layout: rows enter a unit, columns leave one."""
    tensor = getattr(to_torch(params, member), name)
    return dict(zip("ifgo", tensor.detach().chunk(4), strict=True))


def wild(cell, scale):
    """Parameters far from anything that a projection would leave."""
    shapes = {name: tensor.shape for name, tensor in parameters(cell).items()}
    return {k: normal(*v, seed=s, scale=scale) for s, (k, v) in enumerate(shapes.items())}


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_authors_rule_sets_the_sums_of_columns_also_when_they_were_below(scale):
    params = wild(AUTHORS, scale)
    before = {name: tensor.clone() for name, tensor in params.items()}
    assert not is_rescaled(params).any()
    AUTHORS.project_(params)
    assert is_rescaled(params).all()
    for member in range(S):
        sums = {g: b.abs().sum(0) for g, b in blocks(params, member, "weight_hh_l0").items()}
        for gate, budget in BUDGETS.items():
            torch.testing.assert_close(sums[gate], torch.full((H,), budget))
        columns = blocks(params, member, "weight_ih_l0")["f"].abs().sum(0)
        torch.testing.assert_close(columns, torch.full((I,), 0.25))
        for gate in "igo":
            ours, theirs = (blocks(p, member, "weight_ih_l0")[gate] for p in (params, before))
            assert torch.equal(ours, theirs)
    assert torch.equal(params["b_x"], before["b_x"])  # the forget bias is free
    assert torch.equal(params["b_h"], before["b_h"])


def test_is_rescaled_can_say_no():
    params = parameters(AUTHORS, members=3)
    params["w_h"][1, 4] *= 1 + 1e-3
    params["w_x"][2, 4, H : 2 * H] *= 1 - 1e-3
    assert is_rescaled(params).tolist() == [True, False, False]
    assert is_rescaled(params, eps=1e-2).all()


@pytest.mark.parametrize("scale", [1e-3, 0.05, 1, 1e3, 1e30])
def test_provable_rule_makes_any_network_contractive(scale):
    params = wild(PROVABLE, scale)
    PROVABLE.project_(params)
    assert is_contractive(params).all()
    for member in range(S):
        for gate, block in blocks(params, member, "weight_hh_l0").items():
            assert (block.abs().sum(1) <= BUDGETS[gate] * (1 + 1e-6)).all()
        for bias in ("bias_ih_l0", "bias_hh_l0"):
            assert (blocks(params, member, bias)["f"] == 0).all()


def test_provable_rule_changes_only_what_exceeds():
    params = wild(PROVABLE, 1e-3)
    params["b_x"][:, H : 2 * H] = params["b_h"][:, H : 2 * H] = 0
    inside = {name: tensor.clone() for name, tensor in params.items()}
    PROVABLE.project_(params)
    assert all(torch.equal(params[name], inside[name]) for name in params)
    unit = 5  # of the input gate: one of the weights that enter it grows
    params["w_h"][0, 3, unit] = 1.0
    PROVABLE.project_(params)
    changed = params["w_h"] != inside["w_h"]
    assert changed[0, :, unit].all() and changed.sum() == H
    torch.testing.assert_close(params["w_h"][0, :, unit].abs().sum(), torch.tensor(BUDGETS["i"]))


def test_inputs_below_one_allow_no_larger_weights():
    inputs = (None, torch.ones(S), torch.full((S,), 0.5))
    found = [wild(PROVABLE, 10.0) for _ in inputs]
    for params, largest in zip(found, inputs, strict=True):
        PROVABLE.project_(params, largest)
        assert torch.equal(params["w_x"], found[0]["w_x"])


@pytest.mark.parametrize("rate", [1e-2, 1.0])
def test_rules_hold_after_training(tmp_path, rate):
    params, _ = after_training(tmp_path / "p", "stable_lstm_provable", [rate, 10 * rate])
    assert is_contractive(params).all()
    params, _ = after_training(tmp_path / "a", "stable_lstm", [rate, 10 * rate])
    assert is_rescaled(params).all()


def contractive(params, max_input):
    """Miller and Hardt's condition, by the facts and from torch's layout, for a pack of one."""
    rows = {g: b.abs().sum(1).max() for g, b in blocks(params, 0, "weight_hh_l0").items()}
    entering = blocks(params, 0, "weight_ih_l0")["f"].abs().sum(1).max()
    bias = blocks(params, 0, "bias_ih_l0")["f"] + blocks(params, 0, "bias_hh_l0")["f"]
    f = torch.sigmoid(rows["f"] + entering * max_input + bias.abs().max())
    bounds = {"i": 1 - f, "o": 1 - f, "g": (1 - f) / 4, "f": (1 - f) ** 2}
    return all(bool(rows[gate] <= bound) for gate, bound in bounds.items())


@pytest.mark.parametrize("max_input", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("name", "gate"),
    [("w_h", "i"), ("w_h", "f"), ("w_h", "o"), ("w_h", "g"), ("w_x", "f"), ("b_x", "f")],
)
def test_is_contractive_is_the_condition_of_miller_and_hardt(name, gate, max_input):
    params = {k: 0.3 * tensor for k, tensor in parameters(PROVABLE, members=1).items()}
    params["b_x"][:, H : 2 * H] = 0.01
    part = params[name][..., "ifog".index(gate) * H :][..., :H]
    expected, verdicts = [], []
    for _ in range(60):
        part *= 1.1
        expected.append(contractive(params, max_input))
        verdicts.append(bool(is_contractive(params, max_input)))
    assert verdicts == expected
    assert verdicts[0] and not verdicts[-1]


def test_authors_rule_proves_nothing():
    params = parameters(AUTHORS, members=20)
    assert is_rescaled(params).all()
    assert not is_contractive(params).any()
    params["b_x"][:, H : 2 * H] = 5.0  # the forget bias is free
    AUTHORS.project_(params)
    assert (params["b_x"][:, H : 2 * H] == 5).all()


def distance(cell, params, steps):
    """Largest difference of two orbits under constant one-hot inputs, at some steps, (len, S)."""
    x = torch.eye(I, dtype=torch.float64).expand(S, I, I)  # every input a row of the batch
    size = cell.state_size(H)
    states = [normal(S, I, size, seed=s, dtype=torch.float64) for s in (1, 2)]
    found = []
    for step in range(max(steps) + 1):
        if step in steps:
            found.append((states[0] - states[1]).abs().amax((1, 2)))
        states = [cell.step(params, x, state) for state in states]
    return torch.stack(found)


def test_orbits_of_a_provable_network_contract_at_the_certified_rate():
    params = {name: tensor.double() for name, tensor in wild(PROVABLE, 10.0).items()}
    assert (distance(PROVABLE, params, [400]) > 0.1).all()  # so it is the projection that does it
    PROVABLE.project_(params)
    f = 0.6  # largest value of the forget gate: sigmoid(0.155 + 0.25)
    rate = (1 + (1 - f * (1 - f)) ** 0.5) / 2
    early, late, end = distance(PROVABLE, params, [20, 60, 400])
    assert (early > 1e-9).all()
    assert (late <= early * rate**40).all()
    assert (end < 1e-12).all()
