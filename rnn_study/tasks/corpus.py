"""`Corpus`: a text in words, tokenised once and kept as arrays that are mapped, not read.

A corpus is named by a hash of its content, so a trial that names it means the same text on every
machine, wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from rnn_study.errors import InvalidInput, require

SPLITS: Final = ("train", "valid", "test")
"""The texts of a corpus, one file each: `train.txt` and so on."""
UNKNOWN, END = "<unk>", "<eos>"
"""The word that stands for all that are not known, and the one at the end of each line."""
_TOKENISER = 1
"""Raised by hand when equal texts would become other tokens."""


@dataclass(frozen=True)
class Corpus:
    """Three texts as tokens, and the words that they stand for."""

    id: str
    """16 hexadecimal digits, a hash of the three texts."""
    words: tuple[str, ...]
    """The word of each token: <unk>, <eos>, then by falling frequency in the training text, equal
    ones as they come; words of the other texts alone are last."""
    tokens: Mapping[str, np.ndarray]
    """(N,) int32, by split."""

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The token of each word."""
        return {word: token for token, word in enumerate(self.words)}

    def read(self, split: str, vocabulary: int, size: int = 0) -> np.ndarray:
        """The first `size` tokens of a split (0: all), (N,) int32; those from `vocabulary` on are
        <unk>."""
        tokens = self.tokens[split][: size or None]
        return np.where(tokens < vocabulary, tokens, 0)

    def perplexity_of_frequencies(self, vocabulary: int, train_size: int, val_size: int) -> float:
        """Of the validation text, to an answer that knows how often words are in the training text.

        Every word counts once more than it is there. Vocabulary and sizes as in `read`.
        """
        counts = 1 + np.bincount(self.read("train", vocabulary, train_size), minlength=vocabulary)
        nats = -np.log(counts / counts.sum())
        return float(np.exp(nats[self.read("valid", vocabulary, val_size)].mean()))

    def token(self, name: str, word: str, vocabulary: int) -> int:
        """The token of a word. InvalidInput, which names the setting `name`, where it has none."""
        token = self.numbers.get(word, len(self.words))
        allowed = f"use words that are among the {vocabulary:,} most frequent of the text"
        require(token < vocabulary, name, word, allowed)
        return token

    def save(self, folder: Path) -> None:
        """Writes it under its id into `folder`, whole or not at all, unless it is there."""
        if _is_sound(folder / self.id):
            return
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{self.id}.", dir=folder))
        try:
            (draft / "words.txt").write_text("\n".join(self.words), encoding="utf-8", newline="\n")
            for split, tokens in self.tokens.items():
                np.save(draft / f"{split}.npy", tokens, allow_pickle=False)
            sums = {path.name: _checksum(path) for path in sorted(draft.iterdir())}
            (draft / "sha256.json").write_text(json.dumps(sums, indent=1))
            draft.chmod(0o755)
            if (folder / self.id).exists():  # damaged
                (folder / self.id).replace(draft / "damaged")
            draft.replace(folder / self.id)
            shutil.rmtree(folder / self.id / "damaged", ignore_errors=True)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not _is_sound(folder / self.id):  # or somebody else was faster
                raise

    @classmethod
    def open(cls, folder: Path, corpus_id: str) -> Corpus:
        """What `save` has written; its tokens are mapped into memory.

        Raises FileNotFoundError where it is not there or damaged.
        """
        home = folder / corpus_id
        if not _is_sound(home):
            raise FileNotFoundError(
                f"the corpus {corpus_id} is missing or damaged in {folder}; the study's own "
                "command puts it there, and every node must see the storage folder"
            )
        words = (home / "words.txt").read_text(encoding="utf-8").split("\n")
        tokens = {
            split: np.load(home / f"{split}.npy", mmap_mode="r", allow_pickle=False)
            for split in SPLITS
        }
        return cls(corpus_id, tuple(words), tokens)


def read_texts(folder: Path) -> dict[str, str]:
    """The texts of a folder with train.txt, valid.txt and test.txt, by split.

    Raises InvalidInput where one is missing, empty or not UTF-8, and where the training text has
    no <unk>.
    """
    texts = {}
    allowed = (
        "use a folder with train.txt, valid.txt and test.txt, "
        "such as python -m rnn_study.fetch_text makes"
    )
    require(folder.is_dir(), "data", str(folder), allowed)
    for split in SPLITS:
        path = folder / f"{split}.txt"
        try:
            text = path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise InvalidInput("data", str(folder), f"{path.name} is missing there") from None
        except UnicodeDecodeError as error:
            reason = f"{path.name} must be UTF-8; it is not at byte {error.start:,}"
            raise InvalidInput("data", str(folder), reason) from None
        except OSError as error:
            reason = f"{path.name} cannot be read ({(error.strerror or str(error)).lower()})"
            raise InvalidInput("data", str(folder), reason) from None
        require(bool(text.strip()), "data", str(folder), f"{path.name} must not be empty")
        texts[split] = text.replace("\r\n", "\n")
    allowed = f"train.txt must have {UNKNOWN} in the place of rare words"
    require(UNKNOWN in texts["train"].split(), "data", str(folder), allowed)
    return texts


def corpus_id(texts: Mapping[str, str]) -> str:
    """The id of the corpus of these texts."""
    known = hashlib.sha256(f"{_TOKENISER}".encode())
    for split in SPLITS:
        known.update(hashlib.sha256(texts[split].encode()).digest())
    return known.hexdigest()[:16]


def tokenise(texts: Mapping[str, str]) -> Corpus:
    """The words between white space, and <eos> at the end of every line."""
    split_up = {split: _words(texts[split]) for split in SPLITS}
    counts = Counter(split_up["train"])
    for marker in (UNKNOWN, END):
        counts.pop(marker, None)
    ordered = dict.fromkeys((UNKNOWN, END))
    ordered |= dict.fromkeys(word for word, _ in counts.most_common())
    for split in SPLITS[1:]:
        ordered |= dict.fromkeys(split_up[split])
    words = tuple(ordered)
    numbers = {word: token for token, word in enumerate(words)}
    tokens = {
        split: np.fromiter(map(numbers.__getitem__, found), np.int32, len(found))
        for split, found in split_up.items()
    }
    return Corpus(corpus_id(texts), words, tokens)


def _words(text: str) -> list[str]:
    whole = text if text.endswith("\n") else text + "\n"
    return whole.replace("\n", f" {END} ").split()


def _is_sound(folder: Path) -> bool:
    """Whether a corpus lies there whole: every file as it was written."""
    try:
        sums = json.loads((folder / "sha256.json").read_text())
        return bool(sums) and all(_checksum(folder / name) == known for name, known in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
