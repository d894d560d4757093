"""What the inputs of a time step cost beside its state, which they are multiplied together with.

The scans of packs at the sizes of the symbol task, forward and backward, with one-hot inputs of six
channels and of one, on this processor's matrix units (AMX) where it has them, and on its vectors.
One core; the two take turns, and each counts with its fastest turn. `cost` is how much longer six
take: about what there is to gain if one-hot inputs were looked up and looking up cost nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu_checks import parameters
from json_files import require_writable, write_json
from rich.console import Console
from rich.table import Table
from rivals import INPUTS, one_thread
from training import BATCH, Update, by_turns

from rnn_study.cells import CELLS
from rnn_study.environment import environment
from rnn_study.errors import require, require_positive, require_whole
from rnn_study.flags import script
from rnn_study.native.library import for_tensor
from rnn_study.randomness import generator

SHAPES = [(cell, *size) for cell in ("orthogonal", "lstm") for size in ((200, 4), (50, 16))]
"""Cell, hidden units, networks: those of docs/speed.md."""


@dataclass(frozen=True)
class Settings:
    """How long."""

    length: int = 100
    """Time steps."""
    seconds: float = 10.0
    """For each row, at least."""
    json: Path | None = None
    """Also write the rows to this file."""

    def __post_init__(self) -> None:
        require_whole("length", self.length, 1)
        require_positive("seconds", self.seconds)
        require_writable(self.json)


def run(settings: Settings) -> None:
    """Prints a table, a row for every shape and kind of product."""
    one_thread()
    library = for_tensor(torch.empty(0))
    require(library is not None, "native", library, "it needs a C++ compiler")
    assert library is not None
    about, rows = environment(), []
    for tiles in (True, False) if library.tiles else (False,):
        library.tiles = tiles
        for cell, hidden, pack in SHAPES:
            scans = [scan(cell, hidden, pack, settings.length, each) for each in (INPUTS, 1)]
            six, one = by_turns(scans, settings.seconds)
            rows.append({
                "products": "matrix units" if tiles else "vectors",
                "cell": cell,
                "hidden": hidden,
                "length": settings.length,
                "pack": pack,
                "scans_per_second": round(pack * six, 2),
                "with_one_input": round(pack * one, 2),
                "cost": round(one / six - 1, 3),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                **{key: about[key] for key in ("torch", "processor", "git_commit")},
            })  # fmt: skip
    if settings.json:
        write_json(settings.json, rows)
    Console(width=100).print(shown(rows))


def scan(cell_name: str, hidden: int, pack: int, length: int, inputs: int) -> Update:
    """Forward and backward, from a state of zeros, of all networks."""
    cell, rng = CELLS[cell_name], generator(0, "inputs")
    params = parameters(cell, pack, inputs, hidden, "cpu")
    weights = {k: v.requires_grad_() for k, v in cell.weights(params).items() if k != "skew"}
    channels = torch.from_numpy(rng.integers(inputs, size=(pack, length, BATCH)))
    x = F.one_hot(channels, inputs).float()
    state = torch.zeros(pack, BATCH, cell.state_size(hidden))

    def update() -> None:
        outputs, _ = cell.scan(weights, x, state)
        torch.autograd.grad(outputs[:, -1].sum(), [*weights.values()])

    return update


def shown(rows: list[dict[str, Any]]) -> Table:
    """The rows for people."""
    table = Table("products", "cell", "hidden", "pack", "scans/s", "one input", "cost")
    for row in rows:
        head = [str(row[key]) for key in ("products", "cell", "hidden", "pack")]
        rates = [f"{row[key]:.1f}" for key in ("scans_per_second", "with_one_input")]
        table.add_row(*head, *rates, f"{row['cost']:.1%}")
    return table


if __name__ == "__main__":
    sys.exit(script.main(Settings, run, __doc__ or ""))
