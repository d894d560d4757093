"""Language models: against a plain loop, in packs, and what they refuse."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import results
from texts import TRIAL, pack_of

from rnn_study.cells import CELLS
from rnn_study.cells.lstm import to_torch
from rnn_study.cells.stable_lstm import is_contractive
from rnn_study.config import Pack
from rnn_study.errors import InvalidInput
from rnn_study.tasks.corpus import Corpus
from rnn_study.training import Checkpoints, cross_entropy, train
from rnn_study.training.adam import Adam
from rnn_study.training.reading import update_
from rnn_study.training.streams import Streams
from rnn_study.training.tied import TiedNetwork


def bits(found):
    return {trial: result.bits for trial, result in found.items()}


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # where its neighbours are
    path = Path(__file__).parents[1] / "benchmarks" / "language_model.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_language_models", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_lstm_trains_as_torch_s_own_layers_do(corpora, benchmark):
    """The plain port of the paper's loop, from the same weights: losses, segment by segment."""
    trial = replace(TRIAL, dropout=0.0, clip=0.05)  # every gradient is clipped
    network = TiedNetwork(trial)
    start = network.init(trial)
    plain = benchmark.Plain(trial.vocabulary, trial.hidden, 0.0)
    plain.lstm = to_torch({k: torch.from_numpy(v)[None] for k, v in start.items()})
    plain.lstm.batch_first = False
    plain.embed.weight.data = torch.from_numpy(start["embed"].copy())
    plain.out.weight = plain.embed.weight
    tokens = Corpus.open(corpora, trial.corpus).read("train", trial.vocabulary, trial.train_size)
    text = Streams(tokens, trial.batch, trial.length, torch.device("cpu"))
    theirs = benchmark.plain_losses(plain, text, text.segments, trial.learning_rate, trial.clip)
    flat = network.flatten([start])
    adam, state = Adam.zeros(flat), torch.zeros(1, trial.batch, 2 * trial.hidden)
    ours, keys = [], torch.zeros(1, dtype=torch.int64)  # nothing is left out
    corrections = adam.corrections(np.array([trial.learning_rate]), text.segments)
    for k, correction in enumerate(corrections):
        found, state = update_(network, trial, flat, adam, correction, text[k], state, keys)
        ours.append(float(found["loss"]))
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)
    assert ours[-1] < ours[0] - 0.3
    (epoch, *_) = train(Pack((trial,)), corpora=corpora)
    lengths = [len(text[k].inputs) for k in range(text.segments)]
    mean = np.average(ours, weights=lengths)
    np.testing.assert_allclose(epoch.metrics["train_loss"], mean, rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_trial_alone_has_the_history_that_it_has_in_a_pack(cell, corpora):
    pack = pack_of(3, cell=cell)
    alone = {}
    for trial in pack:
        alone |= bits(results([trial], corpora=corpora))
    assert bits(results(pack, corpora=corpora)) == alone
    assert bits(results(pack[::-1], corpora=corpora)) == alone
    assert len({each["val_loss"] for each in alone.values()}) == 3


def test_perplexities_are_the_exponentials_of_losses(corpora):
    (found,) = results([TRIAL], corpora=corpora).values()
    for split in ("train", "val", "test"):
        loss = found.history[f"{split}_loss"]
        np.testing.assert_array_equal(found.history[f"{split}_perplexity"], np.exp(loss))
    assert found.history["val_loss"][-1] < math.log(TRIAL.vocabulary)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_provable_stable_lstm_stays_provable_with_embeddings(dropout, corpora, tmp_path):
    """For the largest input that can enter it, which dropout doubles; and that exceeds one."""
    trial = replace(
        TRIAL, cell="stable_lstm_provable", dropout=dropout, learning_rate=0.3, epochs=4
    )
    network, checkpoints = TiedNetwork(trial), Checkpoints(tmp_path)
    largest = []
    for _ in train(Pack((trial,)), "cpu", checkpoints, 1e-9, corpora=corpora):
        params = network.views(network.flatten([checkpoints.load(trial).params]))
        found = network.largest_input(params)
        assert float(found[0]) == float(params["embed"].abs().max()) * (2 if dropout else 1)
        largest.append(float(found[0]))
        assert is_contractive(params, largest[-1]).all()
    assert largest[-1] > 1.2
    plain = replace(trial, cell="lstm")
    results([plain], other := Checkpoints(tmp_path / "lstm"), corpora=corpora)
    params = TiedNetwork(plain)
    params = params.views(params.flatten([other.load(plain).params]))
    assert not is_contractive(params, 1.0).any()


@pytest.mark.skipif(not cross_entropy.CAN_CHUNK, reason="this torch has no linear_cross_entropy")
def test_the_loss_in_pieces_is_the_plain_one_and_so_are_its_gradients(monkeypatch, corpora):
    maker = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(97, 11, generator=maker), torch.randn(501, 11, generator=maker)
    bias, targets = torch.randn(501, generator=maker), torch.randint(0, 501, (97,), generator=maker)
    found = []
    for way in (cross_entropy.plain, cross_entropy.chunked):
        inputs = [each.clone().requires_grad_() for each in (hidden, weight, bias)]
        loss = way(*inputs, targets)
        found.append([loss.detach(), *torch.autograd.grad(loss, inputs)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    (plain,) = results([TRIAL], corpora=corpora).values()
    monkeypatch.setattr(cross_entropy, "CHUNKED_FROM", 0)
    (pieces,) = results([TRIAL], corpora=corpora).values()
    np.testing.assert_allclose(pieces.history["val_loss"], plain.history["val_loss"], rtol=1e-4)
    assert pieces.bits != plain.bits  # it was another way


def test_a_text_has_to_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing or damaged"):
        next(train(Pack((TRIAL,)), corpora=tmp_path))
    with pytest.raises(InvalidInput, match="--data DIR"):
        TiedNetwork(replace(TRIAL, vocabulary=0))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_loss": "sum"}, "batch_loss: 'sum'"),
        ({"dynamics_every": 1}, "words: .* name words to watch"),
        ({"dropout": 1.0}, "dropout: 1.0"),
        ({"words": ("is", "is")}, "words: .* use each value once"),
    ],
)
def test_what_a_text_cannot_use_is_refused(changes, reason):
    with pytest.raises(InvalidInput, match=reason):
        replace(TRIAL, **changes)


def test_the_benchmark_measures_both_ways_and_a_pack(benchmark, capsys):
    small = {"hidden": 7, "length": 5, "batch": 3, "vocabulary": 50, "segments": 2}
    benchmark.run(benchmark.Settings(what="epoch", cells=("lstm",), seeds=2, **small))
    printed = capsys.readouterr().out
    assert "plain LSTM" in printed and "lstm, pack of 2" in printed
    for way in benchmark.WAYS:
        found = benchmark.one_loss(way, benchmark.Settings(**small))
        assert found["seconds"] > 0
