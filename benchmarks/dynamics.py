"""What it costs to watch attractors during training, as a share of the training time.

Trains packs at the paper's sizes for a few epochs and looks at every one, in one process on one
core (or a GPU), without Ray. A look is compared with an epoch of the same pack in the same run; the
share is what looks cost at the spacing of the paper's figures: every 10th of 400 epochs in Figure
7 (symbol), every 25th of 1500 in Figure 4 (sine). Prints a table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from rnn_study.config import Pack, Trial
from rnn_study.environment import environment
from rnn_study.training import train

SPACING = {"symbol": 10, "sine": 25}
"""Epochs between two looks."""
SETTINGS = {
    "symbol": {"length": 100, "batch": 100, "train_size": 1000, "val_size": 1000},
    "sine": {"length": 400, "batch": 10, "train_size": 100, "val_size": 100},
}


def main() -> None:
    """Measure every task and cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=200, help="hidden units, default 200")
    parser.add_argument("--pack", type=int, default=4, help="trials in a pack, default 4")
    parser.add_argument("--epochs", type=int, default=3, help="epochs to train, default 3")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [
        measure(task, cell, options.hidden, options.pack, options.epochs, device)
        for task in SETTINGS
        for cell in ("lstm", "stable_lstm", "orthogonal")
    ]
    table = Table(*rows[0], title=f"Watching attractors, hidden {options.hidden}, {device}")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    if options.json:
        settings = {k: v for k, v in vars(options).items() if k != "json"}
        about = {"environment": environment(), "settings": settings, "rows": rows}
        options.json.write_text(json.dumps(about, indent=1) + "\n")


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
    main()
