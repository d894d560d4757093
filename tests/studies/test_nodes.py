"""A study on several nodes, of which one dies and another joins: Ray's own cluster on one machine.

Every node is a raylet of its own with one core; the machine, its disk and its clock are shared.
"""

from __future__ import annotations

import pytest
import ray
from commands import Storage, wait_until
from ray.cluster_utils import Cluster

from rnn_study import tracking
from rnn_study.errors import InvalidInput
from rnn_study.scheduling.cluster import _smallest_gpu
from rnn_study.tracking import store

FLAGS = ("--epochs", "800", "--checkpoint-seconds", "0.2", "--hidden", "32", "--pack-size", "1")
FLAGS += ("--seeds", "4", "--learning-rate", "1e-4")
"""Twelve packs for three nodes, of which none ends early: most of them are waiting when a node is
lost and another joins."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("undisturbed") / "storage")
    done = storage.run(*FLAGS)
    assert done.returncode == 0, done.stdout + done.stderr
    return storage


@pytest.fixture
def cluster(monkeypatch):
    """A head without cores for packs, and three nodes with one each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.workers = [cluster.add_node(num_cpus=1) for _ in range(3)]
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def places(storage: Storage) -> dict[str, str]:
    """The node of every run that has told it, by trial."""
    if not (storage.folder / "mlflow.db").exists():
        return {}
    status = tracking.read_status(storage.uri, storage.name)
    if status is None:
        return {}
    told = status.runs[status.runs["node"] != ""]
    return dict(zip(told["trial_id"], told["node"], strict=True))


def test_a_node_dies_and_another_joins_and_the_tables_are_the_same(cluster, undisturbed, tmp_path):
    storage = Storage(tmp_path / "storage")
    environment = {"RAY_AUTH_MODE": "disabled"}
    driver = storage.start(*FLAGS, "--ray-address", cluster.address, **environment)
    try:
        wait_until(lambda: len(set(places(storage).values())) == 3, 120, "packs on three nodes")
        killed, *others = cluster.workers
        cluster.remove_node(killed, allow_graceful=False)
        joined = cluster.add_node(num_cpus=1)
        assert driver.wait(400) == 0, storage.output
    finally:
        storage.close()
    assert storage.tables() == undisturbed.tables()
    runs = tracking.read_status(storage.uri, storage.name).runs
    assert set(runs["status"]) == {"FINISHED"}
    assert len(runs) == runs["trial_id"].nunique() == len(undisturbed.runs)
    assert set(runs["device"]) == {"cpu"}
    trained_on = {node.rpartition(", Ray node ")[2] for node in runs["node"]}
    assert joined.node_id[:8] in trained_on
    assert trained_on <= {node.node_id[:8] for node in (killed, *others, joined)}


def test_a_node_is_named_on_every_run(undisturbed):
    runs = tracking.read_status(undisturbed.uri, undisturbed.name).runs
    assert runs["node"].str.contains(", Ray node ").all()
    client = store.connect(undisturbed.uri, write=False)
    tags = client.get_run(runs["run_id"][0]).data.tags
    assert tags[store.NODE] == runs["node"][0] and tags[store.DEVICE] == "cpu"


def test_gpus_are_asked_for_their_size_though_all_are_reserved(cluster):
    """Not really GPUs here: the node answers that it sees none, and nobody waits for the pack."""

    class Pack:  # in here, so that it is sent along
        def trains(self) -> None:
            """Holds what it has reserved, from when this returns."""

    cluster.add_node(num_cpus=1, num_gpus=1)
    ray.init(cluster.address, logging_level="ERROR")
    try:
        pack = ray.remote(num_gpus=1)(Pack).remote()
        ray.get(pack.trains.remote())
        with pytest.raises(InvalidInput, match=r"gpus_per_pack: 'auto' .*sees none of Ray's GPUs"):
            _smallest_gpu()
    finally:
        ray.shutdown()
