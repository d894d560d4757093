"""What it costs to watch attractors during training, as a share of the training time.

Trains packs at the paper's sizes for a few epochs and looks at every one, in one process on one
core (or a GPU), without Ray. A look is compared with an epoch of the same pack in the same run; the
share is what looks cost at the spacing of the paper's figures: every 10th of 400 epochs in Figure
7 (symbol), every 25th of 1500 in Figure 4 (sine). Prints a table.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from json_files import require_writable, write_json
from rich.console import Console
from rich.table import Table

from rnn_study.config import Pack, Trial
from rnn_study.environment import environment
from rnn_study.errors import require_whole
from rnn_study.flags import script
from rnn_study.training import train

SPACING = {"symbol": 10, "sine": 25}
"""Epochs between two looks."""
SETTINGS = {
    "symbol": {"length": 100, "batch": 100, "train_size": 1000, "val_size": 1000},
    "sine": {"length": 400, "batch": 10, "train_size": 100, "val_size": 100},
}


@dataclass(frozen=True)
class Settings:
    """How large, and how often."""

    hidden: int = 200
    """Hidden units."""
    pack: int = 4
    """Trials in a pack."""
    epochs: int = 3
    """Epochs to train."""
    json: Path | None = None
    """Also write the rows to this file."""

    def __post_init__(self) -> None:
        for name in ("hidden", "pack", "epochs"):
            require_whole(name, getattr(self, name), 1)
        require_writable(self.json)


def run(settings: Settings) -> None:
    """Measures every task and cell."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [
        measure(task, cell, settings.hidden, settings.pack, settings.epochs, device)
        for task in SETTINGS
        for cell in ("lstm", "stable_lstm", "orthogonal")
    ]
    table = Table(*rows[0], title=f"Watching attractors, hidden {settings.hidden}, {device}")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    if settings.json:
        given = {k: v for k, v in vars(settings).items() if k != "json"}
        write_json(settings.json, {"environment": environment(), "settings": given, "rows": rows})


def measure(
    task: str, cell: str, hidden: int, members: int, epochs: int, device: str
) -> dict[str, object]:
    """One row; the fastest epoch and the fastest look, for a shared machine interrupts some."""
    common = {"hidden": hidden, "epochs": epochs, "dynamics_every": 1, **SETTINGS[task]}
    trials = [
        Trial(task=task, cell=cell, learning_rate=1e-3, seed=seed, **common)
        for seed in range(members)
    ]
    seen = [
        (epoch.metrics["seconds"].sum(), epoch.metrics["dynamics_seconds"].sum())
        for epoch in train(Pack(tuple(trials)), device)
    ]
    epoch, look = (min(column) for column in zip(*seen, strict=True))
    return {
        "task": task,
        "cell": cell,
        "an epoch, s": round(epoch, 2),
        "a look, s": round(look, 2),
        "looks every": SPACING[task],
        "share of training": round(look / epoch / SPACING[task], 3),
    }


if __name__ == "__main__":
    sys.exit(script.main(Settings, run, __doc__ or ""))
