"""`Execution`: where and how a study's trials run, which never changes what they find."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rnn_study.config import Study
from rnn_study.errors import require, require_member, require_positive, require_whole


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how trials run. Nothing here changes a result."""

    pack_size: int | Literal["auto"] = 4
    """Most trials that train together in one process; auto: as many as fill the pack's GPU, or on a
    CPU its cache, shared out among the packs that run at once."""
    memory_per_pack: float | None = None
    """Gigabytes that a pack of --pack-size auto may fill; default: its share of the GPU of this
    machine, or of half the machine's memory. A pack that runs out of memory halves itself."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where packs train; auto takes a GPU if Ray has one."""
    cpus_per_pack: float = 1.0
    """CPU cores that each pack reserves from Ray; on a CPU a pack trains on one of them."""
    gpus_per_pack: float = 1.0
    """Share of a GPU that each pack reserves from Ray, if it trains on one."""
    cuda_graphs: Literal["on", "off"] = "on"
    """On a GPU, capture each batch once and replay it, instead of starting every operation from
    Python; off to rule it out as a cause."""
    retries: int = 2
    """How often a crashed pack goes on from its checkpoint before its trials count as failed."""
    checkpoint_seconds: float = 30.0
    """Seconds between two checkpoints of a pack."""
    storage: Path = field(default_factory=lambda: Path.home() / "rnn-studies")
    """Folder for checkpoints, tables and figures; every node of a cluster must see it."""
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
        require_positive("gpus_per_pack", self.gpus_per_pack)
        require_whole("retries", self.retries, 0)
        require_positive("checkpoint_seconds", self.checkpoint_seconds)
        object.__setattr__(self, "storage", Path(self.storage).expanduser().resolve())

    @property
    def resolved_tracking_uri(self) -> str:
        """The tracking URI in use, after the environment and the default."""
        embedded = f"sqlite:///{self.storage / 'mlflow.db'}"
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or embedded

    def results(self, study: Study) -> Path:
        """The folder of `study`'s tables and figures."""
        return self.storage / "studies" / study.name

    @property
    def corpora(self) -> Path:
        """The folder of all texts that were tokenised."""
        return self.storage / "corpora"

    @property
    def checkpoints(self) -> Path:
        """The folder of all checkpoints, one folder a trial id."""
        return self.storage / "checkpoints"
