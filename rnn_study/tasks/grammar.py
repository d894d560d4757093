"""A small text that the project makes itself, from a probabilistic grammar with a fixed seed.

It stands in for a real one where there is none: articles of some lines about a subject each, whose
name comes back, with agreement in number over relative clauses and with rare names as <unk>. Free
of any licence but the project's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from rnn_study.randomness import generator
from rnn_study.tasks.corpus import UNKNOWN

SIZES: Final = {"train": 40_000, "valid": 6_000, "test": 6_000}
"""About how many words each text has."""
SEED: Final = 2020


def _list(words: str) -> list[str]:
    return words.split()


_NAMES: Final = _list(
    "Valkyria Armin Belinda Corvus Dalia Edgar Farah Gideon Helga Ivo Jorun Kasimir Lydia Magnus "
    "Nadia Osric Petra Quentin Ragna Silas"
)
_KINDS: Final = _list(
    "river:rivers castle:castles soldier:soldiers game:games song:songs ship:ships "
    "village:villages storm:storms horse:horses road:roads tower:towers "
    "garden:gardens bird:birds letter:letters "
    "king:kings painter:painters"
)
_PLACES: Final = _list("the_north the_south the_old_town the_valley Europe the_coast")
_SHORT: Final = _list("old small famous dark quiet northern broken golden first last")
_DOING: Final = _list(
    "crosses:cross follows:follow sees:see builds:build finds:find leaves:leave guards:guard "
    "paints:paint remembers:remember takes:take"
)
_TIMES: Final = _list("in_the_spring during_the_war in_1914 after_the_storm every_year at_night")


class _Writer:
    """Writes one text."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def one(self, words: list[str]) -> str:
        """A word of a list: the k-th is drawn in proportion to 1 / (k + 1), as words are."""
        weights = 1 / np.arange(1, len(words) + 1)
        return words[int(self._rng.choice(len(words), p=weights / weights.sum()))].replace("_", " ")

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def name(self, subject: str) -> str:
        """Mostly the article's subject; else another name, or a rare one."""
        if self.chance(0.6):
            return subject
        return UNKNOWN if self.chance(0.5) else self.one(_NAMES)

    def phrase(self, many: bool) -> str:
        """A noun phrase, singular or plural."""
        noun = self.one(_KINDS).split(":")[many]
        adjective = f"{self.one(_SHORT)} " if self.chance(0.5) else ""
        return f"the {adjective}{noun}"

    def sentence(self, subject: str) -> str:
        many = self.chance(0.4)
        if self.chance(0.35):
            tense = "is" if self.chance(0.7) else "was"
            rest = f"{self.phrase(False)} of {self.one(_PLACES)}"
            return f"{self.name(subject)} {tense} {rest} ."
        if self.chance(0.45):
            many, who = False, self.name(subject)
        else:
            who = self.phrase(many)
            if self.chance(0.35):  # the verb comes late, and still agrees
                who = f"{who} that {self.name(subject)} {self.one(_DOING).split(':')[0]} ,"
        verb = self.one(_DOING).split(":")[many]
        when = f" {self.one(_TIMES)}" if self.chance(0.5) else ""
        return f"{who} {verb} {self.phrase(self.chance(0.4))}{when} ."

    def article(self) -> str:
        subject = self.one(_NAMES)
        lines = ["", f" = {subject} = ", ""]
        for _ in range(int(self._rng.integers(2, 5))):
            sentences = [self.sentence(subject) for _ in range(int(self._rng.integers(2, 6)))]
            lines.append(f" {' '.join(sentences)} ")
        return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def texts() -> Mapping[str, str]:
    """The three texts by split, the same on every machine."""
    written = {}
    for split, size in SIZES.items():
        writer, articles, count = _Writer(generator(SEED, "grammar", split)), [], 0
        while count < size:
            articles.append(writer.article())
            count += len(articles[-1].split()) + articles[-1].count("\n")
        written[split] = "".join(articles)
    return written
