"""Fetches a text from the Hugging Face Hub: `python -m rnn_study.fetch_text --help`.

Needs the extra `datasets`; nothing else of the package does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rnn_study.errors import InvalidInput, require
from rnn_study.flags import script

TEXT: Final = """\
Fetches a text from the Hugging Face Hub, by default WikiText-2 (CC BY-SA 3.0), into a folder that
--data takes: train.txt, valid.txt and test.txt. Needs `pip install 'rnn_study[datasets]'`."""

SPLITS: Final = {"train": "train", "validation": "valid", "test": "test"}
"""The Hub's names of splits, and ours."""


@dataclass(frozen=True)
class Settings:
    """What is fetched, and where to."""

    out: Path = Path("wikitext-2")
    """The folder of the three files; made if it is missing."""
    dataset: str = "Salesforce/wikitext"
    """Its name on the Hub, or a folder; its rows need a column `text`, a line each."""
    subset: str = "wikitext-2-v1"
    """Its configuration; `default` if it has but one."""


def fetch(settings: Settings) -> None:
    """Load, write and tell."""
    try:
        library: Any = importlib.import_module("datasets")
    except ImportError:
        needed = "install the extra first: pip install 'rnn_study[datasets]'"
        raise InvalidInput("dataset", settings.dataset, needed) from None
    try:
        found = library.load_dataset(settings.dataset, settings.subset)
    except (OSError, ValueError) as error:  # no network, no such data set, no such subset
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidInput("dataset", settings.dataset, f"it cannot be had: {reason}") from error
    missing = sorted(set(SPLITS) - set(found))
    require(not missing, "dataset", settings.dataset, f"it has no split {', '.join(missing)}")
    settings.out.mkdir(parents=True, exist_ok=True)
    for theirs, ours in SPLITS.items():
        path = settings.out / f"{ours}.txt"
        path.write_text(joined(found[theirs]["text"]), encoding="utf-8", newline="\n")
        print(path)


def joined(rows: Iterable[str]) -> str:
    """Rows as lines; the Hub keeps some with their line's end and some without."""
    return "".join(row.rstrip("\n") + "\n" for row in rows)


if __name__ == "__main__":
    sys.exit(script.main(Settings, fetch, TEXT))
