"""Does it pay to judge a learning rate by several seeds? Searches compared at equal budget.

`--record` trains a grid of rates and seeds once (three minutes on two cores) and writes every epoch
to benchmarks/results/search_grid.json. Without it, searches are repeated many times on that grid: a
proposed rate is answered by the nearest one of the grid. In each repetition the grid's seeds are
dealt out anew: some to the search, the rest stay fresh. What a search picked is then scored by the
accuracy of the fresh seeds at that rate. Prints a table and writes it to results/search.json.

Every search is the study's own code (`Proposals`), the random ones but for their sampler; all may
train equally often. The plain ones pick as Optuna does, the first of equally good rates. Intervals
are bootstrapped over repetitions: they hold for this grid, and say nothing about other tasks.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table
from scipy import stats

from rnn_study.config import Pack, Study
from rnn_study.environment import environment
from rnn_study.errors import require_whole
from rnn_study.flags import script
from rnn_study.randomness import generator
from rnn_study.scheduling.proposals import Proposals
from rnn_study.search import Course, Search
from rnn_study.training import train

RESULTS = Path(__file__).parent / "results"
GRID, TABLE = RESULTS / "search_grid.json", RESULTS / "search.json"

# At this length the seed decides whether an LSTM of this size learns within the epochs.
STUDY = Study(
    name="recorded",
    task="symbol",
    cells=("lstm",),
    lengths=(60,),
    seeds=range(16),
    learning_rate=1e-2,
    hidden=32,
    epochs=40,
    val_size=300,
)
RATES = [float(f"{rate:.3g}") for rate in np.logspace(-3.5, -0.5, 13)]
BUDGET = 32
"""Trainings that a search may spend."""
FRESH = 8
"""Seeds that a search never sees, of the 16."""

History = dict[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """What is done."""

    record: bool = False
    """Train the grid, in some minutes, instead of searching on it."""
    repeats: int = 200
    """Searches of each kind."""

    def __post_init__(self) -> None:
        require_whole("repeats", self.repeats, 1)


def run(settings: Settings) -> None:
    """Record the grid, or compare searches on it."""
    if settings.record:
        record()
    else:
        compare(settings.repeats)


def record() -> None:
    """Trains every rate with every seed, two processes at once, and writes the epochs."""
    began = time.perf_counter()
    jobs = [(rate, tuple(part)) for rate in RATES for part in np.split(np.arange(16), 2)]
    found: dict[str, dict[str, list[float]]] = {f"{rate:g}": {} for rate in RATES}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for (rate, _), accuracies in zip(jobs, pool.map(_train, jobs), strict=True):
            found[f"{rate:g}"] |= accuracies
            print(f"{time.perf_counter() - began:4.0f} s: rate {rate:g}", flush=True)
    about = {
        "what": "validation accuracy after each epoch, by learning rate and seed; null: diverged",
        "command": "python benchmarks/search.py --record",
        "study": STUDY.declaration(),
        "environment": environment(),
        "seconds": round(time.perf_counter() - began),
    }
    _write(GRID, {**about, "accuracy": found})


def _train(job: tuple[float, tuple[int, ...]]) -> dict[str, list[float | None]]:
    rate, seeds = job
    study = replace(STUDY, learning_rate=rate, seeds=[int(seed) for seed in seeds])
    found: dict[str, list[float | None]] = {str(seed): [] for seed in study.seeds}
    for epoch in train(Pack(tuple(study.trials()))):
        for trial, accuracy in zip(epoch.trials, epoch.accuracy.tolist(), strict=True):
            found[str(trial.seed)].append(None if np.isnan(accuracy) else round(accuracy, 4))
    return found


class Grid:
    """The recorded trainings."""

    def __init__(self) -> None:
        recorded = json.loads(GRID.read_text())["accuracy"]
        self.rates = np.array([float(rate) for rate in recorded])
        self.histories = {
            (float(rate), int(seed)): _history(accuracies)
            for rate, by_seed in recorded.items()
            for seed, accuracies in by_seed.items()
        }

    def nearest(self, rate: float) -> float:
        return float(self.rates[np.abs(np.log(self.rates / rate)).argmin()])

    def fresh(self, rate: float, seeds: np.ndarray) -> np.ndarray:
        """The last validation accuracies of these seeds at the nearest rate."""
        near = self.nearest(rate)
        return np.array([self.histories[near, int(s)]["val_accuracy"][-1] for s in seeds])


def _history(accuracies: list[float | None]) -> History:
    values = np.array([np.nan if value is None else value for value in accuracies])
    loss = np.where(np.isnan(values), np.nan, 0.0)  # only whether it is finite matters here
    epoch = np.arange(1, len(values) + 1)
    return {"epoch": epoch, "train_loss": loss, "val_loss": loss, "val_accuracy": values}


@dataclass(frozen=True)
class Method:
    """A way to spend the budget."""

    name: str
    seeds: int
    """Seeds of each proposed rate: as many rates as the budget then has."""
    random: bool = False
    stop: str = "never"
    objective: str = "iqm"
    first: bool = False
    """Of equally good rates it picks the first, as Optuna does, not that in the middle."""


METHODS = (
    Method("4 seeds a rate, TPE, hopeless ones stopped", 4, stop="median"),
    Method("4 seeds a rate, TPE", 4),
    Method("4 seeds a rate, TPE, by their mean", 4, objective="mean"),
    Method("8 seeds a rate, TPE", 8),
    Method("4 seeds a rate, random", 4, random=True),
    Method("1 seed a rate, TPE, the middle of the best", 1),
    Method("1 seed a rate, TPE, plain", 1, first=True),
    Method("1 seed a rate, random, plain", 1, random=True, first=True),
)


def search(grid: Grid, method: Method, repeat: int) -> dict[str, float]:
    """One search, and what its pick is worth."""
    dealt = generator(repeat, "deal").permutation(16)
    fresh, own = dealt[:FRESH], dealt[FRESH : FRESH + method.seeds]
    study = replace(
        STUDY,
        seeds=[int(seed) for seed in fresh],
        learning_rate=Search(
            float(grid.rates[0]),
            float(grid.rates[-1]),
            trials=BUDGET // method.seeds,
            seeds=[int(seed) for seed in own],
            objective=method.objective,  # type: ignore[arg-type]
            stop=method.stop,  # type: ignore[arg-type]
            seed=repeat,
        ),
    )
    (condition,) = study.searches()
    sampler = optuna.samplers.RandomSampler(seed=repeat) if method.random else None
    proposals = Proposals(study, condition, sampler)
    courses: dict[str, Course] = {}
    while not proposals.finished:
        for proposal in proposals.round:
            for trial in proposal.trials:
                near = grid.nearest(trial.learning_rate)
                courses[trial.id] = Course(grid.histories[near, trial.seed], True)
        proposals.advance(courses)
    assert proposals.best is not None
    picked, result = proposals.best
    if method.first:
        best = proposals.optuna.best_trial
        picked, result = proposals.done[best.number]
    accuracy = grid.fresh(picked.rate, fresh)
    return {
        "accuracy of fresh seeds": float(accuracy.mean()),
        "fresh seeds solved": float((accuracy == 1).mean()),
        "what the search promised": result.objective,
        "epochs trained": float(sum(sum(result.epochs) for _, result in proposals.done)),
    }


def compare(repeats: int) -> None:
    """Repeats every kind of search and prints what it came to."""
    grid = Grid()
    rows: dict[str, dict[str, np.ndarray]] = {}
    for method in METHODS:
        scores = [search(grid, method, repeat) for repeat in range(repeats)]
        rows[method.name] = {name: np.array([s[name] for s in scores]) for name in scores[0]}
    single = rows["1 seed a rate, TPE, plain"]["accuracy of fresh seeds"]
    for row in rows.values():
        row["more than plain TPE"] = row["accuracy of fresh seeds"] - single
    best = max(grid.fresh(rate, np.arange(16)).mean() for rate in grid.rates)
    table = Table("", *next(iter(rows.values())), title=f"{BUDGET} trainings a search")
    summary: dict[str, dict[str, list[float]]] = {}
    for name, row in rows.items():
        summary[name] = {column: _interval(values) for column, values in row.items()}
        table.add_row(name, *(_text(*found) for found in summary[name].values()))
    Console(width=150).print(table)
    print(f"Mean and 95% interval of {repeats} searches; the best rate of the grid has {best:.3f}.")
    about = {
        "what": "mean, and the ends of its 95% interval over the repetitions",
        "command": f"python benchmarks/search.py --repeats {repeats}",
        "trainings a search": BUDGET,
        "accuracy of all seeds at the best rate of the grid": round(float(best), 4),
    }
    _write(TABLE, {**about, "searches": summary})


def _interval(values: np.ndarray) -> list[float]:
    """Mean, low and high: a bootstrap over repetitions, which may be all alike."""
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return [mean, mean, mean]
    rng = generator(0, "bootstrap")
    found = stats.bootstrap((values,), np.mean, n_resamples=2000, rng=rng, method="percentile")
    low, high = found.confidence_interval
    return [round(float(value), 4) for value in (mean, low, high)]


def _text(mean: float, low: float, high: float) -> str:
    digits = 0 if mean > 10 else 3
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=None if path == GRID else 1) + "\n")


if __name__ == "__main__":
    sys.exit(script.main(Settings, run, __doc__ or ""))
