"""`report.html`: a study on one page, to read on a phone or on paper, and to pass on.

The page needs nothing but itself: its pictures are inside. It holds no times, so that the page of
an interrupted study equals that of an undisturbed one.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2
import pandas as pd
from PIL import Image

from rnn_study import aggregate
from rnn_study.config import Study, Trial
from rnn_study.flags.again import options
from rnn_study.flags.fields import explained
from rnn_study.flags.words import written
from rnn_study.phrases import count, label, seeds, words
from rnn_study.reporting import files
from rnn_study.reporting.files import Written, write_text
from rnn_study.reporting.layout import WORDS
from rnn_study.reporting.tables import Shown
from rnn_study.search import Search

NAME: Final = "report.html"

PIXELS: Final = 1600
"""Widest picture: sharp on paper, and light enough for a phone."""

COMMIT: Final = "git_commit"
PRIVATE: Final = ("host",)
"""What of the environment is no one else's business."""

_TITLES: Final = {
    "length_table": "By sequence length",
    "seed_sensitivity": "By seed",
    "cell_summary": "Cells over all lengths",
    "cell_comparison": "Cells compared",
    "seeds_needed": "Seeds needed",
    "variance_split": "Whose the variance is",
    "learning_rates": "Learning rates found",
    "attractors": "Attractors",
    "perplexity": "Perplexity",
    "repetition": "When fed-back text repeats itself",
    "last_repetition": "When fed-back text repeats itself, at the last look at each seed",
}


class _Head(NamedTuple):
    text: str
    span: int
    left: bool


@dataclass(frozen=True)
class _Table:
    """A table as the template draws it."""

    title: str
    heads: list[list[_Head]]
    rows: list[list[str]]
    left: list[bool]
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What `report.html` is made of."""

    study: Study
    question: str
    command: str
    """What makes the study again."""
    runs: pd.DataFrame
    more: Mapping[str, Shown]
    """Tables by name beside those of the runs: of searches, of attractors."""
    files: Written
    """What the study's folder has; the page shows its PNG files."""
    environment: Mapping[str, str]
    """What the runs were made with, as text by name."""

    def write(self, folder: Path) -> Path:
        """Writes the page into `folder`, and returns its path."""
        versions = {k: v for k, v in self.environment.items() if k not in (COMMIT, *PRIVATE)}
        text = _template().render(
            study=self.study,
            question=" ".join(self.question.split()),
            summary=summary(self.runs),
            tables={name: _drawn(name, shown) for name, shown in self.tables.items()},
            figures=[
                {"name": path.stem, "title": caption, "png": _png(path)}
                for path, caption in self.files.items()
                if path.suffix == ".png"
            ],
            absent=absent(self.runs),
            fields=_of_study(self.study),
            versions=_versions(versions),
            commit=self.environment.get(COMMIT, ""),
            command=self.command,
        )
        return write_text(folder / NAME, text + "\n")

    @cached_property
    def tables(self) -> dict[str, Shown]:
        """Every table by name, as text."""
        return files.shown(self.runs) | dict(self.more)

    def description(self) -> list[str]:
        """The page in short, as pieces of Markdown, the most important first."""
        pieces = [" ".join(self.question.split()), f"**{summary(self.runs)}**"]
        for name, shown in self.tables.items():
            pieces.append(f"**{_TITLES.get(name, name)}**\n\n{files.markdown(shown)}")
        again = f"```\n{self.command}\n```"
        return [*pieces[:2], again, *pieces[2:]]


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("rnn_study.reporting", "")
    made = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return made.get_template("page.html")


def summary(runs: pd.DataFrame) -> str:
    """How many trials there are, and what became of them."""
    ended = aggregate.finished(runs)
    parts = [f"{len(ended)} finished"]
    if aggregate.metric_of(runs).goal is not None:
        parts.append(f"{int(aggregate.flags(ended['solved']).sum())} solved")
    parts.append(f"{int(aggregate.flags(ended['diverged']).sum())} diverged")
    failed = int((runs["status"] == "FAILED").sum())
    parts.append(f"{failed} failed")
    if missing := len(runs) - len(ended) - failed:
        parts.append(f"{missing} not finished")
    return f"{count(len(runs), 'trial')}: {', '.join(parts)}."


def _drawn(name: str, shown: Shown) -> _Table:
    """A table of `files`: its titles, equal neighbours of the upper level as one."""
    text = shown.text.map(lambda value: str(value).replace("$>$", ">"))
    columns = [column if isinstance(column, tuple) else (column,) for column in text.columns]
    left = [column[-1] in WORDS for column in columns]
    heads = []
    for level in range(text.columns.nlevels):
        names = [str(column[level]) for column in columns]
        if level < text.columns.nlevels - 1:
            spans = [(name, len(list(group))) for name, group in groupby(names)]
            heads.append([_Head(label(name) if name else "", span, False) for name, span in spans])
        else:
            heads.append([_Head(n, 1, at) for n, at in zip(names, left, strict=True)])
    rows = text.to_numpy(object).tolist()
    return _Table(_TITLES.get(name, name), heads, rows, left, shown.note)


def absent(runs: pd.DataFrame) -> list[str]:
    """What has no result or diverged, a line for the seeds of a condition that share a reason."""
    lines = []
    for _, group in aggregate.conditions(runs, aggregate.CONDITION):
        found: dict[str, list[Trial]] = {}
        for _, row in group.sort_values("seed", kind="stable").iterrows():
            if reason := _reason(row):
                found.setdefault(reason, []).append(aggregate.trial_of(row))
        lines += [
            f"{trials[0].condition}, {seeds(trials)}: {reason}" for reason, trials in found.items()
        ]
    return lines


def _reason(row: pd.Series) -> str:
    """Why a trial has no result, or that it diverged; empty if neither."""
    if row["status"] == "FAILED":
        return " ".join(str(row["failure"] or "failed for no known reason").split())
    if row["status"] != "FINISHED":
        return "not finished"
    return f"diverged in epoch {row['epochs_trained']:.0f}" if row["diverged"] else ""


def _of_study(study: Study) -> list[dict[str, str]]:
    """Every field, its value as on the command line, and what it means."""
    meaning, training = explained(Study), study.training()
    meaning |= {f"search_{name}": text for name, text in explained(Search).items()}
    names = sorted((field.name for field in fields(study)), key=lambda name: name in training)
    values = {name: getattr(study, name) for name in names} | options(study)
    return [
        {
            "name": words(name),
            "value": " ".join(written(name, value)) or "none",
            "meaning": meaning[name],
        }
        for name, value in values.items()
    ]


def _versions(values: Mapping[str, str]) -> _Table:
    """What the study was made with."""
    heads = [[_Head("", 1, True), _Head("version", 1, True)]]
    return _Table("Made with", heads, [list(pair) for pair in values.items()], [True, True])


def _png(path: Path) -> str:
    """A picture as base64, in 256 colours."""
    with Image.open(path) as picture:
        small: Any = picture.convert("RGB")
    if small.width > PIXELS:
        size = (PIXELS, round(small.height * PIXELS / small.width))
        small = small.resize(size, Image.Resampling.LANCZOS)
    made = io.BytesIO()
    small.quantize(256, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return base64.b64encode(made.getvalue()).decode()
