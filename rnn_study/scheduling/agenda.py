"""`Agenda`: which packs are due, as searches go on. It knows nothing of Ray.

A study's trials of known rate are due at once, and so is the first round of every search. A round
whose proposals are all decided is followed by the next, and the last by the trials of the winner
with the study's own seeds. Results that are known from earlier are taken, not trained again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_study.config import Condition, Pack, Size, Study, Trial, packs
from rnn_study.scheduling.proposals import Lookup, Proposals
from rnn_study.search import Course
from rnn_study.tasks import Metric
from rnn_study.tracking import CONFIRMATION, GRID, SEARCH
from rnn_study.trials import most_in_pack


@dataclass(frozen=True)
class Job:
    """A pack that is due."""

    pack: Pack
    purpose: str
    """What its trials are for: a tag of their runs."""
    rule: str = ""
    """The JSON of the `Rule` that may stop its proposals early, if it has thresholds."""

    @property
    def config(self) -> dict[str, Any]:
        """What its worker and the listener are told."""
        return {"pack": self.pack.to_json(), "purpose": self.purpose, "rule": self.rule}


class Agenda:
    """The packs of a study that are due, one after the other."""

    def __init__(
        self,
        study: Study,
        metric: Metric,
        pack_size: int | Size,
        finished: Collection[str],
        lookup: Lookup,
    ) -> None:
        """Goes through all that is known already.

        `metric`: as `texts.metric` gives it; `finished`: ids of trials that have finished.
        """
        self.searches = {each: Proposals(study, each, metric) for each in study.searches()}
        self.earlier = 0
        """Trials that were found finished or stopped."""
        self._study, self._size = study, pack_size
        self._finished, self._lookup = set(finished), lookup
        self._courses: dict[str, Course] = {}
        self._of_search: dict[str, Condition] = {}
        self._begun: dict[Condition, int] = {}
        self._ready: list[Job] = []
        self._running = 0
        self._confirmed: set[Condition] = set()
        fixed = self._missing(study.trials())
        self._add(Job(pack, GRID) for pack in packs(fixed, pack_size))
        for search in self.searches.values():
            self._take_known(search)
            self._go_on(search)

    @property
    def rates(self) -> dict[Condition, float]:
        """What the searches that are over have found."""
        found = {condition: search.best for condition, search in self.searches.items()}
        return {condition: best[0].rate for condition, best in found.items() if best}

    @property
    def unfinished(self) -> list[Condition]:
        """The conditions whose searches have not found their rate."""
        return [condition for condition, search in self.searches.items() if not search.finished]

    @property
    def trials(self) -> list[Trial]:
        """The trials of the tables, as far as their rates are known."""
        return self._study.trials(self.rates)

    @property
    def tried(self) -> list[Trial]:
        """The trials that searches have proposed."""
        return [
            trial
            for search in self.searches.values()
            for proposal in [*(p for p, _ in search.done), *search.round]
            for trial in proposal.trials
        ]

    @property
    def later(self) -> list[Trial]:
        """Trials like those that searches will still bring, at any rate."""
        found = []
        for (cell, length), search in self.searches.items():
            left = search.search.trials - len(search.done) - len(search.round)
            seeds, low = [*search.search.each_seed] * left, search.search.low
            found += [self._study.trial(cell, length, low, seed) for seed in seeds]
            found += [] if search.finished else self._confirming((cell, length), low)
        return found

    @property
    def ready(self) -> list[Pack]:
        """What is due, in its order."""
        return [job.pack for job in self._ready]

    @property
    def fixed(self) -> list[Trial]:
        """The trials of known rate that are due."""
        return [t for job in self._ready if job.purpose == GRID for t in job.pack.trials]

    def skip(self, trials: Iterable[Trial]) -> None:
        """Some of `fixed` need no training, it turns out."""
        ids = {trial.id for trial in trials}
        left = [trial for trial in self.fixed if trial.id not in ids]
        self._ready = [job for job in self._ready if job.purpose != GRID]
        self._add(Job(pack, GRID) for pack in packs(left, self._size))

    def next(self) -> Job | None:
        """What to train next, the costliest first; None if nothing is due now."""
        if not self._ready:
            return None
        self._running += 1
        return self._ready.pop(0)

    def ended(self) -> None:
        """A pack is not trained any more."""
        self._running -= 1

    @property
    def over(self) -> bool:
        """Whether nothing is due and nothing that runs can change that."""
        return not self._ready and not self._running

    def learn(self, trial_id: str, course: Course) -> tuple[list[Pack], int]:
        """Takes the result of a trial. Returns what becomes due, and how many trials of the next
        round or of the winner were found finished."""
        condition = self._of_search.get(trial_id)
        if condition is None:
            return [], 0
        self._courses[trial_id] = course
        earlier = self.earlier
        due = self._go_on(self.searches[condition])
        return [job.pack for job in due], self.earlier - earlier

    def _go_on(self, search: Proposals) -> list[Job]:
        """Makes the next round due when one is decided, or the winner's trials after the last."""
        while search.advance(self._courses):
            self._take_known(search)
        condition, best = search.condition, search.best
        if best is None:
            number = search.round[0].round
            if self._begun.get(condition) != number:
                self._begun[condition] = number
                return self._add(self._jobs(search))
        elif condition not in self._confirmed:
            self._confirmed.add(condition)
            missing = self._missing(self._confirming(condition, best[0].rate))
            return self._add(Job(pack, CONFIRMATION) for pack in packs(missing, self._size))
        return []

    def _confirming(self, condition: Condition, rate: float) -> list[Trial]:
        """The trials of the tables of one condition."""
        trials = self._study.trials({condition: rate})
        return [trial for trial in trials if (trial.cell, trial.length) == condition]

    def _jobs(self, search: Proposals) -> list[Job]:
        """A round's proposals that are not decided, whole proposals in each pack."""
        rule = search.rule.to_json() if search.rule.thresholds else ""
        groups = {p.rate: p.trials for p in search.round if not self._decided(search, p.trials)}
        self._of_search |= {t.id: search.condition for group in groups.values() for t in group}
        members = list(groups.values())
        if not members:
            return []
        seeds = len(search.search.each_seed)
        each = max(1, most_in_pack(self._size, members[0][0], seeds * len(members)) // seeds)
        return [
            Job(Pack(tuple(t for group in members[i : i + each] for t in group)), SEARCH, rule)
            for i in range(0, len(members), each)
        ]

    def _decided(self, search: Proposals, trials: Sequence[Trial]) -> bool:
        known = [self._courses[t.id] for t in trials if t.id in self._courses]
        return len(known) == len(trials) and search.rule.judge(known) is not None

    def _take_known(self, search: Proposals) -> None:
        """Looks up what is known of a round's trials."""
        trials = [trial for proposal in search.round for trial in proposal.trials]
        known = self._lookup(t for t in trials if t.id not in self._courses)
        self._courses |= known
        self.earlier += len(known)

    def _missing(self, trials: Iterable[Trial]) -> list[Trial]:
        every = list(trials)
        missing = [trial for trial in every if trial.id not in self._finished]
        self.earlier += len(every) - len(missing)
        return missing

    def _add(self, jobs: Iterable[Job]) -> list[Job]:
        """Makes them due, and returns them."""
        new = list(jobs)
        self._ready = sorted([*self._ready, *new], key=lambda job: -job.pack.cost)
        return new
