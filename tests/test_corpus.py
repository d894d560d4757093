"""Texts: what is refused, how they become tokens, and what lies in the cache."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rnn_study import fetch_text
from rnn_study.errors import InvalidInput
from rnn_study.flags import script
from rnn_study.tasks import grammar
from rnn_study.tasks.corpus import Corpus, corpus_id, read_texts, tokenise

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "wikitext-2"
TEXTS = {"train": "a b\n\n<unk> b\n", "valid": "b c\n", "test": "a"}


def folder(path, **changes):
    for split, text in {**TEXTS, **changes}.items():
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode()
            (path / f"{split}.txt").write_bytes(data)
    return path


def test_words_are_split_at_white_space_and_lines_end_in_eos():
    corpus = tokenise(TEXTS)
    assert corpus.words == ("<unk>", "<eos>", "b", "a", "c")  # by frequency, then as they come
    assert [corpus.words[t] for t in corpus.tokens["train"]] == [
        *("a", "b", "<eos>", "<eos>", "<unk>", "b", "<eos>")
    ]
    assert [corpus.words[t] for t in corpus.tokens["test"]] == ["a", "<eos>"]
    assert all(tokens.dtype == np.int32 for tokens in corpus.tokens.values())


def test_lines_that_end_as_windows_ends_them_are_the_same_text(tmp_path):
    changed = {split: text.replace("\n", "\r\n") for split, text in TEXTS.items()}
    for name, texts in (("plain", TEXTS), ("windows", changed)):
        (tmp_path / name).mkdir()
        folder(tmp_path / name, **texts)
    plain, windows = (read_texts(tmp_path / name) for name in ("plain", "windows"))
    assert windows == plain and corpus_id(windows) == corpus_id(plain)


def test_a_smaller_vocabulary_has_the_most_frequent_words_and_the_rest_is_unknown():
    corpus = tokenise(TEXTS)
    assert corpus.read("train", 3).tolist() == [0, 2, 1, 1, 0, 2, 1]
    assert corpus.read("train", 3, 2).tolist() == [0, 2]
    assert corpus.token("words", "b", 3) == 2
    with pytest.raises(InvalidInput, match=r"words: 'a' .* among the 3 most frequent"):
        corpus.token("words", "a", 3)


def test_the_frequencies_of_words_have_a_perplexity():
    corpus = tokenise(TEXTS)  # <unk> 2, <eos> 3, b 2; b, <unk>, <eos> are to be told
    found = corpus.perplexity_of_frequencies(3, 0, 0)
    assert found == pytest.approx((10 / 3 * 10 / 3 * 10 / 4) ** (1 / 3))
    assert corpus.perplexity_of_frequencies(3, 1, 1) == pytest.approx(4)  # <unk> 1; b


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid": None}, "valid.txt is missing there"),
        ({"test": ""}, "test.txt must not be empty"),
        ({"test": " \n\n"}, "test.txt must not be empty"),
        ({"train": b"a <unk> \xff\xfe"}, "train.txt must be UTF-8; it is not at byte 8"),
        ({"train": "a b c"}, "train.txt must have <unk> in the place of rare words"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, changes, reason):
    with pytest.raises(InvalidInput) as refused:
        read_texts(folder(tmp_path, **changes))
    assert str(refused.value) == f"data: {str(tmp_path)!r} is not allowed; {reason}"


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"data: .*use a folder with train\.txt"):
        read_texts(tmp_path / "none")


def test_the_id_follows_from_the_content_alone(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    assert corpus_id(read_texts(one)) == corpus_id(read_texts(two)) == tokenise(TEXTS).id
    ids = {corpus_id({**TEXTS, split: text + "x"}) for split, text in TEXTS.items()}
    assert len(ids | {tokenise(TEXTS).id}) == 4


def test_what_is_saved_is_mapped_and_equal(tmp_path):
    corpus = tokenise(TEXTS)
    corpus.save(tmp_path)
    opened = Corpus.open(tmp_path, corpus.id)
    assert opened.words == corpus.words and opened.id == corpus.id
    for split, tokens in corpus.tokens.items():
        assert isinstance(opened.tokens[split], np.memmap)
        np.testing.assert_array_equal(opened.tokens[split], tokens)
    corpus.save(tmp_path)  # nothing to do
    assert [path.name for path in tmp_path.iterdir()] == [corpus.id]


@pytest.mark.parametrize("name", ["words.txt", "train.npy", "sha256.json"])
def test_damage_is_noticed_and_mended_by_saving_again(tmp_path, name):
    corpus = tokenise(TEXTS)
    corpus.save(tmp_path)
    path = tmp_path / corpus.id / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(FileNotFoundError, match="missing or damaged"):
        Corpus.open(tmp_path, corpus.id)
    corpus.save(tmp_path)
    assert Corpus.open(tmp_path, corpus.id).words == corpus.words
    assert [path.name for path in tmp_path.iterdir()] == [corpus.id]


def test_the_projects_own_text_is_always_the_same_and_has_the_paper_s_words():
    corpus = tokenise(grammar.texts())
    assert corpus.id == "6c814f6de9b2602a"
    assert {"is", "Valkyria", "<unk>", "<eos>"} <= set(corpus.words)
    for split, size in grammar.SIZES.items():
        assert size <= len(corpus.tokens[split]) < size + 200


@pytest.mark.skipif(not REAL.is_dir(), reason=f"WikiText-2 is not at {REAL}")
def test_wikitext_2_has_its_published_counts():
    corpus = tokenise(read_texts(REAL))
    counts = {split: len(tokens) for split, tokens in corpus.tokens.items()}
    assert counts == {"train": 2_088_628, "valid": 217_646, "test": 245_569}
    assert len(corpus.words) == 33_278


def test_rows_of_the_hub_become_lines_whether_they_end_in_one_or_not():
    rows = [" = A = \n", "", "b <unk>\n", " \n", "c"]
    assert fetch_text.joined(rows) == " = A = \n\nb <unk>\n \nc\n"
    words = [" = A = ", "", "b <unk>", " ", "c"]
    assert fetch_text.joined(words) == fetch_text.joined(rows)


@pytest.mark.parametrize("error", [ConnectionError("no route\nat all"), ValueError("no route")])
def test_what_cannot_be_fetched_is_told_in_one_line(error, tmp_path, monkeypatch, capsys):
    def load_dataset(*_: object) -> None:
        raise error

    # in place of the library, which retries for half a minute where there is no network
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    flags = ["--out", str(tmp_path / "out")]
    assert script.main(fetch_text.Settings, fetch_text.fetch, "", flags) == 2
    wanted = "error: dataset: 'Salesforce/wikitext' is not allowed; it cannot be had: no route\n"
    assert capsys.readouterr().err == wanted
    assert not (tmp_path / "out").exists()


def test_fetching_works_or_says_what_to_install(tmp_path):
    """With the library a folder of texts stands in for the Hub, which tests do not ask."""
    (tmp_path / "there").mkdir()
    for name, text in (("train", "a <unk>\n\nb\n"), ("validation", "c\n"), ("test", "d\n")):
        (tmp_path / "there" / f"{name}.txt").write_text(text)
    settings = fetch_text.Settings(tmp_path / "out", str(tmp_path / "there"), "default")
    if importlib.util.find_spec("datasets") is None:
        with pytest.raises(InvalidInput, match=r"pip install 'rnn_study\[datasets\]'"):
            fetch_text.fetch(settings)
        assert not (tmp_path / "out").exists()
    else:
        fetch_text.fetch(settings)
        texts = read_texts(tmp_path / "out")
        assert texts == {"train": "a <unk>\n\nb\n", "valid": "c\n", "test": "d\n"}
