"""`Execution`: where and how a study's trials run, which never changes what they find."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from platform import node
from typing import Literal

from rnn_study import storage
from rnn_study.config import Study
from rnn_study.errors import (
    InvalidInput,
    require,
    require_member,
    require_positive,
    require_whole,
)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how trials run. Nothing here changes a result."""

    pack_size: int | Literal["auto"] = 4
    """Most trials that train together in one process; auto: as many as fill the pack's GPU, or on a
    CPU its cache, shared out among the packs that run at once. The seeds of a rate that a search
    tries stay together, however many they are."""
    memory_per_pack: float | None = None
    """Gigabytes that a pack of --pack-size auto may fill; default: its share of the GPU of this
    machine, or of half the machine's memory. A pack that runs out of memory halves itself."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where packs train; auto takes a GPU if Ray has one."""
    cpus_per_pack: float = 1.0
    """CPU cores that each pack reserves from Ray; on a CPU a pack trains on one of them."""
    gpus_per_pack: float | Literal["auto"] = 1.0
    """Share of a GPU that each pack reserves from Ray, if it trains on one; auto: what its networks
    need of the smallest GPU's memory, so that small packs share one."""
    cuda_graphs: Literal["on", "off"] = "on"
    """On a GPU, capture each batch once and replay it, instead of starting every operation from
    Python; off to rule it out as a cause."""
    retries: int = 2
    """How often a crashed pack goes on from its checkpoint before its trials count as failed."""
    checkpoint_seconds: float = 30.0
    """Seconds between two checkpoints of a pack."""
    storage: Path | str = field(default_factory=lambda: _default_storage())
    """Folder or s3://BUCKET/PREFIX for checkpoints, tables and figures; every node of a cluster
    must see it. Default: RNN_STUDY_STORAGE, else ~/rnn-studies."""
    tracking_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI, else a SQLite file in --storage."""
    ray_address: str = "auto"
    """A running Ray cluster; auto takes RAY_ADDRESS, else starts Ray on this machine."""

    def __post_init__(self) -> None:
        if self.pack_size != "auto":
            require_whole("pack_size", self.pack_size, 1)
        if self.memory_per_pack is not None:
            require_positive("memory_per_pack", self.memory_per_pack)
            unused = "leave it out, or use --pack-size auto"
            require(self.pack_size == "auto", "memory_per_pack", self.memory_per_pack, unused)
        require_member("cuda_graphs", self.cuda_graphs, ("on", "off"))
        require_member("device", self.device, ("auto", "cpu", "cuda"))
        require_positive("cpus_per_pack", self.cpus_per_pack)
        if self.gpus_per_pack == "auto":
            sized = self.pack_size != "auto" or self.memory_per_pack is not None
            require(sized, "gpus_per_pack", "auto", "give --pack-size or --memory-per-pack with it")
        else:
            share = require_positive("gpus_per_pack", self.gpus_per_pack)
            require(share <= 1, "gpus_per_pack", share, "use at most 1: a pack trains on one GPU")
        require_whole("retries", self.retries, 0)
        require_positive("checkpoint_seconds", self.checkpoint_seconds)
        object.__setattr__(self, "storage", storage.parse(self.storage))

    @property
    def resolved_tracking_uri(self) -> str:
        """The tracking URI in use, after the environment and the default.

        InvalidInput where none is named and the storage is a bucket, which holds no SQLite file.
        """
        named = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not named and isinstance(self.storage, str):
            allowed = f"name an MLflow server with it: {self.storage} cannot hold a database"
            raise InvalidInput("tracking_uri", self.tracking_uri, allowed)
        return named or f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def folder(self) -> Path:
        """The storage, if it is a folder; of a bucket, where this machine prepares what goes in."""
        return storage.local(self.storage)

    @property
    def place(self) -> str:
        """The storage under a name that no other has: a folder with its machine."""
        return self.storage if isinstance(self.storage, str) else f"{self.storage} on {node()}"

    def results(self, study: Study) -> Path:
        """The folder of `study`'s tables and figures."""
        return self.folder / "studies" / study.name

    def published(self, study: Study) -> str:
        """The address of `study`'s tables and figures, for everybody who sees the storage."""
        return self.within("studies", study.name)

    @property
    def corpora(self) -> str:
        """The address of all texts that were tokenised, one folder each; see `texts`."""
        return self.within("corpora")

    @property
    def checkpoints(self) -> str:
        """The address of all checkpoints, one folder a trial id."""
        return self.within("checkpoints")

    def within(self, *folders: str) -> str:
        """The address of a folder in the storage."""
        if isinstance(self.storage, Path):
            return str(self.storage.joinpath(*folders))
        return "/".join((self.storage, *folders))


def _default_storage() -> Path | str:
    return os.environ.get("RNN_STUDY_STORAGE") or Path.home() / "rnn-studies"
