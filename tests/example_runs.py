"""Frames as `tracking.read_runs` and `tracking.read_histories` give them, without MLflow."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from rnn_study.config import Trial

LIMIT = 60
"""Epochs of a trial, unless told otherwise."""


def run(
    cell: str = "lstm",
    length: int = 50,
    seed: int = 0,
    accuracy: float = 0.25,
    solved_at: int | None = None,
    diverged_at: int | None = None,
    status: str = "FINISHED",
    **settings: Any,
) -> dict[str, Any]:
    """One row: unsolved after LIMIT epochs unless told otherwise."""
    settings = {"epochs": LIMIT, "hidden": 11, "learning_rate": 0.01, **settings}
    trial = Trial(task="symbol", cell=cell, length=length, seed=seed, **settings)
    finished = status == "FINISHED"
    last = solved_at or diverged_at or trial.epochs
    accuracy = 1.0 if solved_at else accuracy
    return {
        "trial_id": trial.id,
        "run_id": f"run-{trial.id}",
        "status": status,
        **asdict(trial),
        "val_accuracy": accuracy if finished else math.nan,
        "best_val_accuracy": accuracy if finished else math.nan,
        "epochs_trained": float(last) if finished else math.nan,
        "epochs_to_solve": float(solved_at) if solved_at and finished else math.nan,
        "solved": bool(solved_at) and finished,
        "diverged": diverged_at is not None and finished,
        "train_seconds": 1.5 if finished else math.nan,
        "failure": "a reason" if status == "FAILED" else None,
        "purpose": "grid",
    }


def grid(
    cells: tuple[str, ...] = ("lstm", "stable_lstm", "orthogonal"),
    lengths: tuple[int, ...] = (50, 75, 100),
    seeds: int = 7,
) -> pd.DataFrame:
    """A study with all there is: seeds solved, unsolved, diverged, failed and killed."""
    rng = np.random.default_rng(0)
    rows = []
    for cell in cells:
        rate = 0.001 if cell == "orthogonal" else 0.01
        for length in lengths:
            for seed in range(seeds):
                what: dict[str, Any] = {"accuracy": float(np.round(rng.uniform(0.2, 0.9), 3))}
                if rng.random() < 50 / length:
                    what = {"solved_at": int(rng.integers(5, LIMIT))}
                if cell == "lstm" and seed == 1:
                    what = {"accuracy": 0.25, "diverged_at": 3}
                if length == lengths[-1] and seed == 2:
                    what = {"status": "FAILED" if cell == "lstm" else "KILLED"}
                rows.append(run(cell, length, seed, learning_rate=rate, **what))
    return pd.DataFrame(rows)


def searched(seeds: int = 6) -> pd.DataFrame:
    """A study whose rates a search found: two cells and three lengths, a rate each."""
    rows = []
    for c, cell in enumerate(("lstm", "orthogonal")):
        for place, length in enumerate((50, 75, 100)):
            rate = 0.01 / (1 + 3 * c + place)
            values = (round(0.9 - 0.2 * place - 0.01 * seed, 3) for seed in range(seeds))
            rows += [run(cell, length, s, v, learning_rate=rate) for s, v in enumerate(values)]
    return pd.DataFrame(rows).assign(purpose="confirmation")


def histories_of(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A history for every finished run, NaN where it diverged."""
    found = {}
    for row in runs[runs["status"] == "FINISHED"].itertuples():
        epoch = np.arange(1, int(row.epochs_trained) + 1)
        validation = np.linspace(0.25, row.val_accuracy, len(epoch))
        training = np.linspace(0.3, 0.95, len(epoch))
        if row.diverged:
            validation[-1], training[-1] = np.nan, np.inf
        columns = {"epoch": epoch, "train_accuracy": training, "val_accuracy": validation}
        found[row.trial_id] = pd.DataFrame(columns)
    return found
