"""How MLflow behaves here: no telemetry, no chatter, no retries of its own; nothing left changed.

Imported before every other file of the package, because MLflow decides on telemetry and logging
while it is imported.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_SECONDS = 30
"""Longest wait for one answer of a server, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise."""


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Sets environment variables, and sets them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def settings(*, retries: int = 0, timeout: int | None = None) -> Iterator[None]:
    """MLflow's settings while this package talks to a server.

    `retries` counts even if the user has set MLFLOW_HTTP_REQUEST_MAX_RETRIES: MLflow repeats a
    `create_run` whose reply was lost, which makes a second run. `Patience` repeats with more care.
    """
    wait = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_SECONDS))
    with environment(
        MLFLOW_HTTP_REQUEST_MAX_RETRIES=str(retries),
        MLFLOW_HTTP_REQUEST_TIMEOUT=wait if timeout is None else str(timeout),
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    ):
        yield


# Unless told not to, MLflow reports its use to its makers; a study talks to no one whom its user
# did not name.
with (
    environment(MLFLOW_DISABLE_TELEMETRY=os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true")),
    warnings.catch_warnings(),
):
    warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, in a notebook
    import mlflow.tracking  # noqa: F401

if "MLFLOW_LOGGING_LEVEL" not in os.environ:
    # They log, with a traceback, what they raise as well, and every fresh database.
    for _name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(_name).setLevel(logging.CRITICAL)
