"""Ray: which cluster, what it has, and on which device packs train."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import rnn_study
from rnn_study.config import Study
from rnn_study.errors import InvalidInput, require
from rnn_study.execution import Execution

_ADDRESS = re.compile(r"(ray://)?(\[[\da-fA-F:]+\]|[^\s/:\[\]]+):(\d+)")
LOOK_SECONDS = 60.0
"""Longest wait for the nodes to tell how large their GPUs are."""
_NO_CLUSTER = "no Ray answers there; use the HOST:PORT of a running head, or 'local'"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    cpus: float
    gpus: float

    def packs_at_once(self, cpus: float, gpus: float) -> int:
        """How many packs it holds that reserve so much each: each share lies on one GPU."""
        at_once = int(self.cpus / cpus + 1e-9)
        if gpus:
            at_once = min(at_once, int(self.gpus) * int(1 / gpus + 1e-9))
        return at_once


@dataclass(frozen=True)
class Resources:
    """What packs may use, and the device they train on."""

    nodes: tuple[Node, ...]
    device: str
    gpu_bytes: float | None = None
    """Memory of the smallest GPU, where --gpus-per-pack auto asks for it."""

    @property
    def cpus(self) -> float:
        """CPU cores in all."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs in all."""
        return sum(node.gpus for node in self.nodes)

    def packs_at_once(self, execution: Execution) -> int:
        """How many packs the nodes hold at the same time, each pack on one node.

        Where the share of a GPU follows from the pack, as if each took a whole one.
        """
        share = 0.0
        if self.device == "cuda":
            share = 1.0 if execution.gpus_per_pack == "auto" else execution.gpus_per_pack
        return sum(node.packs_at_once(execution.cpus_per_pack, share) for node in self.nodes)

    def describe(self, execution: Execution) -> str:
        """One line for people."""
        gpus = f"{self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else "no GPU"
        cores = f"{self.cpus:g} CPU core{'s' * (self.cpus != 1)}"
        nodes = f" on {len(self.nodes)} nodes" * (len(self.nodes) > 1)
        packs = self.packs_at_once(execution)
        least = "at least " * (self.device == "cuda" and execution.gpus_per_pack == "auto")
        many = f"{least}{packs} pack{'s' * (packs != 1)} at once"
        return f"{cores}, {gpus}{nodes}: {many}, on {self.device}"


def address(execution: Execution) -> str | None:
    """The cluster to join, or None to start Ray on this machine."""
    if execution.ray_address == "auto":
        return os.environ.get("RAY_ADDRESS") or None
    return None if execution.ray_address == "local" else execution.ray_address


@contextmanager
def connection(execution: Execution) -> Iterator[Resources]:
    """Ray, started here or joined, with its resources; ended on leaving.

    InvalidInput where there is no such cluster, or it cannot hold a single pack.
    """
    joined = address(execution)
    if joined is None:
        local_resources(execution)  # refuses what cannot work before Ray takes its seconds to start
        ray.init(
            address="local",
            num_cpus=_cores(),
            include_dashboard=False,
            logging_level=logging.ERROR,
            object_store_memory=128 * 2**20,  # packs exchange kilobytes
        )
    else:
        _require_answer(joined)
        # the cluster may hold another version of this package: the driver's own goes along
        here = str(Path(rnn_study.__file__).parent)
        try:
            ray.init(joined, logging_level=logging.ERROR, runtime_env={"py_modules": [here]})
        except ConnectionError as error:
            raise InvalidInput("ray_address", joined, _NO_CLUSTER) from error
    try:
        yield _resources(execution, _alive(), _smallest_gpu)
    finally:
        ray.shutdown()


def _require_answer(joined: str) -> None:
    """Refuses a HOST:PORT at which nothing listens; Ray itself would try for minutes."""
    if joined in ("auto", "local"):  # of RAY_ADDRESS
        return
    match = _ADDRESS.fullmatch(joined)
    if match is None:
        raise InvalidInput(
            "ray_address", joined, "use HOST:PORT, ray://HOST:PORT, 'auto' or 'local'"
        )
    _, host, port = match.groups()
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput("ray_address", joined, _NO_CLUSTER) from error


def require_device(study: Study, resources: Resources) -> None:
    """InvalidInput where the study's trials need another device than they would train on."""
    missing = study.tf32 and resources.device != "cuda"
    require(not missing, "tf32", True, f"it needs a GPU, and packs train on {resources.device}")


def local_resources(execution: Execution) -> Resources:
    """What Ray has when it is started on this machine."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return _resources(execution, (Node(float(_cores()), float(gpus)),), smallest_gpu_here)


def _cores() -> int:
    """Cores of this machine for this process, by its affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    limit = Path("/sys/fs/cgroup/cpu.max")  # of a container, under Linux: QUOTA PERIOD
    quota, _, period = limit.read_text().partition(" ") if limit.exists() else ("max", "", "")
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _alive() -> tuple[Node, ...]:
    """The nodes of the cluster that was joined."""
    found = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return tuple(Node(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in found)


def _gpus_here() -> list[float]:
    """Bytes of each GPU of this machine."""
    gpus = range(torch.cuda.device_count())
    return [float(torch.cuda.get_device_properties(gpu).total_memory) for gpu in gpus]


def smallest_gpu_here() -> float:
    """Bytes of this machine's smallest GPU."""
    return min(_gpus_here())


def _smallest_gpu() -> float:
    """Bytes of the cluster's smallest GPU: a task on every node that has some looks.

    It reserves none, as all may be reserved, and its process ends with it, which frees its memory
    there. InvalidInput where no node tells.
    """
    look = ray.remote(num_cpus=0, num_gpus=0, max_calls=1)(_gpus_here)
    there = [
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")
    ]
    chosen = (NodeAffinitySchedulingStrategy(node, soft=False) for node in there)
    asked = [look.options(scheduling_strategy=node).remote() for node in chosen]
    allowed = f"give a number: no node told the memory of its GPUs within {LOOK_SECONDS:.0f} s"
    try:
        found = [size for sizes in ray.get(asked, timeout=LOOK_SECONDS) for size in sizes]
    except ray.exceptions.GetTimeoutError as error:
        raise InvalidInput("gpus_per_pack", "auto", allowed) from error
    require(bool(found), "gpus_per_pack", "auto", "give a number: PyTorch sees none of Ray's GPUs")
    return min(found)


def _resources(
    execution: Execution, nodes: tuple[Node, ...], smallest_gpu: Callable[[], float]
) -> Resources:
    gpus = sum(node.gpus for node in nodes)
    if execution.device == "cuda" and not gpus:
        raise InvalidInput("device", "cuda", "Ray has no GPU here; use 'cpu' or 'auto'")
    device = execution.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    resources = Resources(nodes, device)
    if not resources.packs_at_once(execution):
        _refuse(execution, resources)
    if device == "cuda" and execution.gpus_per_pack == "auto":
        return replace(resources, gpu_bytes=smallest_gpu())
    return resources


def _refuse(execution: Execution, resources: Resources) -> None:
    """InvalidInput: a pack fits on no node."""
    wanted = f"{execution.cpus_per_pack:g} cpu"
    if resources.device == "cuda" and execution.gpus_per_pack != "auto":
        wanted += f", {execution.gpus_per_pack:g} gpu"
    most = max(node.cpus for node in resources.nodes)
    name = "cpus_per_pack" if execution.cpus_per_pack > most else "gpus_per_pack"
    have = "; ".join(f"{node.cpus:g} cpu, {node.gpus:g} gpu" for node in resources.nodes[:4])
    more = f" and {len(resources.nodes) - 4} more" * (len(resources.nodes) > 4)
    where = "Ray has" if len(resources.nodes) == 1 else "each on one node; Ray has"
    raise InvalidInput(name, wanted, f"a pack must fit: {where} {have}{more}")
