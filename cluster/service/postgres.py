"""`Postgres`: where MLflow keeps runs and users."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg2

from cluster.service.part import Broken, Part
from cluster.service.settings import LOOPBACK, USER, Settings, write_private
from rnn_study.errors import InvalidInput


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
        return [*_as_postgres(), program("postgres"), "-D", str(self.data), "-p", port, *flags]

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
        command = [*_as_postgres(), program("initdb"), "-D", str(self.data), "-U", USER]
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


def program(name: str) -> str:
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
