"""How many trials go into a pack: as told, or as memory holds."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from searched import ACCURACY, STUDY
from small import TRIAL, trials

from rnn_study.config import packs
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.cluster import Node, Resources
from rnn_study.scheduling.sizes import MOST, pack_sizes
from rnn_study.training import bytes_per_member

CPU = Resources((Node(2.0, 0.0),), device="cpu")
GPU = Resources((Node(8.0, 1.0),), device="cuda")
LARGE = replace(TRIAL, hidden=200, batch=100, train_size=100, length=100)


def largest(trial, due=10_000, on=CPU, **execution):
    return pack_sizes(Execution(**execution), on)(trial, due)


def test_a_number_is_meant_as_it_is():
    assert [largest(TRIAL, due, pack_size=7) for due in (7, 8, 100)] == [7, 7, 7]
    assert largest(LARGE, on=GPU, pack_size=7) == 7


def test_on_a_gpu_auto_fills_what_a_pack_may_take_and_no_more():
    for gigabytes in (1.0, 10.0):
        size = largest(LARGE, on=GPU, pack_size="auto", memory_per_pack=gigabytes)
        need = bytes_per_member(LARGE, "cuda")
        assert size * need <= gigabytes * 1e9 < (size + 1) * need
    assert largest(TRIAL, on=GPU, pack_size="auto", memory_per_pack=80.0) == MOST


def test_what_does_not_fit_at_all_is_tried_alone():
    for on in (CPU, GPU):
        assert largest(LARGE, on=on, pack_size="auto", memory_per_pack=1e-3) == 1


def test_on_a_cpu_auto_takes_fewer_of_what_is_larger():
    sizes = [
        largest(replace(LARGE, hidden=hidden), pack_size="auto") for hidden in (10, 50, 100, 200)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 8 and sizes[-1] == 1


def test_packs_at_once_share_the_memory_of_a_machine(monkeypatch):
    # the cache is what holds packs small otherwise
    monkeypatch.setattr("rnn_study.scheduling.sizes.CACHE", 1e15)
    memory = 32 * bytes_per_member(LARGE)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": memory, "SC_PAGE_SIZE": 1}.__getitem__)
    found = [
        largest(LARGE, on=Resources((Node(cores, 0.0),), device="cpu"), pack_size="auto")
        for cores in (1.0, 2.0, 4.0)
    ]
    assert found == [16, 8, 4]


def test_auto_leaves_no_worker_without_a_pack():
    sizes = pack_sizes(Execution(pack_size="auto"), CPU)
    made = packs(trials(7), sizes)
    assert sorted(len(pack.trials) for pack in made) == [3, 4]
    four_at_once = Execution(pack_size="auto", memory_per_pack=9.0, gpus_per_pack=0.25)
    made = packs(trials(22), pack_sizes(four_at_once, GPU))
    assert sorted(len(pack.trials) for pack in made) == [5, 5, 6, 6]


def test_without_a_gpu_to_be_seen_its_memory_must_be_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidInput, match=r"pack_size: 'auto' .* give --memory-per-pack"):
        pack_sizes(Execution(pack_size="auto"), GPU)


@pytest.mark.parametrize("size", [4, lambda trial, due: 4, lambda trial, due: -(-due // 2)])
def test_proposals_of_a_search_stay_whole_whatever_the_size(size):
    agenda = Agenda(STUDY, ACCURACY, size, (), lambda trials: {})
    jobs = [job for job in iter(agenda.next, None) if job.rule or job.purpose == "search"]
    assert jobs
    for job in jobs:
        rates = [trial.learning_rate for trial in job.pack.trials]
        assert all(rates.count(rate) == 3 for rate in rates)
