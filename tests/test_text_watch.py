"""What language models do under a word held, and when they read their own words."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from texts import TRIAL, pack_of

from rnn_study import sample
from rnn_study.config import Pack
from rnn_study.dynamics import Kind
from rnn_study.dynamics.portrait import STEPS
from rnn_study.dynamics.repeats import SHARE, TIMES, repetition
from rnn_study.tasks.corpus import Corpus
from rnn_study.training import Checkpoints, train
from rnn_study.training import text_watch as watch
from rnn_study.training.album import bind
from rnn_study.training.tied import TiedNetwork
from rnn_study.training.watch import STARTS

WORDS = ("is", "<unk>", ".")
WATCHED = replace(TRIAL, words=WORDS, dynamics_every=2, vocabulary=108)


def slowly(tokens):
    """What `repetition` finds, by trying every beginning and period."""
    for after in range(len(tokens)):
        tail = tokens[after:]
        if len(tail) < SHARE * len(tokens):
            break
        for cycle in range(1, len(tail) // TIMES + 1):
            if np.array_equal(tail[cycle:], tail[:-cycle]):
                return after, cycle
    return -1, 0


def test_a_repetition_is_found_where_trying_everything_finds_it():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        lead, period = int(rng.integers(0, 12)), int(rng.integers(1, 7))
        cycle = rng.integers(0, 3, period)
        tokens = np.concatenate((rng.integers(0, 3, lead), np.tile(cycle, 9)[: 30 - lead]))
        assert tuple(repetition(tokens)) == slowly(tokens)
        found += repetition(tokens).cycle > 0
    assert found > 150
    for _ in range(50):
        tokens = rng.integers(0, 5, 60)
        assert tuple(repetition(tokens)) == slowly(tokens) == (-1, 0)


@pytest.mark.parametrize(
    ("tokens", "after", "cycle"),
    [
        ([1, 1, 1, 1], 0, 1),
        ([7, 8, 9, 1, 2, 1, 2, 1, 2, 1], 3, 2),
        (
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 9, 9, 9],
            -1,
            0,
        ),  # too short a part to be more than chance
        ([1, 2, 3, 1, 2, 3], -1, 0),  # seen twice only
    ],
)
def test_repetitions_by_hand(tokens, after, cycle):
    assert tuple(repetition(np.array(tokens))) == (after, cycle)


def test_inputs_have_names_that_mlflow_takes():
    assert watch.probes(("is", "<unk>", "unk", "@-@", "«")) == (
        *("is", "word 1", "word 2", "-", "word 4"),
        *("is fed back", "word 1 fed back", "word 2 fed back", "- fed back", "word 4 fed back"),
    )
    assert watch.probes(("<unk>", "<eos>"))[:2] == ("unk", "eos")
    assert watch.probes((".", "..", "..."))[:3] == ("word 0", "word 1", "...")  # they are paths
    assert watch.answers(WORDS) == ("mean", *WORDS)


@pytest.fixture(scope="module")
def seen(corpora, tmp_path_factory):
    """Two members of each of two cells after their last epoch: portraits, columns, parameters."""
    found = {}
    for cell in ("stable_lstm_provable", "orthogonal"):
        pack = [replace(t, words=WORDS, dynamics_every=2, vocabulary=108, learning_rate=1e-2)
                for t in pack_of(2, cell=cell)]  # fmt: skip
        checkpoints = Checkpoints(tmp_path_factory.mktemp(cell))
        text = shutil.copytree(corpora, tmp_path_factory.mktemp(cell) / "text")
        epochs = train(Pack(tuple(pack)), "cpu", checkpoints, corpora=text)
        next(epochs)
        shutil.rmtree(text)  # which is read once, before the first epoch
        *_, last = epochs
        for s, trial in enumerate(last.trials):
            columns = {k: v[s] for k, v in last.metrics.items() if k.startswith("dynamics/")}
            params = checkpoints.load(trial).params
            album = bind(checkpoints.portraits(trial), watch.probes(WORDS), 2)
            found[trial] = (last.portraits[trial.id], columns, params, album)
    return found


def test_a_portrait_has_every_word_held_and_fed_back(seen):
    for portrait, columns, _, album in seen.values():
        assert portrait.orbits.shape == (2 * len(WORDS), STARTS, STEPS, 1 + len(WORDS))
        assert np.isfinite(portrait.orbits).all()
        assert {name.split("/")[1] for name in columns} == set(watch.probes(WORDS))
        assert album.epochs.tolist() == [2] and not album.networks
        np.testing.assert_array_equal(album.portraits.orbits[0], portrait.orbits)


def test_under_a_word_held_the_provable_stable_lstm_rests_and_the_orthogonal_does_not(seen):
    for trial, (portrait, columns, _, _) in seen.items():
        held = portrait.kind[: len(WORDS)]
        if trial.cell == "orthogonal":
            assert (held != Kind.FIXED_POINT).any()
            continue
        assert (held == Kind.FIXED_POINT).all() and (portrait.attractors[: len(WORDS)] == 1).all()
        assert max(columns[f"dynamics/{word}/lyapunov"] for word in watch.probes(WORDS[:3])[:3]) < 0


def test_outputs_are_those_of_the_words_and_their_mean(seen, corpora):
    corpus = Corpus.open(corpora, TRIAL.corpus)
    for trial, (portrait, _, arrays, _) in seen.items():
        if trial.cell != "stable_lstm_provable":
            continue
        network = TiedNetwork(trial)
        params = network.views(network.flatten([arrays]).double())
        x = params["embed"][:, None, corpus.numbers["is"]]
        state = torch.zeros(1, 1, 2 * trial.hidden, dtype=torch.float64)
        for _ in range(2000):  # held: "is"
            state = network.cell.step(params, x, state)
        outputs = params["embed"][0] @ network.cell.output(state)[0, 0] + params["b_out"][0]
        expected = [outputs.mean(), *(outputs[corpus.numbers[word]] for word in WORDS)]
        np.testing.assert_allclose(portrait.orbits[0, 0, -1], expected, rtol=1e-5)


def test_what_repeats_is_the_text_that_the_network_writes_at_temperature_zero(seen, corpora):
    corpus = Corpus.open(corpora, TRIAL.corpus)
    some = 0
    for trial, (_, columns, params, _) in seen.items():
        for word, name in zip(WORDS, watch.probes(WORDS)[len(WORDS) :], strict=True):
            settings = sample.Settings(temperature=0.0, count=1900)
            found = repetition(sample.written(trial, params, [corpus.numbers[word]], settings))
            cycle = columns[f"dynamics/{name}/cycle"]
            if trial.cell == "orthogonal" and not (found.cycle and cycle):
                continue  # near its ties float32 and float64 write other texts
            some += 1
            assert cycle == found.cycle
            assert columns[f"dynamics/{name}/repeats_after"] == found.after
    assert some >= 2 * len(WORDS)


def test_of_a_text_that_does_not_repeat_it_is_not_said_after_how_many_words(seen, corpora):
    """Of three starts under a word, the first never repeats, and the others do from step 5 on."""
    (trial, (portrait, *_)), *_ = seen.items()
    never = np.random.default_rng(0).permutation(400)
    cycle = np.concatenate([never[:5], np.tile([1, 2], 198)[:395]])
    texts = np.stack([never, cycle, cycle])[None, None].repeat(len(WORDS), axis=1)
    found = watch.TextWatch(TiedNetwork(trial), trial, corpora)._numbers([portrait], texts)
    name = f"dynamics/{watch.probes(WORDS)[len(WORDS)]}"
    assert np.isnan(found[f"{name}/repeats_after"]) and found[f"{name}/cycle"] == 0
    assert found[f"{name}/repeating"] == pytest.approx(2 / 3)
    turned = watch.TextWatch(TiedNetwork(trial), trial, corpora)._numbers(
        [portrait], texts[:, :, ::-1]
    )
    assert (turned[f"{name}/repeats_after"], turned[f"{name}/cycle"]) == (5, 2)


def test_words_are_drawn_as_often_as_the_network_says():
    outputs = torch.tensor([0.0, 1.0, 2.0, -50.0], dtype=torch.float64)
    rng = np.random.default_rng(0)
    for temperature in (1.0, 0.5):
        drawn = [sample._chosen(outputs, temperature, rng) for _ in range(4000)]
        shares = np.bincount(drawn, minlength=4) / 4000
        expected = torch.softmax(outputs / temperature, 0).numpy()
        np.testing.assert_allclose(shares, expected, atol=0.03)
    assert sample._chosen(outputs, 0.0, rng) == 2


def test_a_text_is_printed_in_lines_and_told_how_it_ends(corpora):
    corpus = Corpus.open(corpora, TRIAL.corpus)
    tokens = [corpus.numbers[word] for word in ("the", "river", "<eos>", "is", "<eos>")]
    assert sample.shown(corpus, tokens) == "the river\nis\n"
    assert sample.told(repetition(np.array([1, 2, 2, 2, 2])), 5) == (
        "It repeats itself after 1 words, in a cycle of 1 word."
    )
    assert sample.told(repetition(np.arange(5)), 5) == "It does not repeat itself within 5 words."
