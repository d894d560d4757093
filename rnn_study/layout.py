"""The parts that text for a terminal is laid out with: tables, facts and titles."""

from __future__ import annotations

from collections.abc import Mapping

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WORDS = ("cell", "seeds", "between", "objective")
"""Columns of words, which begin at the left; numbers end at the right."""


def table(*titles: str) -> Table:
    """A table without lines, its titles dim."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for each in titles:
        made.add_column(each, justify="left" if each in WORDS else "right", no_wrap=True)
    return made


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
