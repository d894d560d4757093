"""Stores that the tests of tracking share: SQLite files, a real server, a proxy before it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tracked import (
    DATABASES,
    STUDY,
    Proxy,
    Server,
)

from rnn_study.config import Study
from rnn_study.tracking import (
    store,
)


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """An empty store, made once: that takes MLflow a second."""
    folder = tmp_path_factory.mktemp("template")
    store.create_database(f"sqlite:///{folder / 'mlflow.db'}", folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def server(template, tmp_path_factory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(template, made.folder)
    DATABASES[made.uri] = made.folder / "mlflow.db"
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with Proxy(server.uri) as made:
        DATABASES[made.uri] = DATABASES[server.uri]
        yield made
        made.shutdown()


@pytest.fixture
def uri(template, tmp_path) -> str:
    shutil.copy(template, tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(params=["file", "server"])
def each_uri(request) -> str:
    if request.param == "file":
        return request.getfixturevalue("uri")
    return request.getfixturevalue("server").uri


@pytest.fixture
def study(request) -> Study:
    """The study under a name of the test's own, so that tests can share a server."""
    return replace(STUDY, name=re.sub(r"\W+", "-", request.node.name))
