"""From `--data` to a corpus, and to a study that names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rnn_study.config import Study
from rnn_study.errors import require
from rnn_study.tasks import TASKS, grammar
from rnn_study.tasks.corpus import Corpus, corpus_id, read_texts, tokenise


def prepare(study: Study, data: Path | None, cache: Path) -> tuple[Study, Corpus | None]:
    """The study with its text: by its content, its vocabulary and its sizes. And the text.

    `data`: the folder of train.txt, valid.txt and test.txt; None: the text that the project makes
    itself. `cache`: the folder of all corpora, which is looked into and not written. A study that
    reads no text is returned as it is. Raises InvalidInput.
    """
    if not TASKS[study.task].reads_text:
        require(data is None, "data", str(data), f"the {study.task} task reads no text")
        return study, None
    found = grammar.texts() if data is None else read_texts(data)
    try:
        corpus = Corpus.open(cache, corpus_id(found))
    except FileNotFoundError:
        corpus = tokenise(found)
    sizes: dict[str, Any] = {
        "vocabulary": _size("vocabulary", study.vocabulary, len(corpus.words), "words"),
        "train_size": _size("train_size", study.train_size, len(corpus.tokens["train"]), "tokens"),
        "val_size": _size("val_size", study.val_size, len(corpus.tokens["valid"]), "tokens"),
    }
    require(sizes["vocabulary"] > 1, "vocabulary", sizes["vocabulary"], "use at least 2 words")
    for name in ("train_size", "val_size"):
        most = sizes[name] // 2
        allowed = f"use at most {most:,}: each stream needs two of the {sizes[name]:,} tokens"
        require(study.batch <= most, "batch", study.batch, allowed)
    for word in study.words:
        corpus.token("words", word, sizes["vocabulary"])
    return replace(study, corpus=corpus.id, **sizes), corpus


def _size(name: str, asked: int, there: int, of: str) -> int:
    allowed = f"use at most {there:,}, or 0 for all: the text has no more {of}"
    require(asked <= there, name, asked, allowed)
    return asked or there
