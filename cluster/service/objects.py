"""`Objects`: where checkpoints, tables and artifacts lie."""

from __future__ import annotations

import json
import os
from pathlib import Path

import requests
from pyarrow import fs

from cluster.service.part import BIN, Broken, Part
from cluster.service.settings import BUCKETS, LOOPBACK, USER, write_private
from rnn_study.errors import InvalidInput

_INNER = ("master", "volume", "filer")
"""Servers of SeaweedFS's, behind S3."""


class Objects(Part):
    """SeaweedFS: an object store that speaks S3, in one process."""

    name = "objects"

    def ports(self) -> dict[str, int]:
        return {f"s3_port{f' + {i}' * bool(i)}": self.settings.s3_port + i for i in range(8)}

    def command(self) -> list[str]:
        s, port = self.settings, self.settings.s3_port
        command = [str(BIN / "weed"), "-logtostderr=true", "server", f"-dir={s.folder / 'objects'}"]
        # its inner servers talk to each other on loopback; only S3 is for others
        command += [f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", f"-s3.ip.bind={s.host}"]
        command += ["-filer", "-s3", f"-s3.port={port}", f"-s3.config={s.folder / 's3.json'}"]
        command += ["-s3.iam=false", "-s3.autoCreateBucket=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        # a bucket takes seven volumes at once; of the default 30 GB each few disks have seven
        command += ["-volume.max=0", "-master.volumeSizeLimitMB=256"]
        inner = (
            "s3.port.grpc",
            *(f"{each}.port{kind}" for each in _INNER for kind in ("", ".grpc")),
        )
        return [*command, *(f"-{flag}={port + i}" for i, flag in enumerate(inner, 1))]

    def require_ports(self) -> None:
        super().require_ports()
        for path in self._sockets():
            if os.geteuid() not in (0, path.stat().st_uid):
                allowed = f"{path} is another user's; end what uses it, or choose another port"
                raise InvalidInput("s3_port", self.settings.s3_port, allowed)

    def before(self) -> None:
        self._remove_sockets()
        folder, known = self.settings.folder, self.settings.secrets()
        (folder / "objects").mkdir(mode=0o700, exist_ok=True)
        keys = {"accessKey": known["s3_key"], "secretKey": known["s3_secret"]}
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": USER, "credentials": [keys], "actions": rights}
        write_private(folder / "s3.json", json.dumps({"identities": [identity]}))
        # without these, every user of this machine could read and write past S3
        keys = {"jwt.signing": "s3_volume", "jwt.filer_signing": "s3_write"}
        keys["jwt.filer_signing.read"] = "s3_read"
        lines = [f'[{section}]\nkey = "{known[name]}"\n' for section, name in keys.items()]
        write_private(folder / "security.toml", "\n".join(lines))

    def well(self) -> bool:
        try:
            infos = self.client().get_file_info(list(BUCKETS))
            for name, info in zip(BUCKETS, infos, strict=True):
                if info.type == fs.FileType.NotFound:
                    self.client().create_dir(name)
                with self.client().open_output_stream(f"{name}/.well") as probe:
                    probe.write(b"well")
        except OSError:
            return False
        return True

    def after(self) -> None:
        for url in (f"{self.settings.s3}/{BUCKETS[0]}", self._filer):
            answer = requests.put(f"{url}/probe", data=b"", timeout=30)
            if answer.status_code not in (401, 403):
                raise Broken(f"{url} takes files without a key: {answer.status_code}")

    def stop(self) -> None:
        super().stop()
        self._remove_sockets()

    def _sockets(self) -> list[Path]:
        """What it makes beside its ports, in a folder that cannot be changed, and leaves there."""
        ports = self.ports().values()
        return [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]

    def _remove_sockets(self) -> None:
        for path in self._sockets():
            if os.geteuid() in (0, path.stat().st_uid):
                path.unlink()

    @property
    def _filer(self) -> str:
        return f"http://{LOOPBACK}:{self.settings.s3_port + 6}/buckets"

    def client(self) -> fs.S3FileSystem:
        """A client with the keys of the service."""
        known = self.settings.secrets()
        return fs.S3FileSystem(
            access_key=known["s3_key"],
            secret_key=known["s3_secret"],
            endpoint_override=self.settings.s3,
            region="us-east-1",
            allow_bucket_creation=True,
            connect_timeout=3,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
