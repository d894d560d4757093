"""`Search`: a learning rate to be found, by what its seeds come to; and when a rate is hopeless.

A proposal is one learning rate, trained with every seed of the search. It is judged by a statistic
over those seeds, so that a rate that works for one lucky seed does not win. What is computed here
follows from the histories alone, so a search repeats itself exactly, whatever finishes first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rnn_study.errors import (
    LARGEST,
    MOST,
    require,
    require_member,
    require_positive,
    require_values,
)
from rnn_study.errors import require_whole as whole
from rnn_study.tasks import Metric

FIRST_SEED = 10_000
"""The seeds of a search are far from those that people give to a study."""
RUNGS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the epochs after which a proposal may be stopped."""
BEGUN = 1 / 4
"""Share of the way from no learning to the best objective, at which a median begins to count."""
MOST_RATES = 1000
"""Proposals of a search: a rate between two others need not be found more closely."""
FEWEST = 4
"""Earlier proposals that it takes to call another one hopeless."""

History = Mapping[str, np.ndarray]
Objective = Literal["iqm", "mean", "median", "worst", "solved"]
OBJECTIVES = ("iqm", "mean", "median", "worst", "solved")


@dataclass(frozen=True)
class Search:
    """A learning rate between LOW and HIGH, searched for each cell and length on its own."""

    low: float
    """Smallest learning rate to propose."""
    high: float
    """Largest learning rate to propose."""
    trials: int = 16
    """Learning rates to propose for each cell and length."""
    seeds: int | Sequence[int] = 4
    """Seeds that each proposed rate trains with, never those of the study: one number n means n
    seeds from 10000 on, several mean those, a:b means a to b - 1."""
    objective: Objective = "iqm"
    """What a rate is judged by, over its seeds: interquartile mean, mean, median or worst of the
    last validation values, or the share of seeds solved."""
    round: int = 4
    """Rates proposed at a time; the next ones learn from them."""
    stop: Literal["median", "never"] = "median"
    """When to stop all seeds of a rate early: where at an eighth, a quarter or half of the epochs
    their objective is worse than the median of the rates of earlier rounds, once most of those
    have begun to learn."""
    seed: int = 0
    """Draws the proposals: the same seed proposes the same."""

    def __post_init__(self) -> None:
        self._set("low", require_positive("learning_rate", self.low))
        self._set("high", require_positive("learning_rate", self.high))
        between = f"{self.low:g}:{self.high:g}"
        require(self.low < self.high, "learning_rate", between, "use LOW:HIGH with LOW below HIGH")
        for name, least, most in (
            ("trials", 1, MOST_RATES),
            ("round", 1, MOST_RATES),
            ("seed", 0, LARGEST),
        ):
            self._set(name, whole(f"search_{name}", getattr(self, name), least, most))
        seeds = self.seeds
        if not isinstance(seeds, Iterable):
            count = whole("search_seeds", seeds, 1, MOST)
            seeds = range(FIRST_SEED, FIRST_SEED + count)
        found = require_values("search_seeds", seeds)
        self._set("seeds", tuple(whole("search_seeds", seed, 0) for seed in found))
        require_member("search_objective", self.objective, OBJECTIVES)
        require_member("search_stop", self.stop, ("median", "never"))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def check(self, metric: Metric, seeds: Sequence[int]) -> None:
        """Refuses what does not go with a task's metric or with the seeds of a study."""
        if self.objective == "solved":
            allowed = "this task has no goal to solve; use iqm, mean, median or worst"
            require(metric.goal is not None, "search_objective", self.objective, allowed)
        shared = sorted({*self.each_seed} & {*seeds})
        allowed = "the seeds of the tables must be fresh: use others than those of the study"
        require(not shared, "search_seeds", shared, allowed)

    @property
    def each_seed(self) -> tuple[int, ...]:
        """The seeds that each proposal trains with."""
        assert isinstance(self.seeds, tuple)
        return self.seeds

    @property
    def size(self) -> int:
        """Trials of one condition's search, if all proposals differ."""
        return self.trials * len(self.each_seed)


@dataclass(frozen=True)
class Course:
    """What is known of a trial that tries a rate."""

    history: History
    """By epoch; empty before the first."""
    ended: bool
    """Whether nothing is left to train. Only the training knows: a history does not tell whether
    its rate has fallen too low to go on."""

    @property
    def epochs(self) -> int:
        """Epochs that it has trained."""
        return len(self.history["epoch"]) if self.history else 0

    def ended_by(self, epoch: int) -> bool:
        """Whether it had nothing left to train after `epoch`."""
        return self.ended and self.epochs <= epoch

    def reached(self, epoch: int) -> bool:
        """Whether it can be judged at `epoch`."""
        return self.ended or self.epochs >= epoch


@dataclass(frozen=True)
class Result:
    """What a proposal came to."""

    objective: float
    """The statistic over its seeds: at its end, or where it was stopped."""
    stopped: int | None
    """The epoch after which it was stopped as hopeless, if it was."""
    rungs: dict[int, float]
    """The statistic of each seed's best value so far, by epoch, at the rungs that it reached."""
    values: tuple[float, ...]
    """The value of each seed that the objective is of."""
    epochs: tuple[int, ...]
    """Epochs that each seed trained for it."""


@dataclass(frozen=True)
class Rule:
    """How a proposal is judged. Fixed before its round starts, from earlier rounds alone."""

    objective: str
    metric: Metric
    limit: int
    """Most epochs of a trial."""
    thresholds: Mapping[int, float]
    """By epoch: a proposal whose statistic is worse there is hopeless."""

    def to_json(self) -> str:
        """What a worker needs, which knows the task."""
        thresholds = {str(epoch): value for epoch, value in self.thresholds.items()}
        about = {"objective": self.objective, "baseline": self.baseline}
        return json.dumps(about | {"thresholds": thresholds})

    @classmethod
    def from_json(cls, text: str, metric: Metric, limit: int) -> Rule:
        about: dict[str, Any] = json.loads(text)
        thresholds = {int(epoch): value for epoch, value in about["thresholds"].items()}
        metric = replace(metric, baseline=about["baseline"])
        return cls(about["objective"], metric, limit, thresholds)

    def judge(self, courses: Sequence[Course]) -> Result | None:
        """What the seeds of a proposal came to; None as long as that is open.

        A course may go on after the epoch at which the proposal is stopped: it is read up to
        there. So a trial that another study trained further does not change a search.
        """
        rungs: dict[int, float] = {}
        for epoch in rung_epochs(self.limit):
            if not all(course.reached(epoch) for course in courses):
                return None
            values = [self._best(course.history, epoch) for course in courses]
            rungs[epoch] = self.statistic(values)
            training = any(not course.ended_by(epoch) for course in courses)
            hopeless = self.worse(rungs[epoch], self.thresholds.get(epoch, math.nan))
            if training and hopeless:
                epochs = tuple(min(epoch, course.epochs) for course in courses)
                return Result(rungs[epoch], epoch, rungs, tuple(values), epochs)
        if not all(course.ended for course in courses):
            return None
        values = [self._last(course.history) for course in courses]
        epochs = tuple(course.epochs for course in courses)
        return Result(self.statistic(values), None, rungs, tuple(values), epochs)

    def statistic(self, values: Sequence[float]) -> float:
        """The objective over the values of some seeds."""
        ordered = np.sort(np.asarray(values, dtype=float))
        if self.objective == "solved":
            return float(self.metric.solved(ordered).mean())
        if self.objective == "worst":
            return float(ordered[0] if self.metric.larger_is_better else ordered[-1])
        if self.objective == "median":
            return float(np.median(ordered))
        cut = len(ordered) // 4 if self.objective == "iqm" else 0
        return float(ordered[cut : len(ordered) - cut].mean())

    @property
    def baseline(self) -> float:
        """The value of an answer that takes no notice of the input."""
        assert self.metric.baseline is not None  # `texts.metric` has it
        return self.metric.baseline

    @property
    def maximises(self) -> bool:
        """Whether a larger objective is better."""
        return self.objective == "solved" or self.metric.larger_is_better

    def worse(self, value: float, than: float) -> bool:
        """Whether `value` is worse; never than NaN."""
        return value < than if self.maximises else value > than

    def _diverged(self, history: History, epoch: int) -> bool:
        losses = history["train_loss"][:epoch] + history["val_loss"][:epoch]
        return not bool(np.isfinite(losses).all())

    def _best(self, history: History, epoch: int) -> float:
        values = history[self.metric.column][:epoch]
        finite = values[np.isfinite(values)]
        best = self.metric.best(finite) if len(finite) else self.baseline
        return self._checked(best, self._diverged(history, epoch))

    def _last(self, history: History) -> float:
        values = history[self.metric.column]
        finite = values[np.isfinite(values)]
        last = float(finite[-1]) if len(finite) else self.baseline
        return self._checked(last, self._diverged(history, self.limit))

    def _checked(self, value: float, diverged: bool) -> float:
        """A seed that diverged has failed: it counts as no better than an answer without input."""
        if not diverged:
            return value
        pick = min if self.metric.larger_is_better else max
        return float(pick(value, self.baseline))


def rung_epochs(limit: int) -> list[int]:
    """The epochs at which proposals are compared, before the last."""
    return sorted({epoch for share in RUNGS if 0 < (epoch := math.ceil(limit * share)) < limit})


def next_rule(search: Search, metric: Metric, limit: int, earlier: Sequence[Result]) -> Rule:
    """The rule of the round to come, from the results of all earlier rounds.

    A proposal that was stopped counts as worse than all others at the rungs that it missed. A
    median says nothing as long as most still answer as if without input: it counts once it is a
    quarter of the way (`BEGUN`) from there to the best objective.
    """
    rule = Rule(search.objective, metric, limit, {})
    whole = [result.objective for result in earlier if result.stopped is None]
    if search.stop == "never" or len(earlier) < FEWEST:
        return rule
    start = 0.0 if search.objective == "solved" else rule.baseline
    best = max(whole) if rule.maximises else min(whole)
    begun = start + BEGUN * (best - start)
    missed = -math.inf if rule.maximises else math.inf
    medians = {
        epoch: float(np.median([result.rungs.get(epoch, missed) for result in earlier]))
        for epoch in rung_epochs(limit)
    }
    telling = {epoch: value for epoch, value in medians.items() if not rule.worse(value, begun)}
    return Rule(search.objective, metric, limit, telling)
