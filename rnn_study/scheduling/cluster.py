"""Ray: which cluster, what it has, and on which device packs train."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
import torch

import rnn_study
from rnn_study.config import Study
from rnn_study.errors import InvalidInput, require
from rnn_study.execution import Execution

_NO_CLUSTER = "no Ray answers there; use the HOST:PORT of a running head, or 'local'"


@dataclass(frozen=True)
class Resources:
    """What packs may use in all, and the device they train on."""

    cpus: float
    gpus: float
    device: str

    def packs_at_once(self, execution: Execution) -> int:
        """How many packs the resources hold at the same time."""
        at_once = self.cpus / execution.cpus_per_pack
        if self.device == "cuda":
            at_once = min(at_once, self.gpus / execution.gpus_per_pack)
        return int(at_once + 1e-9)

    def describe(self, execution: Execution) -> str:
        """One line for people."""
        gpus = f"{self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else "no GPU"
        cores = f"{self.cpus:g} CPU core{'s' * (self.cpus != 1)}"
        packs = self.packs_at_once(execution)
        return f"{cores}, {gpus}: {packs} pack{'s' * (packs != 1)} at once, on {self.device}"

    def per_pack(self, execution: Execution) -> dict[str, float]:
        """What a pack reserves, in Ray's names."""
        gpu = {"gpu": execution.gpus_per_pack} if self.device == "cuda" else {}
        return {"cpu": execution.cpus_per_pack, **gpu}


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
        yield _resources(execution, ray.cluster_resources())
    finally:
        ray.shutdown()


def _require_answer(joined: str) -> None:
    """Refuses a HOST:PORT at which nothing listens; Ray itself would try for minutes."""
    host, _, port = joined.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput("ray_address", joined, _NO_CLUSTER) from error


def require_device(study: Study, resources: Resources) -> None:
    """InvalidInput where the study's trials need another device than they would train on."""
    missing = study.tf32 and resources.device != "cuda"
    require(not missing, "tf32", True, f"it needs a GPU, and packs train on {resources.device}")


def local_resources(execution: Execution) -> Resources:
    """What Ray would find if it were started on this machine."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cores = len(os.sched_getaffinity(0))
    return _resources(execution, {"CPU": float(cores), "GPU": float(gpus)})


def _resources(execution: Execution, found: dict[str, float]) -> Resources:
    gpus = found.get("GPU", 0.0)
    if execution.device == "cuda" and not gpus:
        raise InvalidInput("device", "cuda", "Ray has no GPU here; use 'cpu' or 'auto'")
    device = execution.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    resources = Resources(found.get("CPU", 0.0), gpus, device)
    if not resources.packs_at_once(execution):
        wanted = ", ".join(f"{n:g} {kind}" for kind, n in resources.per_pack(execution).items())
        name = "cpus_per_pack" if execution.cpus_per_pack > resources.cpus else "gpus_per_pack"
        have = f"Ray has {resources.cpus:g} cpu, {gpus:g} gpu"
        raise InvalidInput(name, wanted, f"a pack must fit: {have}")
    return resources
