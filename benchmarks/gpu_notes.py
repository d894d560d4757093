"""What `gpu.py` finds: a line of the table at once, and the file anew with every line."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from json_files import write_json

WIDTH = 64
"""Of the table's first column."""


@dataclass
class Notes:
    """What has been found. Whatever ends the run, the file has all of it."""

    path: Path | None = None
    """Of the file."""
    head: dict[str, Any] = field(default_factory=dict)
    """What the file begins with."""
    numbers: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    """What, its number, and what it should be."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each part."""
    tracebacks: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    def number(self, name: str, value: float, unit: str = "", goal: str = "") -> None:
        """A measured number; `goal` is for people."""
        self.numbers[name] = value
        self._line(name, f"{value:.4g} {unit}".strip(), goal)

    def check(self, name: str, error: float, allowed: float) -> None:
        """An error that must be at most `allowed`; NaN is not."""
        fails = not error <= allowed
        self.numbers[name] = error
        self.failed |= fails
        self._line(name, f"{error:.2g}", f"{'FAILS' if fails else 'ok'}, <= {allowed:g}")

    def broken(self, name: str, error: BaseException) -> None:
        """What raised an error: its traceback is in the file and on standard error."""
        self.failed = True
        self.tracebacks[name] = "".join(traceback.format_exception(error))
        print(self.tracebacks[name], file=sys.stderr, flush=True)
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        self._line(name, first[:60], "BROKEN")

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """An error within it is noted, and what comes after it goes on."""
        try:
            yield
        except Exception as error:
            self.broken(name, error)

    def left_out(self, name: str, why: str) -> None:
        """What was not run."""
        self._line(name, f"not run: {why}", "")

    def unfinished(self, name: str, why: str, check: bool) -> None:
        """What there was no time for; a check that was not made has failed."""
        self.failed |= check
        self._line(name, f"not run: {why}", "FAILS" if check else "")

    def _line(self, name: str, value: str, remark: str) -> None:
        self.lines.append((name, value, remark))
        print(f"{name:{WIDTH}}  {value:>22}  {remark}".rstrip(), flush=True)
        self.write()

    def write(self) -> None:
        """What has been found, and with what, as JSON."""
        if self.path is not None:
            names = ("seconds", "numbers", "rows", "tracebacks", "lines")
            write_json(self.path, self.head | {name: getattr(self, name) for name in names})
