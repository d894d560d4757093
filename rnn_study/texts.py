"""From `--data` to a corpus, to a study that names it, and to the machines that train on it.

A corpus is mapped into memory, so it lies on a disk wherever it is read. Where the storage is a
bucket, the driver puts it there, and every machine keeps a copy of its own.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnn_study import storage
from rnn_study.config import Study
from rnn_study.errors import require
from rnn_study.tasks import TASKS, Metric, grammar
from rnn_study.tasks.corpus import Corpus, corpus_id, read_texts, tokenise


def prepare(study: Study, data: Path | None, corpora: str) -> tuple[Study, Corpus | None]:
    """The study with its text: by its content, its vocabulary and its sizes. And the text.

    `data`: the folder of train.txt, valid.txt and test.txt; None: the text that the project makes
    itself. `corpora`: the address of all corpora; this machine's copy is looked into, and nothing
    is written. A study that reads no text is returned as it is. Raises InvalidInput.
    """
    if not TASKS[study.task].reads_text:
        require(data is None, "data", str(data), f"the {study.task} task reads no text")
        return study, None
    found = grammar.texts() if data is None else read_texts(data)
    try:
        corpus = Corpus.open(storage.local(corpora), corpus_id(found))
    except FileNotFoundError:
        corpus = tokenise(found)
    sizes: dict[str, Any] = {
        "vocabulary": _size("vocabulary", study.vocabulary, len(corpus.words), "words"),
        "train_size": _size("train_size", study.train_size, len(corpus.tokens["train"]), "tokens"),
        "val_size": _size("val_size", study.val_size, len(corpus.tokens["valid"]), "tokens"),
        "test_size": _size("test_size", study.test_size, len(corpus.tokens["test"]), "tokens"),
    }
    require(sizes["vocabulary"] > 1, "vocabulary", sizes["vocabulary"], "use at least 2 words")
    for name, split in (("train_size", "train"), ("val_size", "valid"), ("test_size", "test")):
        most = sizes[name] // 2
        of_split = f"two of the {sizes[name]:,} tokens of {split}.txt"
        allowed = f"use at most {most:,}: each stream needs {of_split}"
        require(study.batch <= most, "batch", study.batch, allowed)
    for word in study.words:
        corpus.token("words", word, sizes["vocabulary"])
    return replace(study, corpus=corpus.id, **sizes), corpus


def metric(study: Study, corpus: Corpus | None) -> Metric:
    """The metric of a study's task, with the baseline of its text: the frequencies of the words.

    `study`, `corpus`: as `prepare` returns them. Raises InvalidInput where learning rates are to be
    searched and the text is missing.
    """
    known = TASKS[study.task].metric
    if corpus is None:
        needed = known.baseline is None and bool(study.searches())
        require(not needed, "corpus", corpus, "give the text, whose baseline a search needs")
        return known
    sizes = (study.vocabulary, study.train_size, study.val_size)
    return replace(known, baseline=corpus.perplexity_of_frequencies(*sizes))


def save(corpus: Corpus, corpora: str) -> None:
    """Puts a corpus where all machines find it: the address of all corpora."""
    folder = storage.local(corpora)
    corpus.save(folder)
    if isinstance(storage.parse(corpora), str):
        # whatever is there already, so that damage there is mended by the study's own command
        storage.publish((folder / corpus.id).iterdir(), f"{corpora}/{corpus.id}")


def fetch(corpora: str, corpus_id: str) -> Path:
    """The folder on this machine in which `Corpus.open` finds a corpus.

    Copied from a bucket where it is not there yet, whole or not at all, however many processes do
    so at once. Raises FileNotFoundError where the bucket has none that is sound.
    """
    folder = storage.local(corpora)
    if isinstance(storage.parse(corpora), Path):
        return folder
    try:
        Corpus.open(folder, corpus_id)
    except FileNotFoundError:
        files = storage.files(f"{corpora}/{corpus_id}")
        with tempfile.TemporaryDirectory() as copies:
            copy = Path(copies, corpus_id)
            copy.mkdir()
            for name in files.names():
                (copy / name).write_bytes(files.read(name))
            try:
                Corpus.open(copy.parent, corpus_id).save(folder)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{files} is missing or damaged; the study's own command puts it there"
                ) from error
    return folder


def _size(name: str, asked: int, there: int, of: str) -> int:
    allowed = f"use at most {there:,}, or 0 for all: the text has no more {of}"
    require(asked <= there, name, asked, allowed)
    return asked or there
