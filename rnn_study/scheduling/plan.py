"""`plan`: what `run` would do, found out without creating anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rnn_study.config import Pack, Study, packs
from rnn_study.execution import Execution
from rnn_study.scheduling.cluster import address, connection, local_resources
from rnn_study.tracking import finished_trials

_SHARE_IN_PRODUCTS = 0.3
"""Of a training step's time, about what the products with the recurrent matrix take on a CPU."""


@dataclass(frozen=True)
class Plan:
    """What is left to do."""

    packs: list[Pack]
    """Packs still to train, in their order."""
    finished: int
    """Trials of the study that have finished."""
    total: int
    """Trials of the study."""
    resources: str
    """One line: cores, GPUs, packs at once."""
    seconds: float | None
    """A guess of the time that remains, at most; None where packs train on a GPU."""


def plan(study: Study, execution: Execution) -> Plan:
    """The plan of `run(study, execution)`. Joins a running cluster; starts and writes nothing."""
    if address(execution) is None:
        resources = local_resources(execution)
    else:
        with connection(execution) as resources:
            pass
    finished = finished_trials(execution.resolved_tracking_uri, study)
    trials = study.trials()
    waiting = packs([t for t in trials if t.id not in finished], execution.pack_size)
    seconds = None
    if resources.device == "cpu":
        seconds = _guess(waiting, resources.packs_at_once(execution))
    done = sum(trial.id in finished for trial in trials)
    line = resources.describe(execution)
    return Plan(waiting, done, len(trials), line, seconds)


def _guess(waiting: Sequence[Pack], at_once: int) -> float:
    """Seconds if no trial ends early: every pack goes to the worker that is free first."""
    free = [0.0] * at_once
    rates: dict[tuple[int, int], float] = {}
    for pack in waiting:
        first = pack.trials[0]
        shape = (first.batch, first.hidden)
        if shape not in rates:
            rates[shape] = _products_per_second(*shape) * _SHARE_IN_PRODUCTS
        soonest = free.index(min(free))
        free[soonest] += pack.cost / rates[shape]
    return max(free)


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
