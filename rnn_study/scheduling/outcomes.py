"""`Outcomes`: what searches proposed and found, as data frames."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rnn_study.scheduling.proposals import Proposals

_PROPOSALS = {
    "cell": "str",
    "length": "int64",
    "learning_rate": "float64",
    "proposal": "int64",
    "round": "int64",
    "objective": "str",
    "value": "float64",
    "seeds": "int64",
    "epochs": "int64",
    "epochs_saved": "int64",
    "stopped_at": "float64",
    "winner": "bool",
}
_SEEDS = {
    "cell": "str",
    "length": "int64",
    "learning_rate": "float64",
    "proposal": "int64",
    "seed": "int64",
    "trial_id": "str",
    "value": "float64",
    "epochs": "int64",
}


@dataclass(frozen=True)
class Outcomes:
    """The proposals that have their results, by condition in the order of asking."""

    proposals: pd.DataFrame
    """One row a proposal: its condition, `learning_rate`, number and round, from 0; the `objective`
    and its `value`, over how many `seeds`; the `epochs` that they trained, all together, and how
    many at most were saved by stopping it (`epochs_saved`) at the epoch `stopped_at` (else NaN);
    and whether it is the `winner` of its condition's search."""
    seeds: pd.DataFrame
    """One row a proposal and seed: its validation value, and the epochs it trained."""

    def texts(self) -> dict[str, str]:
        """Both as CSV, by the names of their files."""
        frames = {"search.csv": self.proposals, "search_seeds.csv": self.seeds}
        return {
            name: frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items()
        }


def of(searches: Iterable[Proposals]) -> Outcomes:
    """The outcomes of some searches, as far as they are."""
    proposals: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    for search in searches:
        cell, length = search.condition
        for proposal, result in search.done:
            rate, limit = proposal.rate, proposal.trials[0].epochs
            place = {"cell": cell, "length": length, "learning_rate": rate}
            place["proposal"] = proposal.number
            stopped = result.stopped
            ended_there = [epochs == stopped for epochs in result.epochs]
            saved = sum(limit - stopped for there in ended_there if there) if stopped else 0
            proposals.append(
                place
                | {
                    "round": proposal.round,
                    "objective": search.search.objective,
                    "value": result.objective,
                    "seeds": len(proposal.trials),
                    "epochs": sum(result.epochs),
                    "epochs_saved": saved,
                    "stopped_at": math.nan if stopped is None else stopped,
                    "winner": search.best is not None and search.best[0] == proposal,
                }
            )
            for trial, value, epochs in zip(
                proposal.trials, result.values, result.epochs, strict=True
            ):
                seed = {"seed": trial.seed, "trial_id": trial.id, "value": value, "epochs": epochs}
                seeds.append(place | seed)
    return Outcomes(_frame(proposals, _PROPOSALS), _frame(seeds, _SEEDS))


def _frame(rows: list[dict[str, Any]], kinds: dict[str, str]) -> pd.DataFrame:
    columns = {name: pd.Series([row[name] for row in rows], dtype=k) for name, k in kinds.items()}
    return pd.DataFrame(columns)
