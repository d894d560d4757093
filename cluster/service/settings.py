"""`Settings`: where the service lives and listens, and the secrets it makes for itself."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path

from rnn_study.errors import InvalidInput, require, require_whole

LOOPBACK = "127.0.0.1"
BUCKETS = ("studies", "mlflow")
"""One for checkpoints and tables, one for MLflow's artifacts."""
USER = "study"
"""The group's account in MLflow: it writes runs and manages no users."""


def default_folder() -> Path:
    """Under the home folder; for root, whose home no other user may enter, under /var/lib."""
    return Path("/var/lib/rnn_study") if os.geteuid() == 0 else Path.home() / "rnn-service"


_FOLDER = default_folder()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the service lives and listens."""

    folder: Path = _FOLDER
    """Folder for its data, logs and secrets; data survives a stop."""
    host: str = LOOPBACK
    """IPv4 address at which Ray, MLflow and the object store listen; one of this machine's own
    where other machines shall join as nodes of Ray."""
    names: str = ""
    """More host names by which MLflow may be called, after a comma each."""
    ray_port: int = 6379
    """Port at which worker nodes join."""
    jobs_port: int = 8265
    """Port of the job server and the dashboard."""
    agent_port: int = 52365
    """Port of Ray's agent on this node."""
    client_port: int = 10001
    """Port for `ray://` addresses."""
    mlflow_port: int = 5000
    """Port of MLflow."""
    s3_port: int = 8333
    """Port of the object store; its inner servers take the seven above it."""
    postgres_port: int = 5433
    """Port of PostgreSQL, which always stays on loopback."""
    cpus: int = len(os.sched_getaffinity(0))
    """Cores that jobs may use on this machine."""
    gpus: int = -1
    """GPUs that jobs may use on this machine; -1: all that Ray finds."""

    def __post_init__(self) -> None:
        try:
            folder = Path(self.folder).expanduser().resolve()
        except (RuntimeError, ValueError, OSError) as error:  # an unknown user, a loop of links
            allowed = f"use a folder of this machine ({error})"
            raise InvalidInput("folder", str(self.folder), allowed) from error
        object.__setattr__(self, "folder", folder)
        for name in (field.name for field in fields(self) if field.name.endswith("_port")):
            require_whole(name, getattr(self, name), 1024)
        require_whole("cpus", self.cpus, 1)
        require_whole("gpus", self.gpus, -1)
        require(bool(self.host), "host", self.host, "give an address of this machine")

    @property
    def called(self) -> str:
        """The address by which clients call."""
        return LOOPBACK if self.host == "0.0.0.0" else self.host

    @property
    def for_ray(self) -> dict[str, str]:
        """The environment of Ray's processes and of those who join them.

        Ray takes 127.0.0.1 to mean this machine's address to others, and then listens at all of
        them; told that there are no other nodes, it stays on loopback.
        """
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        return token | ({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if self.on_loopback else {})

    @property
    def on_loopback(self) -> bool:
        """Whether clients call from this machine."""
        return self.called == "localhost" or self.called.startswith("127.")

    @property
    def jobs(self) -> str:
        """The address of the job server."""
        return f"http://{self.called}:{self.jobs_port}"

    @property
    def mlflow(self) -> str:
        """The address of MLflow."""
        return f"http://{self.called}:{self.mlflow_port}"

    @property
    def s3(self) -> str:
        """The address of the object store."""
        return f"http://{self.called}:{self.s3_port}"

    @property
    def token(self) -> Path:
        """The file with Ray's token."""
        return self.folder / "ray-token"

    @property
    def client(self) -> Path:
        """The file that a user sources."""
        return self.folder / "client.env"

    def secrets(self) -> dict[str, str]:
        """Passwords and keys: made once, kept in a file that only its owner reads."""
        path = self.folder / "secrets.json"
        if not path.exists():
            names = ("postgres", "mlflow_admin", "mlflow_study", "mlflow_flask")
            names += ("s3_secret", "s3_write", "s3_read", "s3_volume")
            made = {name: secrets.token_urlsafe(32) for name in names}
            made["s3_key"] = f"study{secrets.token_hex(8)}"
            write_private(path, json.dumps(made, indent=1))
        return dict(json.loads(path.read_text()))

    def prepare(self) -> None:
        """Makes the folder, the secrets, the token and the file that users source.

        InvalidInput where the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # as root, PostgreSQL runs as another user, who has to pass through but not to look
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            allowed = f"use a folder that can be made and is yours ({error.strerror})"
            raise InvalidInput("folder", str(self.folder), allowed) from error
        self.secrets()
        if not self.token.exists():
            write_private(self.token, secrets.token_hex(32))
        lines = [f"export {name}='{value}'" for name, value in self.for_clients().items()]
        write_private(self.client, "\n".join(lines) + "\n")

    def for_clients(self) -> dict[str, str]:
        """The environment of somebody who submits jobs and reads results."""
        return {
            "RAY_API_SERVER_ADDRESS": self.jobs,
            **self.for_ray,
            **self.for_studies(),
        }

    def for_studies(self) -> dict[str, str]:
        """The environment of a study, wherever it runs."""
        known = self.secrets()
        return {
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": known["mlflow_study"],
            "RNN_STUDY_STORAGE": f"s3://{BUCKETS[0]}",
            **self.for_s3(),
        }

    def for_s3(self) -> dict[str, str]:
        """The environment of whoever talks to the object store."""
        known = self.secrets()
        return {
            "AWS_ENDPOINT_URL": self.s3,
            "AWS_ACCESS_KEY_ID": known["s3_key"],
            "AWS_SECRET_ACCESS_KEY": known["s3_secret"],
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, at no moment anybody else."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
