"""What a pack reserves: on which node it fits, and how much of a GPU its networks need."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace

import pytest
from small import TRIAL, trials

from rnn_study.config import Pack
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.scheduling.cluster import Node, Resources, _resources, address
from rnn_study.scheduling.sizes import gpu_share, reserved
from rnn_study.training import bytes_per_member

MIXED = (Node(4.0, 2.0), Node(16.0, 0.0), Node(1.0, 4.0))
"""A node with GPUs, one with none, and one with too few cores for its GPUs."""
LARGE = replace(TRIAL, hidden=200, batch=100, train_size=100, length=100)
H100 = 80e9


def found(execution: Execution, nodes=MIXED, gpu_bytes: float = H100) -> Resources:
    return _resources(execution, nodes, lambda: gpu_bytes)


@pytest.mark.parametrize(
    ("flags", "packs"),
    [
        ({}, 3),  # two GPUs, none, one core
        ({"gpus_per_pack": 0.5}, 5),
        ({"gpus_per_pack": 0.4}, 5),  # no share lies on two GPUs
        ({"gpus_per_pack": 0.6}, 3),
        ({"gpus_per_pack": 0.6, "cpus_per_pack": 0.5}, 4),
        ({"device": "cpu"}, 21),
        ({"device": "cpu", "cpus_per_pack": 3.0}, 6),
    ],
)
def test_packs_at_once_are_counted_node_by_node(flags, packs):
    execution = Execution(**flags)
    assert found(execution).packs_at_once(execution) == packs
    assert "21 CPU cores, 6 GPUs on 3 nodes" in found(execution).describe(execution)


@pytest.mark.parametrize(
    ("asked", "variable", "joined"),
    [
        ("auto", "127.0.0.1:6379", "127.0.0.1:6379"),
        ("auto", None, None),
        ("local", "127.0.0.1:6379", None),
        ("ray://head:10001", "127.0.0.1:6379", "ray://head:10001"),
    ],
)
def test_the_cluster_to_join_is_the_one_asked_for(asked, variable, joined, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert address(Execution(ray_address=asked)) == joined


def test_packs_are_guessed_to_train_side_by_side(monkeypatch):
    """At a rate of one, three packs of a cost of c on two workers take 2c, and more with more."""
    plan = importlib.import_module("rnn_study.scheduling.plan")  # its package has a `plan` too
    monkeypatch.setattr(plan, "_products_per_second", lambda *shape: 1 / plan._SHARE_IN_PRODUCTS)
    packs = [Pack((trial,)) for trial in trials(3)]
    cost = packs[0].cost
    for later, expected in (([], 2 * cost), (trials(1), 2 * cost), (trials(5), 4 * cost)):
        assert plan._guess(packs, later, 2) == pytest.approx(expected)
    assert plan._guess(packs, [], 1) == pytest.approx(3 * cost)


def test_a_pack_that_fits_no_node_is_refused_though_the_cluster_is_large_enough():
    with pytest.raises(InvalidInput, match=r"cpus_per_pack: '17 cpu' .* each on one node; Ray has"):
        found(Execution(device="cpu", cpus_per_pack=17.0))
    with pytest.raises(InvalidInput, match=r"gpus_per_pack: '8 cpu, 1 gpu' .* 4 cpu, 2 gpu; 16"):
        found(Execution(cpus_per_pack=8.0))
    with pytest.raises(InvalidInput, match="Ray has no GPU here"):
        found(Execution(device="cuda"), (Node(4.0, 0.0),))


def test_auto_reserves_the_share_that_the_networks_fill():
    execution = Execution(gpus_per_pack="auto")
    for size in (1, 64, 512):
        pack = Pack(tuple(trials(size, hidden=200, batch=100, train_size=100, length=100)))
        share = reserved(pack, execution, found(execution))["gpu"]
        assert share == gpu_share(pack, H100)
        need = 0.6e9 + size * bytes_per_member(LARGE, "cuda") / 0.9
        assert need <= share * H100 < need + 0.0101 * H100
        assert reserved(pack, execution, found(execution, gpu_bytes=1e9))["gpu"] <= 1.0


def test_on_a_cpu_nothing_is_reserved_of_a_gpu_and_none_is_looked_at():
    execution = Execution(device="cpu", gpus_per_pack="auto", cpus_per_pack=2.0)
    resources = _resources(execution, MIXED, lambda: pytest.fail("looked at a GPU"))
    assert reserved(Pack((TRIAL,)), execution, resources) == {"cpu": 2}


def test_size_and_share_cannot_both_follow_from_each_other():
    with pytest.raises(InvalidInput, match=r"gpus_per_pack: 'auto' .*--pack-size"):
        Execution(gpus_per_pack="auto", pack_size="auto")
    Execution(gpus_per_pack="auto", pack_size="auto", memory_per_pack=4.0)


@pytest.mark.slow  # Ray takes its time
def test_ray_starts_with_the_cores_that_this_process_may_use():
    code = """
import os
from rnn_study.execution import Execution
from rnn_study.scheduling.cluster import connection, local_resources
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
execution = Execution(ray_address="local")
with connection(execution) as resources:
    print(resources.cpus, local_resources(execution).cpus)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.0", "1.0"]
