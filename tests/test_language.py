"""Training on a text: against a plain loop, in packs, and from the middle of an epoch."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import Result

from rnn_study.cells import CELLS
from rnn_study.cells.stable_lstm import is_contractive
from rnn_study.config import Pack, Trial
from rnn_study.errors import InvalidInput
from rnn_study.tasks import grammar
from rnn_study.tasks.corpus import Corpus, tokenise
from rnn_study.training import Checkpoints, bytes_per_member, cross_entropy, train
from rnn_study.training.members import Members
from rnn_study.training.reading import Reading, noise_of
from rnn_study.training.schedule import plateaus
from rnn_study.training.streams import Streams
from rnn_study.training.tied import TiedNetwork

EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
TRIAL = Trial(
    task="language", cell="lstm", length=7, learning_rate=1e-2, seed=0, hidden=11, epochs=2,
    batch=3, train_size=200, val_size=90, vocabulary=61, dropout=0.5, decay_epochs=(),
    corpus="6c814f6de9b2602a",
)  # fmt: skip
"""The last segment of the text is shorter than the others."""


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> Path:
    """A folder with the project's own text."""
    folder = tmp_path_factory.mktemp("corpora")
    tokenise(grammar.texts()).save(folder)
    return folder


def pack_of(count, **changes):
    return [replace(TRIAL, seed=s, learning_rate=(1e-2, 3e-3)[s % 2], **changes)
            for s in range(count)]  # fmt: skip


def results(pack, corpora, checkpoints=None, runner=None):
    """Every trial's status and history to the last bit."""
    rows: dict = {}
    for epoch in train(Pack(tuple(pack)), "cpu", checkpoints, 1e-9, runner=runner, corpora=corpora):
        for s, trial in enumerate(epoch.trials):
            metrics = {k: v[s] for k, v in epoch.metrics.items() if k != "seconds"}
            rows.setdefault(trial, []).append({"epoch": epoch.number[s], **metrics})
            status = epoch.status[s]
    return {
        trial: Result(status, {k: np.array([row[k] for row in past]) for k in past[0]})
        for trial, past in rows.items()
    }


def bits(found):
    return {trial: result.bits for trial, result in found.items()}


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "language_model.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_language_models", path)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_lstm_trains_as_torch_s_own_layers_do(corpora, benchmark):
    """The plain port of the paper's loop, from the same weights: losses, segment by segment."""
    from rnn_study.cells.lstm import to_torch
    from rnn_study.training.adam import Adam
    from rnn_study.training.reading import update_

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
    ours = []
    corrections = adam.corrections(np.array([trial.learning_rate]), text.segments)
    for k, correction in enumerate(corrections):
        found, state = update_(network, trial, flat, adam, correction, text[k], state, None)
        ours.append(float(found["loss"]))
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)
    assert ours[-1] < ours[0] - 0.3
    (epoch, *_) = train(Pack((trial,)), corpora=corpora)
    lengths = [len(text[k].inputs) for k in range(text.segments)]
    mean = np.average(ours, weights=lengths)
    np.testing.assert_allclose(epoch.metrics["train_loss"], mean, rtol=1e-6)


@EVERY_CELL
def test_a_trial_alone_has_the_history_that_it_has_in_a_pack(cell, corpora):
    pack = pack_of(3, cell=cell)
    alone = {}
    for trial in pack:
        alone |= bits(results([trial], corpora))
    assert bits(results(pack, corpora)) == alone
    assert bits(results(pack[::-1], corpora)) == alone
    assert len({each["val_loss"] for each in alone.values()}) == 3


def test_perplexities_are_the_exponentials_of_losses(corpora):
    (found,) = results([TRIAL], corpora).values()
    for split in ("train", "val", "test"):
        loss = found.history[f"{split}_loss"]
        np.testing.assert_array_equal(found.history[f"{split}_perplexity"], np.exp(loss))
    assert found.history["val_loss"][-1] < math.log(TRIAL.vocabulary)


def test_the_state_is_carried_over_segments(corpora):
    """What a network makes of a text does not depend on how it is cut; without one it would."""
    from rnn_study.training.reading import evaluate

    network = TiedNetwork(TRIAL)
    flat = network.flatten([network.init(replace(TRIAL, seed=s)) for s in (0, 1)]) * 3
    tokens = Corpus.open(corpora, TRIAL.corpus).read("valid", TRIAL.vocabulary, 300)
    losses = [
        evaluate(network, flat, Streams(tokens, TRIAL.batch, length, torch.device("cpu")))
        for length in (1, 7, 50, 1000)
    ]
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0], rtol=1e-6, atol=0)
    alone = evaluate(network, flat, Streams(tokens, 1, 1000, torch.device("cpu")))
    assert not torch.allclose(alone, losses[0], rtol=1e-6)


def test_streams_read_every_word_once_and_answer_with_the_next():
    text = Streams(np.arange(23, dtype=np.int32), 2, 4, torch.device("cpu"))
    assert text.steps == 10 and text.segments == 3
    segments = [text[k] for k in range(3)]
    inputs = torch.cat([segment.inputs for segment in segments]).T.tolist()
    assert inputs == [list(range(10)), list(range(11, 21))]
    for segment in segments:
        assert torch.equal(segment.targets, segment.inputs + 1)
    with pytest.raises(InvalidInput, match="use at most half of the text's 3 words"):
        Streams(np.arange(3, dtype=np.int32), 2, 4, torch.device("cpu"))


def test_dropout_follows_from_seed_epoch_and_segment_and_leaves_out_its_share():
    trial = replace(TRIAL, hidden=101, dropout=0.25, length=50)
    network = TiedNetwork(trial)
    segment = Streams(np.arange(400, dtype=np.int32) % 61, 3, 50, torch.device("cpu"))[0]

    def noise(seed, epoch, k):
        return noise_of(network, [replace(trial, seed=seed)], np.array([epoch]), k, segment)

    one = noise(0, 0, 0)
    assert one.shape == (1, 2, 50, 3, 101) and one.dtype == torch.uint8
    assert torch.equal(one, noise(0, 0, 0))
    for other in (noise(1, 0, 0), noise(0, 1, 0), noise(0, 0, 1)):
        assert (one == other).float().mean() < 0.02
    kept = (one >= network.dropped).double().mean()
    assert abs(float(kept) - 0.75) < 0.01
    assert network.scale == 1 / 0.75
    assert (
        noise_of(TiedNetwork(replace(trial, dropout=0.0)), [trial], np.zeros(1), 0, segment) is None
    )


def test_the_rate_falls_as_torch_lets_it_fall():
    rng = np.random.default_rng(0)
    for patience in (1, 2, 7):
        losses = 5 * 0.9 ** np.arange(60) + rng.normal(0, 0.3, 60)
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimiser = torch.optim.SGD([parameter], 1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=patience
        )
        for n, loss in enumerate(losses, start=1):
            theirs.step(loss)
            ours = 0.5 ** plateaus(losses[:n].tolist(), patience)
            assert optimiser.param_groups[0]["lr"] == ours
        assert ours < 1


def test_a_trial_ends_when_its_rate_falls_below_the_least(corpora):
    """A hopeless rate never gets better, so the rate falls after every second epoch."""
    trial = replace(TRIAL, learning_rate=1e-30, patience=1, decay=0.1, least_rate=5e-33, epochs=99)
    (found,) = results([trial], corpora).values()
    np.testing.assert_allclose(
        found.history["learning_rate"], [1e-30] * 3 + [1e-31] * 2 + [1e-32] * 2, rtol=1e-12
    )
    assert found.status == "unsolved"


class Stopped(Exception):
    """Ends a training within an epoch."""


def stopped_after(batches, checkpoints):
    """A runner that writes a checkpoint after this batch of the second epoch, and dies."""

    def keep(members: Members) -> None:
        if members.epochs[0] == 1 and members.place.batches[0] == batches:
            members.save_all(checkpoints)
            raise Stopped

    return lambda: Reading(keep, 0.0)


@EVERY_CELL
def test_training_goes_on_from_the_middle_of_an_epoch_to_the_same_bits(cell, corpora, tmp_path):
    pack = pack_of(3, cell=cell)
    whole = results(pack, corpora)
    checkpoints = Checkpoints(tmp_path)
    for trial, batches in zip(pack[:2], (2, 5), strict=True):  # the third has not begun
        with pytest.raises(Stopped):
            results([trial], corpora, checkpoints, stopped_after(batches, checkpoints))
        state = checkpoints.load(trial)
        assert (state.epoch, state.batches) == (1, batches) and not state.finished
    rest = results(pack, corpora, checkpoints)
    for trial, found in rest.items():
        missing = len(whole[trial].history["epoch"]) - len(found.history["epoch"])
        assert missing == (1 if trial in pack[:2] else 0)
        for name, values in found.history.items():
            assert values.tobytes() == whole[trial].history[name][missing:].tobytes(), name


def test_a_pack_saves_within_its_epochs_by_itself(corpora, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    training = train(Pack((TRIAL,)), "cpu", checkpoints, 1e-9, corpora=corpora)
    next(training)
    names = sorted(path.name for path in (tmp_path / TRIAL.id).iterdir())
    assert names[0] == "epoch-00000000-00000010.json" and "epoch-00000001.json" in names


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
    results([plain], corpora, other := Checkpoints(tmp_path / "lstm"))
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
    (plain,) = results([TRIAL], corpora).values()
    monkeypatch.setattr(cross_entropy, "CHUNKED_FROM", 0)
    (pieces,) = results([TRIAL], corpora).values()
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


@EVERY_CELL
def test_a_pack_allocates_at_most_what_is_foretold_and_not_far_less(cell, corpora):
    """The softmax works on one member after another, so the bound is not as near as elsewhere."""
    trial = replace(TRIAL, cell=cell, hidden=40, batch=20, length=97, train_size=8000)
    training = train(Pack(tuple(replace(trial, seed=s) for s in range(3))), corpora=corpora)
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        next(training)
    events = [e for e in profile.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    foretold = 3 * bytes_per_member(trial)
    assert 0.6 * foretold <= most <= foretold
