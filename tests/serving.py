"""The service as its owner and its users have it, and what can be seen of it from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import requests
from commands import ROOT
from servers import free_port

from cluster.service.part import Part
from cluster.service.parts import PARTS, RayHead
from cluster.service.settings import Settings

LOOPBACK = {"0100007F", "0200007F", "00000000000000000000000001000000"}
LOOPBACK |= {"0000000000000000FFFF00000100007F", "0000000000000000FFFF00000200007F"}
"""127.0.0.1, 127.0.0.2 and ::1 as the kernel writes them."""
WORKER = "CoreWorkerService/GetCoreWorkerStats"
CALLS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Push",
    WORKER,
    "ReporterService/HealthCheck",
    "RayletDriver/ClusterInfo",
)
"""One call of each kind of server that Ray has: GCS, raylet (two), workers, agent, client."""


def ports() -> dict[str, int]:
    """Free ports; the object store takes eight in a row."""
    names = ("ray", "jobs", "agent", "client", "mlflow", "postgres")
    return {
        **{f"{name}_port": free_port() for name in names},
        "s3_port": 21000 + os.getpid() % 9000,
    }


class Service:
    """`python -m cluster.service` in a folder that PostgreSQL's user can reach, under root too."""

    def __init__(self) -> None:
        self.settings = Settings(folder=Path(tempfile.mkdtemp(dir="/var/tmp")), cpus=2, **ports())

    def __call__(self, verb: str, **other: object) -> subprocess.CompletedProcess[str]:
        known = {name: value for name, value in vars(self.settings).items() if value != ""}
        flags = [
            word
            for name, value in (known | other).items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        return subprocess.run(
            [sys.executable, "-m", "cluster.service", verb, *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    @property
    def client(self) -> dict[str, str]:
        """What a user has after sourcing `client.env`."""
        told = re.findall(r"^export (\w+)='(.*)'$", self.settings.client.read_text(), re.M)
        hidden = ("RAY_", "MLFLOW_", "AWS_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        return {**kept, **dict(told)}

    def submit(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        ray = str(Path(sys.executable).with_name("ray"))
        return subprocess.Popen(
            [ray, "job", "submit", *words],
            env=self.client | environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def listening(self, *parts: type[Part]) -> list[tuple[str, int]]:
        """Where processes of these parts listen, from the kernel's tables."""
        owned = set()
        for process in self.processes(*parts):
            try:
                owned |= {str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
            except OSError:
                continue  # it ended, or closed something, meanwhile
        found = []
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == "0A" and f"socket:[{rest[5]}]" in owned:
                    address, port = local.split(":")
                    found.append((address, int(port, 16)))
        return found

    def processes(self, *parts: type[Part]) -> list[int]:
        return [p for make in parts or PARTS for p in make(self.settings).processes()]


def refused(service: Service) -> set[str]:
    """The calls that some port refuses without the token; fails where one is answered."""
    asked = [(call, unary(port, call)) for port in grpc_ports(service) for call in CALLS]
    codes = {code.name for _, code in asked}
    assert codes <= {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"}, asked
    return {call for call, code in asked if code.name == "UNAUTHENTICATED"}


def grpc_ports(service: Service) -> list[int]:
    """The ports of Ray's that do not speak HTTP."""
    return [port for _, port in service.listening(RayHead) if over_http(port) is None]


def over_http(port: int) -> requests.Response | None:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=30)
    except requests.ConnectionError:
        return None


def unary(port: int, call: str) -> grpc.StatusCode:
    """The code with which a port answers an empty request without the token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{call}")(b"", timeout=30)
        except grpc.RpcError as refused:
            return refused.code()
    return grpc.StatusCode.OK


def jobs_of(service: Service) -> list[int]:
    """The processes of studies that run."""
    lines = {p: Path(f"/proc/{p}/cmdline") for p in service.processes(RayHead)}
    return [p for p, line in lines.items() if b"studies/symbol_length.py" in read(line)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it ended meanwhile
