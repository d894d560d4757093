"""What a running study has done so far, and how long it may still take: counts, no output."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rnn_study.config import Condition, Pack, Study, Trial
from rnn_study.phrases import described
from rnn_study.tasks import TASKS, Metric

History = Mapping[str, np.ndarray]


@dataclass(eq=False)  # told apart by identity
class PackTally:
    """One pack: where its members are."""

    pack: Pack
    running: bool = False
    since: float = 0.0
    """When it last started, by the tally's clock."""
    seconds: float = 0.0
    """Running time up to the last report, all starts together."""
    spent: float = 0.0
    """Floating-point operations in `seconds`."""
    epoch: int = 0
    """The last epoch that a member reported."""
    reached: dict[str, int] = field(default_factory=dict)
    """The last epoch of each member, by trial id."""
    last: dict[str, float] = field(default_factory=dict)
    """The last finite validation metric of each member, by trial id: what the tables will show."""
    best: dict[str, float] = field(default_factory=dict)
    """The best one so far, likewise."""
    closed: dict[str, int] = field(default_factory=dict)
    """The epochs that each member trained that is through, by trial id."""
    solved: int = 0
    diverged: int = 0

    @property
    def first(self) -> Trial:
        return self.pack.trials[0]

    @property
    def metric(self) -> Metric:
        """What its members are compared by."""
        return TASKS[self.first.task].metric

    @property
    def median(self) -> float:
        """Median over the members of their last validation metric; NaN before any."""
        return statistics.median(self.last.values()) if self.last else math.nan

    @property
    def top(self) -> float:
        """Best validation metric so far of any member; NaN before any."""
        return self.metric.best([*self.best.values()]) if self.best else math.nan

    def see(self, trial: Trial, values: np.ndarray) -> None:
        """Takes notice of validation values of a member."""
        if finite := values[np.isfinite(values)].tolist():
            self.last[trial.id] = finite[-1]
            known = [self.best[trial.id]] if trial.id in self.best else []
            self.best[trial.id] = self.metric.best([*known, *finite])

    @property
    def open_cost(self) -> float:
        """Operations that the members still need at most."""
        if not self.reached and not self.closed:
            return self.pack.cost  # of the many that wait, without their members
        still = [trial for trial in self.pack.trials if trial.id not in self.closed]
        return math.fsum(
            trial.cost * (1 - self.reached.get(trial.id, 0) / trial.epochs) for trial in still
        )

    @property
    def expected_cost(self) -> float:
        """Its cost, less what members saved that ended before their last epoch."""
        if not self.closed:
            return self.pack.cost
        return math.fsum(
            trial.cost * self.closed.get(trial.id, trial.epochs) / trial.epochs
            for trial in self.pack.trials
        )


class Tally:
    """Counts what an `Observer` is told."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._at_once = 1
        self._of_trial: dict[str, PackTally] = {}
        self._searched: set[Condition] = set()
        self.packs: list[PackTally] = []
        self.name = ""
        self.goal = True
        """Whether the task can be solved."""
        self.total = self.earlier = self.trained = 0
        self.solved = self.diverged = self.failed = self.stopped = 0
        self.searching = 0
        """Trials that search for learning rates, of `total`."""

    def plan(self, study: Study, packs: Sequence[Pack], finished: int) -> None:
        self.searching = study.searching
        self.name, self.total, self.earlier = study.name, study.size + self.searching, finished
        self._searched = {*study.searches()}
        self.goal = TASKS[study.task].metric.goal is not None
        self.more(packs)

    def more(self, packs: Sequence[Pack], finished: int = 0) -> None:
        """Packs that were not planned, because a search brought them."""
        self.earlier += finished
        made = [PackTally(pack) for pack in packs]
        self.packs += made
        self._of_trial |= {trial.id: of for of in made for trial in of.pack.trials}

    def label(self, trials: Sequence[Trial]) -> str:
        """Trials of a pack, for people, with their rates if those are searched."""
        return described(trials) + self.rates(trials)

    def rates(self, trials: Sequence[Trial]) -> str:
        """`, rates 0.001, 0.01` of trials whose rates are searched, else nothing."""
        first = trials[0]
        rates = sorted({trial.learning_rate for trial in trials})
        words = f", rate{'s' * (len(rates) > 1)} " + ", ".join(f"{rate:g}" for rate in rates)
        return words if (first.cell, first.length) in self._searched else ""

    def started(self, pack: Pack) -> PackTally:
        tally = self.of(pack.trials)
        tally.running, tally.since = True, self._clock()
        self._at_once = max(self._at_once, len(self.running))
        return tally

    def epochs(self, pack: Pack, histories: Mapping[str, History]) -> PackTally:
        tally, now = self.of(pack.trials), self._clock()
        tally.seconds, tally.since = tally.seconds + now - tally.since, now
        for trial in pack.trials:
            history = histories.get(trial.id)
            if history is None or len(history["epoch"]) == 0:
                continue
            first, last = int(history["epoch"][0]), int(history["epoch"][-1])
            # a resumed trial starts in the middle, and one that crashed starts over from there
            before = min(tally.reached.get(trial.id, first - 1), first - 1)
            tally.spent += trial.cost * (last - before) / trial.epochs
            tally.reached[trial.id] = last
            tally.see(trial, np.asarray(history[tally.metric.column], dtype=float))
        tally.epoch = max(tally.reached.values(), default=0)
        return tally

    def finished(self, trial: Trial, summary: Mapping[str, float]) -> None:
        solved, diverged = bool(summary.get("solved", 0)), bool(summary.get("diverged", 0))
        self.solved, self.diverged = self.solved + solved, self.diverged + diverged
        self.stopped += bool(summary.get("stopped", 0))
        self.trained += 1
        if trial.id not in self._of_trial:
            return  # trained before an interruption, recorded only now
        tally = self.of([trial])
        tally.closed[trial.id] = int(summary.get("epochs_trained", trial.epochs))
        final, best = (summary.get(column, math.nan) for column in tally.metric.columns[:2])
        tally.see(trial, np.array([best, final]))
        tally.solved, tally.diverged = tally.solved + solved, tally.diverged + diverged

    def fail(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self.of([trial]).closed[trial.id] = trial.epochs
        self.failed += len(trials)

    def ended(self, pack: Pack) -> PackTally:
        tally = self.of(pack.trials)
        tally.running = False
        return tally

    def of(self, trials: Sequence[Trial]) -> PackTally:
        """The pack that `trials` are in."""
        return self._of_trial[trials[0].id]

    @property
    def running(self) -> list[PackTally]:
        return [tally for tally in self.packs if tally.running]

    @property
    def waiting(self) -> list[PackTally]:
        return [tally for tally in self.packs if not tally.running and tally.open_cost > 0]

    @property
    def done(self) -> int:
        """Trials with a result, those finished earlier included."""
        return self.earlier + self.trained

    @property
    def elapsed(self) -> float:
        return self._clock() - self._start

    @property
    def later_cost(self) -> float:
        """Operations of what searches will still bring, if its trials are like the others."""
        if not self.searching or not self.packs:
            return 0.0
        known = sum(len(tally.pack.trials) for tally in self.packs)
        cost = math.fsum(tally.pack.cost for tally in self.packs)
        return max(self.total - self.earlier - known, 0) * cost / known

    @property
    def share(self) -> float:
        """Share of the work to do that is done, from 0 to 1."""
        later = self.later_cost
        whole = sum(tally.pack.cost for tally in self.packs) + later
        still = sum(tally.open_cost for tally in self.packs) + later
        return 1 - still / whole if whole else 1.0

    def seconds_left(self) -> float | None:
        """A guess; None before the first report.

        Each cell has its own speed, since cells of equal cost take unequal times. Members that
        run are expected to go on to their last epoch, and packs that wait to save what packs of
        their cell saved so far by early ends.
        """
        seen = [tally for tally in self.packs if tally.spent > 0 and tally.seconds > 0]
        if not seen:
            return None
        begun = [tally for tally in self.packs if tally.running or tally.closed or tally.spent]
        slowness = _ratio_by_cell(seen, lambda tally: (tally.seconds, tally.spent))
        kept = _ratio_by_cell(begun, lambda tally: (tally.expected_cost, tally.pack.cost))
        busy = [
            tally.open_cost * (tally.seconds / tally.spent if tally in seen else slowness(tally))
            for tally in self.running
        ]
        queued = [tally.open_cost * kept(tally) * slowness(tally) for tally in self.waiting]
        queued.append(self.later_cost * kept(seen[0]) * slowness(seen[0]))
        return max((sum(busy) + sum(queued)) / self._at_once, max(busy, default=0.0))


def _ratio_by_cell(
    tallies: Iterable[PackTally], parts: Callable[[PackTally], tuple[float, float]]
) -> Callable[[PackTally], float]:
    """The ratio of two sums over the packs of a cell; over all packs, for a cell that has none."""
    sums: dict[str | None, tuple[float, float]] = {}
    for tally in tallies:
        above, below = parts(tally)
        for key in (tally.first.cell, None):
            total = sums.get(key, (0.0, 0.0))
            sums[key] = total[0] + above, total[1] + below

    def ratio(tally: PackTally) -> float:
        above, below = sums.get(tally.first.cell, sums[None])
        return above / below

    return ratio
