"""`plan`: what `run` would do, found out without creating anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rnn_study import texts
from rnn_study.config import Condition, Pack, Study, Trial
from rnn_study.execution import Execution
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.cluster import (
    Resources,
    address,
    connection,
    local_resources,
    require_device,
)
from rnn_study.scheduling.sizes import pack_sizes
from rnn_study.search import Search
from rnn_study.tasks.corpus import Corpus
from rnn_study.tracking import Results, finished_trials

_SHARE_IN_PRODUCTS = 0.3
"""Of a training step's time, about what the products with the recurrent matrix take on a CPU."""


@dataclass(frozen=True)
class Searching:
    """Where the search of one condition is."""

    condition: Condition
    search: Search
    done: int
    """Proposals that have their results."""
    rate: float | None
    """What it has found, if it is over."""


@dataclass(frozen=True)
class Plan:
    """What is left to do."""

    packs: list[Pack]
    """Packs still to train, in their order."""
    finished: int
    """Trials that have finished, of the study and of its searches so far."""
    searches: list[Searching]
    """The searches of learning rates, whose later rounds are not in `packs`."""
    resources: str
    """One line: cores, GPUs, packs at once."""
    seconds: float | None
    """A guess of the time that remains, at most; None where packs train on a GPU."""


def plan(study: Study, execution: Execution, corpus: Corpus | None = None) -> Plan:
    """The plan of `run`, of the same. Joins a running cluster; starts and writes nothing."""
    if address(execution) is None:
        resources = local_resources(execution)
    else:
        with connection(execution) as resources:
            pass
    uri = execution.resolved_tracking_uri
    lookup = Results(uri, study.name)
    require_device(study, resources)
    sizes, finished = pack_sizes(execution, resources), finished_trials(uri, study)
    agenda = Agenda(study, texts.metric(study, corpus), sizes, finished, lookup)
    line = resources.describe(execution)
    searches = [
        Searching(condition, search.search, len(search.done), best[0].rate if best else None)
        for condition, search in agenda.searches.items()
        for best in [search.best]
    ]
    seconds = remaining(agenda, execution, resources)
    return Plan(agenda.ready, agenda.earlier, searches, line, seconds)


def remaining(agenda: Agenda, execution: Execution, resources: Resources) -> float | None:
    """A guess of the seconds that training takes, at most; None where it is on a GPU."""
    if resources.device != "cpu":
        return None
    return _guess(agenda.ready, agenda.later, resources.packs_at_once(execution))


def _guess(waiting: Sequence[Pack], later: Sequence[Trial], at_once: int) -> float:
    """Seconds if no trial ends early: every pack goes to the worker that is free first.

    What searches bring `later` is shared out evenly.
    """
    free = [0.0] * at_once
    rates: dict[tuple[int, int], float] = {}

    def seconds(cost: float, first: Trial) -> float:
        shape = (first.batch, first.hidden)
        if shape not in rates:
            rates[shape] = _products_per_second(*shape) * _SHARE_IN_PRODUCTS
        return cost / rates[shape]

    for pack in waiting:
        free[free.index(min(free))] += seconds(pack.cost, pack.trials[0])
    rest = sum(seconds(trial.cost, trial) for trial in later)
    return max(max(free), (sum(free) + rest) / at_once)


def _products_per_second(batch: int, hidden: int) -> float:
    """Floating-point operations a second of one core in products of this shape, measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batch, hidden = min(batch, 1000), min(hidden, 1000)  # larger products are no faster
    state, matrix = torch.randn(batch, hidden), torch.randn(hidden, hidden)
    torch.mm(state, matrix)
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < 0.05:
        torch.mm(state, matrix)
        count += 1
    torch.set_num_threads(threads)
    return 2.0 * count * batch * hidden**2 / elapsed
