"""The service for real: up, two jobs at once with the token, none without, a notebook over HTTP,
down with nothing left running, and up again with everything still there."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import nbformat
import psycopg2
import pytest
import requests
from commands import TABLES, wait_until
from nbclient import NotebookClient
from pyarrow import fs
from serving import (
    CALLS,
    LOOPBACK,
    WORKER,
    Service,
    grpc_ports,
    jobs_of,
    over_http,
    read,
    refused,
    unary,
)

from cluster.service.part import MARK
from cluster.service.parts import PARTS, Objects, RayHead, require_programs
from cluster.service.settings import default_folder
from rnn_study.errors import InvalidInput

STUDIES = {"first": ("lstm", "orthogonal"), "second": ("stable_lstm",)}


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


def test_it_listens_on_loopback_alone(service):
    settings = service.settings
    named = {port for name, port in vars(settings).items() if name.endswith("_port")}
    wait_until(lambda: named <= {port for _, port in service.listening()}, 60, "all servers")
    assert {address for address, _ in service.listening()} <= LOOPBACK


def test_every_server_of_ray_wants_the_token(service):
    """But for the page of the dashboard, which shows nothing without it, and for metrics."""

    kinds = {*CALLS} - {WORKER}  # of which there are none yet
    wait_until(lambda: refused(service) == kinds, 60, "Ray's servers")
    for port in grpc_ports(service):
        assert "UNAUTHENTICATED" in {unary(port, call).name for call in CALLS}, port
    for port in {port for _, port in service.listening(RayHead)} - set(grpc_ports(service)):
        answer = over_http(port)
        is_metrics = answer.status_code == 200 and answer.text.startswith("# HELP ")
        assert is_metrics or answer.status_code == 401 or port == service.settings.jobs_port


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
    wait_until(lambda: len(jobs_of(service)) == len(jobs), 300, "the jobs")
    assert {address for address, _ in service.listening()} <= LOOPBACK
    assert refused(service) == {*CALLS}
    for job in jobs.values():
        out, _ = job.communicate(timeout=900)
        assert job.returncode == 0, out
    check_what_is_stored(service)
    runs, tables = by_notebook(service, tmp_path, monkeypatch)
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


def by_notebook(
    service: Service, folder: Path, monkeypatch
) -> tuple[dict[str, int], dict[str, str]]:
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
    ports = Objects(service.settings).ports().values()
    assert not [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]
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
    runs, _ = by_notebook(service, tmp_path, monkeypatch)
    assert runs == {"first": 4, "second": 2}
    job = service.submit(
        *("--working-dir", ".", "--", "python", "studies/symbol_length.py"),
        *("--preset", "smoke", "--name", "second", "--cells", *STUDIES["second"]),
    )
    out, _ = job.communicate(timeout=600)
    assert job.returncode == 0 and "every trial had finished earlier" in out, out


def _environment(process: Path, folder: Path) -> bool:
    return f"{MARK}={folder}".encode() in read(process / "environ")
