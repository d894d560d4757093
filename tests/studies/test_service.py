"""The service for real: up, two jobs at once with the token, none without, a notebook over HTTP,
down with nothing left running, and up again with everything still there."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import psycopg2
import pytest
import requests
from commands import ROOT, TABLES
from nbclient import NotebookClient
from pyarrow import fs
from servers import free_port

from cluster.service.part import MARK, Part
from cluster.service.parts import PARTS, Objects, RayHead, require_programs
from cluster.service.settings import Settings, default_folder
from rnn_study.errors import InvalidInput

LOOPBACK = {"0100007F", "0200007F", "00000000000000000000000001000000"}
LOOPBACK |= {"0000000000000000FFFF00000100007F", "0000000000000000FFFF00000200007F"}
"""127.0.0.1, 127.0.0.2 and ::1 as the kernel writes them."""
STUDIES = {"first": ("lstm", "orthogonal"), "second": ("stable_lstm",)}


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

    def listening(self, *parts: type[Part]) -> list[str]:
        """The addresses at which processes of these parts listen, from the kernel's tables."""
        owned = set()
        for process in self.processes(*parts):
            for link in Path(f"/proc/{process}/fd").iterdir():
                try:
                    owned.add(str(link.readlink()))
                except OSError:
                    continue
        found = []
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == "0A" and f"socket:[{rest[5]}]" in owned:
                    found.append(local)
        return found

    def processes(self, *parts: type[Part]) -> list[int]:
        return [p for make in parts or PARTS for p in make(self.settings).processes()]


@pytest.fixture(scope="module")
def service():
    if default_folder() != Path("/var/lib/rnn_study") and not shutil.which("psql"):
        pytest.skip("needs PostgreSQL: make service-packages")
    try:
        require_programs()
    except InvalidInput as missing:
        pytest.skip(str(missing))
    service = Service()
    started = service("start")
    assert started.returncode == 0, started.stdout + started.stderr
    service.printed = started.stdout
    yield service
    service("stop")
    assert service.processes() == []
    shutil.rmtree(service.settings.folder)


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_it_prints_what_a_user_needs_and_keeps_secrets_to_its_owner(service):
    settings = service.settings
    for words in (settings.jobs, settings.mlflow, str(settings.token), "ray job submit --working"):
        assert words in service.printed
    for path in settings.folder.iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    secrets = settings.secrets()
    assert len(set(secrets.values())) == len(secrets) and min(map(len, secrets.values())) >= 20
    for process in service.processes():  # nor are they on a command line, which all users see
        line = Path(f"/proc/{process}/cmdline").read_bytes().decode()
        assert not [name for name, value in secrets.items() if value in line], line


def test_it_listens_on_loopback_alone_but_for_rays_inner_ports(service):
    """Ray's own servers bind to every address, whatever it is told; they want the token."""
    others = [make for make in PARTS if make is not RayHead]
    assert {each.split(":")[0] for each in service.listening(*others)} <= LOOPBACK
    settings = service.settings
    http = {f"{port:04X}" for port in (settings.jobs_port, settings.agent_port)}
    ray = [each.split(":") for each in service.listening(RayHead)]
    assert {address for address, port in ray if port in http} <= LOOPBACK
    assert http <= {port for _, port in ray}
    asked = subprocess.run(
        [Path(sys.executable).with_name("ray"), "status"],
        env=service.client
        | {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": f"127.0.0.1:{settings.ray_port}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert asked.returncode != 0 and "InvalidAuthToken" in asked.stderr


def test_mlflow_wants_a_password_and_its_own_name(service):
    url = f"{service.settings.mlflow}/api/2.0/mlflow/experiments/search"
    known = ("study", service.settings.secrets()["mlflow_study"])
    ask = {"json": {"max_results": 1}, "timeout": 60}
    assert requests.post(url, **ask).status_code == 401
    assert requests.post(url, auth=("admin", "password1234"), **ask).status_code == 401
    assert requests.post(url, auth=known, **ask).status_code == 200
    elsewhere = requests.post(url, auth=known, headers={"Host": "evil.example"}, **ask)
    assert elsewhere.status_code == 403


def test_no_job_without_the_token(service):
    for environment in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_TOKEN_PATH": ""},
    ):
        job = service.submit("--", "true", **environment)
        out, _ = job.communicate(timeout=120)
        assert job.returncode != 0
        assert "authentication token" in out


def test_two_studies_at_once_end_on_postgres_and_the_object_store(service, tmp_path, monkeypatch):
    jobs = {
        name: service.submit(
            *("--working-dir", ".", "--", "python", "studies/symbol_length.py"),
            *("--preset", "smoke", "--name", name, "--cells", *cells),
        )
        for name, cells in STUDIES.items()
    }
    for job in jobs.values():
        out, _ = job.communicate(timeout=900)
        assert job.returncode == 0, out
    check_what_is_stored(service)
    runs, tables = over_http(service, tmp_path, monkeypatch)
    assert runs == {"first": 4, "second": 2}
    assert tables["first"] and tables["second"]


def check_what_is_stored(service: Service) -> None:
    settings = service.settings
    with psycopg2.connect(
        host="127.0.0.1",
        port=settings.postgres_port,
        user="study",
        password=settings.secrets()["postgres"],
        dbname="mlflow",
    ) as database:
        cursor = database.cursor()
        cursor.execute("SELECT status, count(*) FROM runs GROUP BY status")
        assert dict(cursor.fetchall()) == {"FINISHED": 4 + 2 + 2}, "trials, and a parent each"
    client = Objects(settings).client()

    def names(folder: str) -> list[str]:
        found = client.get_file_info(fs.FileSelector(folder, recursive=True))
        return [info.path for info in found if info.type == fs.FileType.File]

    checkpoints = {Path(path).parent.name for path in names("studies/checkpoints")}
    assert len(checkpoints) == 6
    assert sum(path.endswith("history.parquet") for path in names("mlflow")) == 6
    for name in STUDIES:
        there = {Path(path).name for path in names(f"studies/studies/{name}")}
        assert {*TABLES, "report.html"} <= there


def over_http(service: Service, folder: Path, monkeypatch) -> tuple[dict[str, int], dict[str, str]]:
    """A notebook reads the studies from the server, with what a user has in the environment."""
    for name, value in service.client.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook()
    cells = ["from rnn_study import aggregate"]
    cells += [f"{name} = aggregate.runs({name!r}); print(len({name}))" for name in STUDIES]
    cells += [f"print(aggregate.length_table({name}))" for name in STUDIES]
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    texts = ["".join(out.text for out in cell.outputs) for cell in notebook.cells[1:]]
    counts = dict(zip(STUDIES, map(int, texts[:2]), strict=True))
    return counts, dict(zip(STUDIES, texts[2:], strict=True))


def test_a_second_start_finds_it_running_and_a_taken_port_is_refused(service):
    again = service("start")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("was running") == len(PARTS)
    other = Service()
    taken = {"mlflow_port": service.settings.mlflow_port}
    refused = other("start", s3_port=service.settings.s3_port + 10, **taken)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"mlflow_port: {service.settings.mlflow_port} is not allowed" in refused.stderr
    assert not list(other.settings.folder.iterdir())
    other.settings.folder.rmdir()


def test_data_survives_a_stop_after_which_nothing_runs(service, tmp_path, monkeypatch):
    stopped = service("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.count("ended") == len(PARTS)
    assert service.processes() == [] and service.listening() == []
    marked = [
        folder.name
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _environment(folder, service.settings.folder)
    ]
    assert marked == []
    assert service("status").returncode == 1
    started = service("start")
    assert started.returncode == 0, started.stdout + started.stderr
    assert service("status").stdout.count("well") == len(PARTS)
    check_what_is_stored(service)
    runs, _ = over_http(service, tmp_path, monkeypatch)
    assert runs == {"first": 4, "second": 2}
    job = service.submit(
        *("--working-dir", ".", "--", "python", "studies/symbol_length.py"),
        *("--preset", "smoke", "--name", "second", "--cells", *STUDIES["second"]),
    )
    out, _ = job.communicate(timeout=600)
    assert job.returncode == 0 and "every trial had finished earlier" in out, out


def _environment(process: Path, folder: Path) -> bool:
    try:
        return f"{MARK}={folder}".encode() in (process / "environ").read_bytes()
    except OSError:
        return False
