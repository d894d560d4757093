"""The contract of `SequenceTask`, for all of them in `TASKS`, and what the symbol task claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from small import TRIAL, B, S, normal, results

from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS, SequenceTask, sequence_task

EVERY_TASK = pytest.mark.parametrize(
    "name", [name for name, task in TASKS.items() if isinstance(task, SequenceTask)]
)
SYMBOL = TASKS["symbol"]


@pytest.mark.parametrize("name", ["nope", "language"])
def test_a_task_that_draws_no_sequences_is_refused(name):
    with pytest.raises(InvalidInput, match=f"task: '{name}' .* choose from symbol, sine"):
        sequence_task(name)


@EVERY_TASK
def test_equal_arguments_draw_equal_data_and_any_other_argument_draws_others(name):
    task = TASKS[name]
    low = task.min_length
    one = task.sequences(3, "train", low + 4, 29)
    same = task.sequences(3, "train", low + 4, 29)
    assert np.array_equal(one.inputs, same.inputs) and np.array_equal(one.targets, same.targets)
    for seed, split, length in (
        (4, "train", low + 4),
        (3, "validation", low + 4),
        (3, "train", low),
    ):
        other = task.sequences(seed, split, length, 29)
        assert (one.inputs[0, :low] == other.inputs[0, :low]).mean() < 0.7


@EVERY_TASK
@pytest.mark.parametrize("more", [0, 1, 47])
def test_data_have_the_length_and_size_asked_for(name, more):
    task = TASKS[name]
    drawn = task.sequences(0, "train", task.min_length + more, 29)
    assert drawn.inputs.shape[:2] == (29, task.min_length + more)
    assert drawn.targets.shape == (29, *([task.min_length + more] if task.every_step else []))


@EVERY_TASK
def test_drawing_leaves_the_global_random_states_alone(name):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    TASKS[name].sequences(0, "train", TASKS[name].min_length, 29)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@EVERY_TASK
def test_inputs_become_float_channels_whatever_the_leading_axes(name):
    task = TASKS[name]
    inputs = torch.from_numpy(task.sequences(0, "train", task.min_length, 6).inputs)
    channels = task.encode(inputs)
    assert channels.dtype == torch.float32
    assert channels.shape[:2] == inputs.shape[:2] and channels.shape[-1] == task.inputs
    folded = task.encode(inputs.unflatten(0, (2, 3)).transpose(1, 2))
    assert torch.equal(folded, channels.unflatten(0, (2, 3)).transpose(1, 2))


@EVERY_TASK
def test_losses_and_scores_are_one_number_a_sequence_and_need_no_company(name):
    task = TASKS[name]
    targets = torch.from_numpy(task.sequences(0, "train", task.min_length, S * B).targets)
    targets = targets.unflatten(0, (S, B))
    steps = (task.min_length,) if task.every_step else ()
    outputs = normal(S, B, *steps, task.outputs).requires_grad_()
    loss, scores = task.loss(outputs, targets), task.scores(outputs, targets)
    assert task.metric.name in ("loss", *scores)
    assert {value.shape for value in (loss, *scores.values())} == {(S, B)}
    for s in range(S):
        for b in range(B):
            mine = outputs[s : s + 1, b : b + 1], targets[s : s + 1, b : b + 1]
            torch.testing.assert_close(task.loss(*mine)[0, 0], loss[s, b])
            for score, value in scores.items():
                torch.testing.assert_close(task.scores(*mine)[score][0, 0], value[s, b])
    (slope,) = torch.autograd.grad(loss[1, 2], outputs)
    assert slope[1, 2].any() and slope.count_nonzero() == slope[1, 2].count_nonzero()


@EVERY_TASK
def test_what_is_nan_or_as_bad_as_can_be_solves_nothing(name):
    metric = TASKS[name].metric
    worst = -np.inf if metric.larger_is_better else np.inf
    assert metric.solved(np.array([np.nan, worst])).tolist() == [False, False]


def test_cross_entropy_accuracy_and_the_end_of_the_symbol_task():
    outputs, targets = normal(1, 5, 4), torch.tensor([[0, 1, 2, 3, 3]])
    expected = [-torch.log_softmax(o, 0)[t] for o, t in zip(outputs[0], targets[0], strict=True)]
    torch.testing.assert_close(SYMBOL.loss(outputs, targets)[0], torch.stack(expected))
    right = [float(o.argmax() == t) for o, t in zip(outputs[0], targets[0], strict=True)]
    assert SYMBOL.scores(outputs, targets)["accuracy"][0].tolist() == right
    assert 0 < sum(right) < 5
    assert SYMBOL.metric.solved(np.array([0.0, 0.999, 1.0])).tolist() == [False, False, True]


def test_one_hot_channels_follow_the_order_of_the_symbols():
    tokens = torch.tensor([[0, 5, 2]], dtype=torch.uint8)
    assert SYMBOL.encode(tokens).argmax(-1).tolist() == [[0, 5, 2]]
    assert SYMBOL.encode(tokens).sum(-1).tolist() == [[1, 1, 1]]
    assert SYMBOL.symbols == "pqabcd"


@pytest.mark.parametrize("length", [50, 51, 53, 97, 500])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_sequence_holds_two_relevant_symbols_in_their_windows_and_its_class_says_which(
    length, split
):
    drawn = SYMBOL.sequences(7, split, length, 1000)
    assert drawn.inputs.dtype == np.uint8 and drawn.targets.dtype == np.int64
    for sequence, target in zip(drawn.inputs, drawn.targets, strict=True):
        (first, second) = [t for t, token in enumerate(sequence) if SYMBOL.symbols[token] in "pq"]
        assert 10 <= first <= 18 and 40 <= second <= 49
        pair = SYMBOL.symbols[sequence[first]] + SYMBOL.symbols[sequence[second]]
        assert ["pp", "pq", "qp", "qq"][target] == pair
        assert all(0 <= token < 6 for token in sequence)


def uniform(values, kinds):
    """Whether `values` look uniform over `kinds`: a chi-square test at one in ten thousand."""
    counts = [int((values == kind).sum()) for kind in kinds]
    assert sum(counts) == values.size
    return stats.chisquare(counts).pvalue > 1e-4


def test_positions_classes_and_distractors_are_uniform_and_independent():
    drawn = SYMBOL.sequences(1, "train", 60, 20_000)
    relevant = drawn.inputs < 2
    first, second = relevant[:, :30].argmax(1), 30 + relevant[:, 30:].argmax(1)
    assert uniform(first, range(10, 19)) and uniform(second, range(40, 50))
    assert uniform(
        first * 100 + second, [a * 100 + b for a in range(10, 19) for b in range(40, 50)]
    )
    assert uniform(drawn.targets, range(4))
    assert uniform(
        drawn.targets * 100 + first, [c * 100 + a for c in range(4) for a in range(10, 19)]
    )
    assert uniform(drawn.inputs[~relevant], range(2, 6))
    for step in (0, 14, 30, 45, 59):  # also between and around the relevant symbols
        column = drawn.inputs[:, step]
        assert uniform(column[column >= 2], range(2, 6))
    pairs = drawn.inputs[:, 55].astype(int) * 10 + drawn.inputs[:, 56]
    assert uniform(pairs, [a * 10 + b for a in range(2, 6) for b in range(2, 6)])


def test_a_small_network_learns_it():
    sizes = {"hidden": 32, "batch": 50, "train_size": 500, "val_size": 250, "length": 50}
    trial = replace(TRIAL, cell="orthogonal", epochs=10, decay_epochs=(), **sizes)
    (result,) = results([trial]).values()
    assert result.history["val_accuracy"][-1] > 0.6
    assert result.history["val_accuracy"][0] < 0.5
