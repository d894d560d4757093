"""The service with settings that cannot work: one line, exit code 2, nothing started."""

from __future__ import annotations

import pytest

from cluster.service.__main__ import main
from cluster.service.settings import Settings
from rnn_study.errors import InvalidInput

REFUSED = {
    "--s3-port 65530": "s3_port + 6: 65536 is not allowed; use ports up to 65535",
    "--mlflow-port 70000": "mlflow_port: 70000 is not allowed; use ports up to 65535",
    "--mlflow-port 80": "mlflow_port: 80 is not allowed; use a whole number of at least 1024",
    "--s3-port 4996": "mlflow_port: 5000 is not allowed; s3_port + 4 is the same; choose another",
    "--ray-port 5433": "ray_port: 5433 is not allowed; postgres_port is the same; choose another",
    "--host nosuch.invalid": "host: 'nosuch.invalid' is not allowed; give an IPv4 address of",
    "--host 203.0.113.9": "host: '203.0.113.9' is not allowed; give an IPv4 address of this mach",
    "--host ::1": "host: '::1' is not allowed; give an IPv4 address of this machine (",
    "--folder ~nosuchuser/x": "folder: '~nosuchuser/x' is not allowed; use a folder of this",
}


@pytest.mark.parametrize(("line", "error"), REFUSED.items())
def test_one_line_names_field_value_and_what_is_allowed(home, capfd, line, error):
    folder = [] if "--folder" in line else ["--folder", str(home / "service")]
    assert main(["start", *line.split(), *folder]) == 2
    printed = capfd.readouterr()
    assert printed.err.startswith(f"error: {error}") and printed.err.count("\n") == 1
    assert printed.out == "" and list(home.rglob("*")) == []


def test_a_folder_that_cannot_be_made(home):
    (home / "file").touch()
    settings = Settings(folder=home / "file" / "x")
    with pytest.raises(InvalidInput, match=r"folder: '.*/file/x' is not allowed; use a folder tha"):
        settings.prepare()
