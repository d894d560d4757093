"""The parts that text for a terminal is laid out with: tables, facts and titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WORDS = ("cell", "other", "at the end", "device", "node", "between", "objective")
"""Columns of words, which begin at the left in every table; numbers end at the right."""
FOLDED = ("cell", "device", "node")
"""Columns whose words may be long."""


def table(*titles: str) -> Table:
    """A table without lines, its titles dim. FOLDED columns are, where it is too wide."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for each in titles:
        side: Literal["left", "right"] = "left" if each in WORDS else "right"
        made.add_column(each, justify=side, no_wrap=each not in FOLDED, overflow="fold")
    return made


def sections(titles: Sequence[str], rows: Mapping[str, Sequence[Sequence[str]]]) -> Group:
    """Rows below the names of their sections, all in the same columns."""
    every = [titles, *(row for section in rows.values() for row in section)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]

    def part(lines: Sequence[Sequence[str]], header: bool) -> Padding:
        made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=header)
        for each, width in zip(titles, widths, strict=True):
            made.add_column(each, justify="right", no_wrap=True, width=width)
        for line in lines:
            made.add_row(*line)
        return Padding(made, (0, 0, 0, 4), expand=False)

    parts: list[Text | Padding] = [Text(), part([], True)]
    for name, lines in rows.items():
        parts += [Text(f"  {name}"), part(lines, False)]
    return Group(*parts)


def facts(named: Mapping[str, str]) -> Padding:
    """A line each, after its name."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in named.items():
        grid.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    return indented(grid)


def indented(made: Table) -> Padding:
    """Below a blank line, a little to the right."""
    return Padding(made, (1, 0, 0, 2), expand=False)


def title(text: str) -> Text:
    """What a part is about."""
    return Text(text, style="bold")
