"""The contract of `Cell`, for every entry of `CELLS`, and what the LSTM claims."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from small import B, H, I, S, T, normal, parameters, require_grad

from rnn_study.cells import CELLS, Cell
from rnn_study.cells.lstm import from_torch, to_torch
from rnn_study.native import library
from rnn_study.randomness import generator

EVERY_CELL = pytest.mark.parametrize("name", CELLS)
READ = {
    "every output": lambda outputs, last: outputs,
    "the last state": lambda outputs, last: last,
    "both": lambda outputs, last: torch.cat((outputs.flatten(1), last.flatten(1)), 1),
    "one output": lambda outputs, last: outputs[:, outputs.shape[1] // 2],
}
"""Ways to use what `scan` returns. A fused backward pass can fail in one of them only."""


@pytest.fixture(autouse=True, params=["vectors", "tiles", "torch"])
def arithmetic(request, monkeypatch):
    """The native library on vectors, or for float32 on tiles, or torch's operations."""
    monkeypatch.setenv(library.SWITCH, "0" if request.param == "torch" else "1")
    if request.param != "torch":
        native = library.for_tensor(torch.empty(0))
        if native is None or (request.param == "tiles" and not native.tiles):
            pytest.skip("not on this machine")
        monkeypatch.setattr(library, "TILES_PAY", 0 if request.param == "tiles" else float("inf"))


def a_sequence(cell, members=S, steps=T, dtype=torch.float32):
    """Inputs and an initial state."""
    x = normal(members, steps, B, I, seed=1, dtype=dtype)
    return x, normal(members, B, cell.state_size(H), seed=2, scale=0.5, dtype=dtype)


def gradients(scan, cell, params, x, state, read):
    """Of a loss that gives all that `read` returns a weight of its own, by name."""
    leaves = require_grad({**params, "x": x, "state": state})
    own = {name: leaves[name] for name in params}
    value = read(*scan(cell.weights(own), leaves["x"], leaves["state"]))
    loss = (value * normal(*value.shape, seed=3, dtype=value.dtype)).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, leaves.values()), strict=True))


@EVERY_CELL
def test_a_member_starts_as_its_generator_says(name):
    one, same, other = (CELLS[name].init(generator(seed, "cell"), I, H) for seed in (0, 0, 1))
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in one.values())
    assert all(np.array_equal(one[key], same[key]) for key in one)
    assert not any(np.array_equal(one[key], other[key]) for key in one)


@EVERY_CELL
def test_a_member_starts_inside_the_set_that_its_cell_allows(name):
    params = parameters(CELLS[name])
    before = {key: tensor.clone() for key, tensor in params.items()}
    CELLS[name].project_(params)
    for key, tensor in params.items():
        torch.testing.assert_close(tensor, before[key], rtol=1e-6, atol=0)


@EVERY_CELL
def test_shapes(name):
    cell, x, state = CELLS[name], *a_sequence(CELLS[name])
    weights = cell.weights(parameters(cell))
    assert cell.step(weights, x[:, 0], state).shape == state.shape == (S, B, cell.state_size(H))
    assert cell.output(state).shape == (S, B, H)
    outputs, last = cell.scan(weights, x, state)
    assert (outputs.shape, last.shape) == ((S, T, B, H), state.shape)
    torch.testing.assert_close(outputs[:, -1], cell.output(last), rtol=0, atol=0)


@EVERY_CELL
@pytest.mark.parametrize("members", [1, 2, 7])
@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("read", READ)
def test_scan_is_the_loop_over_step(name, members, steps, read):
    cell = CELLS[name]
    params = parameters(cell, members)
    x, state = a_sequence(cell, members, steps)
    for ours, oracle in zip(
        cell.scan(cell.weights(params), x, state),
        Cell.scan(cell, cell.weights(params), x, state),
        strict=True,
    ):
        assert (ours - oracle).abs().max() <= 1e-5 * oracle.abs().max()
    ours = gradients(cell.scan, cell, params, x, state, READ[read])
    oracle = gradients(lambda *given: Cell.scan(cell, *given), cell, params, x, state, READ[read])
    for key, gradient in oracle.items():
        assert (ours[key] - gradient).norm() <= 1e-4 * gradient.norm(), key


@EVERY_CELL
@pytest.mark.parametrize("hidden", [2, 11, 50])
@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_a_member_has_the_same_bits_alone_and_in_any_pack(name, hidden, batch):
    cell, members = CELLS[name], 7
    params = parameters(cell, members, hidden=hidden)
    x = normal(members, 3, batch, I, seed=1)
    state = normal(members, batch, cell.state_size(hidden), seed=2)

    def of(pack):
        own = require_grad({key: tensor[pack] for key, tensor in params.items()})
        outputs, last = cell.scan(cell.weights(own), x[pack], state[pack])
        loss = outputs.sum() + last.square().sum()
        return [outputs, last, *torch.autograd.grad(loss, [*own.values()])]

    together = of(slice(members))
    for member in (0, 3, 6):
        for pack in (slice(member, member + 1), slice(max(member - 1, 0), member + 1)):
            for ours, whole in zip(of(pack), together, strict=True):
                assert torch.equal(ours[-1], whole[member])


@EVERY_CELL
@pytest.mark.parametrize("read", READ)
def test_gradients_are_those_of_finite_differences(name, read):
    cell = CELLS[name]
    params = parameters(cell, dtype=torch.float64)
    leaves = require_grad(
        {**params, **dict(zip(("x", "state"), a_sequence(cell, dtype=torch.float64), strict=True))}
    )

    def value(*tensors):
        *own, x, state = tensors
        weights = cell.weights(dict(zip(params, own, strict=True)))
        return READ[read](*cell.scan(weights, x, state))

    assert torch.autograd.gradcheck(value, tuple(leaves.values()), fast_mode=True)


@EVERY_CELL
def test_a_second_derivative_is_right_or_refused(name):
    cell = CELLS[name]
    weights, (x, state) = cell.weights(parameters(cell)), a_sequence(cell)

    def second(scan):
        leaf = x.clone().requires_grad_()
        loss = scan(weights, leaf, state)[0].square().sum()
        (first,) = torch.autograd.grad(loss, leaf, create_graph=True)
        first.square().sum().backward()
        return leaf.grad

    try:
        ours = second(cell.scan)
    except RuntimeError as error:  # of a gradient by hand
        assert "once_differentiable" in str(error)
        return
    torch.testing.assert_close(ours, second(partial(Cell.scan, cell)))


@EVERY_CELL
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 1e30])
def test_a_broken_member_touches_no_other(name, broken):
    cell = CELLS[name]
    params, (x, state) = parameters(cell), a_sequence(cell)

    def of_the_first_member():
        yield from (value[0] for value in cell.scan(cell.weights(params), x, state))
        slopes = gradients(cell.scan, cell, params, x, state, READ["both"])
        yield from (slope[0] for slope in slopes.values())
        projected = {key: tensor.clone() for key, tensor in params.items()}
        cell.project_(projected)
        yield from (tensor[0] for tensor in projected.values())

    before = list(of_the_first_member())
    for tensor in params.values():
        tensor[1] = broken
    for then, now in zip(before, of_the_first_member(), strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)


@pytest.fixture
def torch_lstm():
    """Without `batch_first`, to be sure of the axes; weights far from their small start."""
    lstm = torch.nn.LSTM(I, H)
    for seed, tensor in enumerate(lstm.parameters()):
        tensor.data = normal(*tensor.shape, seed=10 + seed, scale=0.7)
    return lstm


def test_lstm_equals_that_of_torch(torch_lstm):
    lstm = CELLS["lstm"]
    params = from_torch(torch_lstm)
    x, state = a_sequence(lstm, members=1, steps=50)
    outputs, last = lstm.scan(params, x, state)
    h, c = state.chunk(2, -1)
    expected, (h, c) = torch_lstm(x[0], (h, c))
    torch.testing.assert_close(outputs[0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(last, torch.cat((h, c), -1), rtol=0, atol=1e-5)


def test_lstm_has_the_gradients_of_that_of_torch(torch_lstm):
    lstm = CELLS["lstm"]
    x, state = a_sequence(lstm, members=1)
    ours = gradients(lstm.scan, lstm, from_torch(torch_lstm), x, state, READ["both"])
    leaves = require_grad({"x": x, "state": state})
    h, c = leaves["state"].chunk(2, -1)
    outputs, (h, c) = torch_lstm(leaves["x"][0], (h, c))
    value = READ["both"](outputs[None], torch.cat((h, c), -1))
    (value * normal(*value.shape, seed=3)).sum().backward()
    for tensor in torch_lstm.parameters():
        tensor.data = tensor.grad  # so that `from_torch` gives the gradients in our layout
    theirs = {**from_torch(torch_lstm), "x": leaves["x"].grad, "state": leaves["state"].grad}
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient, rtol=1e-5, atol=1e-5)


def test_lstm_weights_survive_the_round_trip_to_torch_exactly(torch_lstm):
    back = to_torch(from_torch(torch_lstm))
    for name, tensor in torch_lstm.named_parameters():
        assert torch.equal(dict(back.named_parameters())[name], tensor)
    params = parameters(CELLS["lstm"])
    for member in range(S):
        for name, tensor in from_torch(to_torch(params, member)).items():
            assert torch.equal(tensor[0], params[name][member])


def test_orthogonal_step_is_its_equation():
    cell = CELLS["orthogonal"]
    params = parameters(cell)
    params["b"] -= 0.5  # so that modReLU is flat around zero
    x, state = a_sequence(cell)
    following = cell.step(cell.weights(params), x[:, 0], state)
    for member in range(S):
        upper = torch.triu(params["skew"][member], 1)
        recurrent = torch.linalg.matrix_exp(upper - upper.T)
        z = x[member, 0] @ params["w_x"][member] + state[member] @ recurrent
        size = torch.clamp(z.abs() + params["b"][member], min=0)
        torch.testing.assert_close(following[member], torch.sign(z) * size, rtol=1e-5, atol=1e-5)
    assert 0.1 < (following == 0).float().mean() < 0.9
