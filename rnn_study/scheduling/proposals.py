"""`Proposals`: the search of one condition, an Optuna study that is asked and told in rounds.

What it proposes follows from its seed and from the results alone: a round is asked for as a whole,
told as a whole and in its own order. So it needs no state of its own after a crash: a new one, told
the same results, proposes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from rnn_study.config import Condition, Study, Trial
from rnn_study.randomness import generator
from rnn_study.search import Course, Result, Rule, Search, next_rule
from rnn_study.tasks import Metric

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would name each study and each best

RATE = "learning_rate"
Lookup = Callable[[Iterable[Trial]], Mapping[str, Course]]
"""What is known of some trials, by trial id."""


@dataclass(frozen=True)
class Proposal:
    """One learning rate of a condition, and the trials that try it."""

    number: int
    """From 0, in the order of asking."""
    round: int
    """From 0."""
    rate: float
    trials: tuple[Trial, ...]


class Proposals:
    """A condition's search: `round` is what is to be tried, until `advance` makes the next."""

    def __init__(
        self,
        study: Study,
        condition: Condition,
        metric: Metric,
        sampler: BaseSampler | None = None,
    ) -> None:
        """`metric`: as `texts.metric` gives it. `sampler`: what proposes, unless it is the
        estimator that all studies use."""
        self.condition = condition
        self.search = study.searches()[condition]
        self.metric = metric
        self.done: list[tuple[Proposal, Result]] = []
        self.round: list[Proposal] = []
        """The proposals that are being tried; none once the search is over."""
        self.rule = Rule(self.search.objective, self.metric, study.epochs, {})
        """How those are judged."""
        self._study = study
        direction = StudyDirection.MAXIMIZE if self.rule.maximises else StudyDirection.MINIMIZE
        self.optuna = optuna.create_study(
            study_name=name(condition),
            sampler=sampler or _Sampler(self.search, condition),
            direction=direction,
        )
        self._asked: list[optuna.Trial] = []
        self._ask()

    @property
    def finished(self) -> bool:
        """Whether every proposal has its result."""
        return not self.round

    @property
    def best(self) -> tuple[Proposal, Result] | None:
        """The winner: the best objective, of equal ones the best mean, of those the middle rate.

        (An interquartile mean leaves out the one seed of four that failed; and where many rates do
        equally well, one between them is safest.) None before the search is over. A stopped
        proposal never wins: it was worse than half of the others by then.
        """
        if not self.finished:
            return None
        sign = 1 if self.rule.maximises else -1
        better = 1 if self.metric.larger_is_better else -1

        def rank(result: Result) -> tuple[float, float]:
            return sign * result.objective, round(better * sum(result.values), 12)

        whole = [(p, result) for p, result in self.done if result.stopped is None]
        top = max(rank(result) for _, result in whole)
        equal = [each for each in whole if rank(each[1]) == top]
        return sorted(equal, key=lambda each: each[0].rate)[(len(equal) - 1) // 2]

    def advance(self, courses: Mapping[str, Course]) -> bool:
        """Tells Optuna the round, if every proposal in it is decided, and asks for the next.

        Returns whether it did.
        """
        results = {}
        for proposal in self.round:
            ids = [trial.id for trial in proposal.trials]
            known = [courses[trial_id] for trial_id in ids if trial_id in courses]
            result = self.rule.judge(known) if len(known) == len(ids) else None
            if result is None:
                return False
            results[proposal.number] = result
        for proposal, asked in zip(self.round, self._asked, strict=True):
            self._tell(asked, results[proposal.number])
            self.done.append((proposal, results[proposal.number]))
        if results:
            self._ask()
        return bool(results)

    def _ask(self) -> None:
        """The next round, whose rule follows from all rounds before it."""
        first, number = len(self.done), len(self.done) // self.search.round
        size = min(self.search.round, self.search.trials - first)
        self._asked = [self.optuna.ask() for _ in range(size)]
        low, high = self.search.low, self.search.high
        rates = [asked.suggest_float(RATE, low, high, log=True) for asked in self._asked]
        self.round = [
            Proposal(first + i, number, rate, self._trials(rate)) for i, rate in enumerate(rates)
        ]
        results = [result for _, result in self.done]
        self.rule = next_rule(self.search, self.metric, self._study.epochs, results)

    def _trials(self, rate: float) -> tuple[Trial, ...]:
        cell, length = self.condition
        seeds = self.search.each_seed
        return tuple(self._study.trial(cell, length, rate, seed) for seed in seeds)

    def _tell(self, asked: optuna.Trial, result: Result) -> None:
        for epoch, value in result.rungs.items():
            asked.report(value, epoch)
        asked.set_user_attr("seeds", list(self.search.each_seed))
        asked.set_user_attr("values", list(result.values))
        asked.set_user_attr("epochs", list(result.epochs))
        if result.stopped is None:
            self.optuna.tell(asked, result.objective)
        else:
            self.optuna.tell(asked, state=TrialState.PRUNED)


class _Sampler(TPESampler):
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) of one rate.

    Its first round is spread over the range, one rate in each of as many equal parts of its
    logarithm, in any order: few at random would often leave half of it out. It does not depend on
    how many rates follow, so a search can be made longer. Rates have four digits, which people can
    type.
    """

    def __init__(self, search: Search, condition: Condition) -> None:
        rng = generator(search.seed, "search", *condition)
        seed, spread = int(rng.integers(2**31)), search.round
        super().__init__(n_startup_trials=spread, multivariate=False, seed=seed)
        self._spread = (rng.permutation(spread) + rng.random(spread)) / spread

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> float:
        low, high = distribution.low, distribution.high
        if trial.number < len(self._spread):
            rate = low * (high / low) ** self._spread[trial.number]
        else:
            rate = super().sample_independent(study, trial, name, distribution)
        return min(max(float(f"{rate:.4g}"), low), high)


def name(condition: Condition) -> str:
    """The name of a condition's Optuna study."""
    cell, length = condition
    return f"{cell}, length {length}"


def save(searches: Iterable[Proposals], path: Path) -> None:
    """Writes the Optuna studies of all conditions into one new SQLite file."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    for search in searches:
        optuna.copy_study(
            from_study_name=search.optuna.study_name,
            from_storage=search.optuna._storage,
            to_storage=storage,
        )
    storage.engine.dispose()
