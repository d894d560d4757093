"""Memory of scans: used again, never while it is in use, and laid out alike for every member."""

from __future__ import annotations

import pytest
import torch
from small import B, H, I, S, T, normal, parameters

from rnn_study.cells import CELLS, scratch
from rnn_study.cells.scratch import CACHE, _Kept, blocks, rows

FLOAT, DOUBLE = torch.empty(0), torch.empty(0, dtype=torch.float64)


@pytest.fixture
def kept():
    return _Kept()


def test_what_nobody_uses_is_used_again(kept):
    first = kept.take(1000)
    place = first.data_ptr()
    view = first[3:5]
    del first
    assert kept.take(1000).data_ptr() != place  # the view still reads it
    del view
    assert kept.take(600).data_ptr() == place  # also for less, down to half


@pytest.mark.parametrize("size", [1001, 499])
def test_what_does_not_fit_is_not(kept, size):
    first = kept.take(1000)
    del first
    assert kept.take(size).numel() == size
    assert [array.nbytes for array in kept._arrays] == [size]  # and makes room


def test_no_more_is_kept_than_was_once_in_use(kept):
    for size in (1000, 3000, 9000, 100):
        kept.take(size)
        assert sum(array.nbytes for array in kept._arrays) <= max(1000, size, 9000)
    both = kept.take(9000), kept.take(9000)
    del both
    kept.release()
    assert not kept._arrays


@pytest.mark.parametrize("like", [FLOAT, DOUBLE])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_rows_begin_at_cache_lines_and_never_touch(like, size):
    found = rows(3, size, like)
    assert found.shape == (3, size) and found.dtype == like.dtype
    assert all(row.data_ptr() % 64 == 0 for row in found)
    assert found.stride(0) > size


def test_blocks_are_all_members_once_and_fit_the_cache():
    each = CACHE // 4 // 3  # numbers of which three members fit
    found = list(blocks(7, each, FLOAT))
    assert [range(7)[block] for block in found] == [range(3), range(3, 6), range(6, 7)]
    assert len(list(blocks(7, each, DOUBLE))) == 7
    assert len(list(blocks(3, 10 * CACHE, FLOAT))) == 3
    assert len(list(blocks(7, 10 * CACHE, FLOAT.to("meta")))) == 1


@pytest.mark.parametrize("name", CELLS)
def test_results_of_a_scan_last_as_long_as_they_are_used(name):
    cell = CELLS[name]
    params = {k: v.requires_grad_() for k, v in parameters(cell).items()}
    x, state = normal(S, T, B, I), torch.zeros(S, B, cell.state_size(H))
    weights = cell.weights(params)
    outputs, last = cell.scan(weights, x, state)
    before = outputs.detach().clone(), last.detach().clone()
    one = torch.autograd.grad(outputs.sum(), params.values(), retain_graph=True)
    for _ in range(3):
        cell.scan(weights, 2 * x, state)[0].sum().backward(retain_graph=True)
    assert torch.equal(outputs, before[0]) and torch.equal(last, before[1])
    again = torch.autograd.grad(outputs.sum(), params.values())
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))


@pytest.mark.parametrize("name", CELLS)
def test_nothing_is_kept_for_a_gradient_that_nobody_asks_for(name):
    cell = CELLS[name]
    params, state = parameters(cell), torch.zeros(S, B, cell.state_size(H))
    x = normal(S, 50 * T, B, I)
    scratch.release()
    with torch.no_grad():
        outputs, last = cell.scan(cell.weights(params), x, state)
    tape = 4 * S * (50 * T + 1) * (H + I + 1) * B  # of which the outputs are a view
    assert scratch._KEPT._most < 1.2 * tape
    leaves = {k: v.requires_grad_() for k, v in params.items()}
    expected = cell.scan(cell.weights(leaves), x, state)
    assert torch.equal(outputs, expected[0]) and torch.equal(last, expected[1])
