"""From a folder of texts to a study that names what it reads of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from texts import TRIAL

from rnn_study import texts
from rnn_study.config import Study
from rnn_study.errors import InvalidInput
from rnn_study.scheduling.agenda import Agenda
from rnn_study.search import Search
from rnn_study.training.footprint import footprint
from rnn_study.training.streams import streams_of

WORDS = {"train": 500, "valid": 90, "test": 210}
STUDY = Study(
    name="of-texts", task="language", cells=("lstm",), lengths=(7,), seeds=(0,), learning_rate=0.01,
    hidden=5, batch=10, train_size=0, val_size=0,
)  # fmt: skip


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder of texts, the test text longer than the validation text."""
    for split, count in WORDS.items():
        words = ["<unk>", "one", "two", "three", "four"] * (count // 5)
        (tmp_path / f"{split}.txt").write_text(" ".join(words))
    return tmp_path


def test_of_each_text_all_is_read_or_what_was_asked_for(data):
    for asked in ({}, {"val_size": 40}, {"test_size": 130}, {"test_size": 20}):
        corpora = data / "corpora"
        study, corpus = texts.prepare(replace(STUDY, **asked), data, str(corpora))
        corpus.save(corpora)
        (trial,) = study.trials()
        streams = streams_of(trial, corpora, torch.device("cpu"))
        for split, size in (("train", "train_size"), ("val", "val_size"), ("test", "test_size")):
            there = WORDS["valid" if split == "val" else split] + 1  # an <eos> each
            assert getattr(trial, size) == (asked.get(size) or there)
            assert streams[split].steps == (asked.get(size) or there) // trial.batch - 1
    more = replace(TRIAL, test_size=TRIAL.test_size + 100)
    assert footprint(more).data == footprint(TRIAL).data + 400 and more.id != TRIAL.id


def test_the_baseline_of_a_text_is_that_of_its_words(data):
    study, corpus = texts.prepare(STUDY, data, str(data / "corpora"))
    assert texts.metric(study, corpus).baseline == pytest.approx(5, rel=0.1)  # five, equally often
    searching = replace(study, learning_rate=Search(1e-4, 1e-1))
    assert texts.metric(study, None).baseline is None
    with pytest.raises(InvalidInput, match="corpus: None is not allowed; give the text"):
        texts.metric(searching, None)
    search = Agenda(searching, texts.metric(searching, corpus), 4, (), lambda _: {})
    assert search.searches["lstm", 7].rule.baseline == texts.metric(study, corpus).baseline


@pytest.mark.parametrize("split", WORDS)
def test_a_text_too_short_for_the_batch_is_refused(data, split):
    (data / f"{split}.txt").write_text("<unk> " * 18)
    allowed = f"use at most 9: each stream needs two of the 19 tokens of {split}.txt"
    with pytest.raises(InvalidInput, match=f"batch: 10 is not allowed; {allowed}"):
        texts.prepare(STUDY, data, str(data / "corpora"))
    texts.prepare(replace(STUDY, batch=9), data, str(data / "corpora"))
