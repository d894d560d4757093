"""Tracking stores: checked, opened and searched.

A store is an SQLite file (`sqlite:///FILE`), which is made when the first study opens it, or an
MLflow server (`http://` or `https://`).
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import requests
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

from rnn_study.errors import InvalidInput
from rnn_study.tracking.environment import settings

TRIAL = "rnn_study.trial_id"
"""Tag of a child run: the id of its trial."""
STUDY = "rnn_study.study_id"
"""Tag of a parent run: the id of its declaration."""
FAILURE = "rnn_study.failure"
"""Tag of a child run: why its trial failed; empty once it runs again."""
STOPPED = "rnn_study.stopped_at"
"""Tag of a child run: the epoch at which a search stopped it as hopeless; empty once it runs again.
Its status is KILLED: it is no finished training, and can go on from its checkpoint."""
NODE, DEVICE = "rnn_study.node", "rnn_study.device"
"""Tags of a child run: where its trial trained last."""
PURPOSE = "rnn_study.purpose"
"""Tag of a child run: what it is for, one of the following."""
GRID, SEARCH, CONFIRMATION = "grid", "search", "confirmation"
"""A trial of given rate; one that tries a rate; one with the rate that a search has found. Tables
are of the first and the last."""
SUMMARY = "epochs_trained"
"""Metric that a run has if and only if its final metrics are stored."""
HISTORY = "history.parquet"
"""Artifact of a finished child run: its whole history."""
ALBUM = "attractors.npz"
"""Artifact of a finished child run whose attractors were watched: its `Album`."""
BIFURCATIONS = "bifurcations.csv"
"""Likewise: a row for every change of its attractors."""

TRANSIENT = (408, 425, 429)
"""HTTP statuses below 500 that ask to try again."""
CHECK_SECONDS = 8
"""Longest wait for the first answer of a server."""
PAGE = 1000
"""Runs in one answer to a search."""


class NoAnswer(InvalidInput):
    """A store that may answer when it is asked again."""


def is_away(error: Exception) -> bool:
    """Whether the store may answer when asked again: it is unreachable, busy or failing."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return isinstance(error, (OSError, NoAnswer))  # requests' connection errors among them
    return status >= 500 or status in TRANSIENT


def connect(uri: str, *, write: bool) -> MlflowClient | None:
    """A client of the store at `uri`, which has answered; None for an SQLite file yet to be made.

    Creates nothing. Raises `InvalidInput` if the store cannot be used.
    """
    try:
        scheme = urlsplit(uri).scheme
    except ValueError:  # half an IPv6 address
        scheme = ""
    if scheme in ("http", "https"):
        return _connect_server(uri)
    if uri.startswith("sqlite:///") and uri not in ("sqlite:///", "sqlite:///:memory:"):
        return _connect_file(uri, write)
    raise InvalidInput(
        "tracking_uri",
        shown(uri),
        "use sqlite:///FILE, or the http://HOST:PORT or https://HOST of an MLflow server",
    )


def _connect_server(uri: str) -> MlflowClient:
    with settings(timeout=CHECK_SECONDS):
        try:
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
        except Exception as error:  # also what a server that is not MLflow's makes it raise
            refusal = NoAnswer if is_away(error) else InvalidInput
            allowed = f"no MLflow server answers there: {brief(error)}"
            raise refusal("tracking_uri", shown(uri), allowed) from error
    return client


def _connect_file(uri: str, write: bool) -> MlflowClient | None:
    path = _path(uri)
    try:
        if not path.exists():
            folder = next(parent for parent in path.parents if parent.exists())
            with tempfile.TemporaryFile(dir=folder):
                return None  # it can be written, and nothing is left there
        with closing(sqlite3.connect(path, timeout=CHECK_SECONDS)) as database:
            if write:
                database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT count(*) FROM sqlite_master")
    except (OSError, sqlite3.Error) as error:
        if "locked" not in str(error):  # by another writer: `Patience` waits for it
            allowed = f"use an SQLite file that can be read and written: {brief(error)}"
            raise InvalidInput("tracking_uri", uri, allowed) from error
    try:
        return _open_file(path)
    except MlflowException as error:
        allowed = f"use a database of the MLflow installed here: {brief(error)}"
        raise InvalidInput("tracking_uri", uri, allowed) from error


_inodes: dict[Path, int] = {}
"""The files that this process has opened, as they were then."""


def _open_file(path: Path) -> MlflowClient:
    uri, inode = f"sqlite:///{path}", path.stat().st_ino
    if _inodes.setdefault(path, inode) != inode:
        # MLflow keeps its connections, which lead to the file that had this name before.
        SqlAlchemyStore(uri, "").engine.dispose()
        _inodes[path] = inode
    return MlflowClient(tracking_uri=uri)


def create_database(uri: str, artifacts: Path) -> MlflowClient:
    """Makes the SQLite store of `uri`, whole or not at all, and opens it.

    MLflow makes its tables in some forty steps: a kill in between, or a second driver that makes
    the same file, would leave a database that no MLflow opens again. So it is made under another
    name, and linked to its own when it is ready, but never over one that is there by then.
    """
    path = _path(uri)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.touch()  # where this fails, MLflow would try for minutes
        try:
            SqlAlchemyStore(f"sqlite:///{fresh}", artifacts.as_uri()).engine.dispose()
            _give_name(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        allowed = f"use an SQLite file that can be created: {brief(error)}"
        raise InvalidInput("tracking_uri", uri, allowed) from error
    return _open_file(path)


def _give_name(fresh: Path, path: Path) -> None:
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            fresh.replace(path)


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///")).absolute()


def experiment_of(client: MlflowClient, study_name: str) -> Experiment | None:
    """The experiment of a study, if there is one.

    Raises `InvalidInput` if it is deleted, or if the server does not let this user see it.
    """
    try:
        experiment = client.get_experiment_by_name(study_name)
    except MlflowException as error:
        if error.get_http_status_code() not in (401, 403):
            raise
        allowed = (
            f"MLflow does not let you see it ({brief(error)}); ask for the right, or use another"
        )
        raise InvalidInput("name", study_name, allowed) from error
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise InvalidInput(
            "name",
            study_name,
            "its MLflow experiment was deleted; use another name, or restore it with"
            f" `mlflow experiments restore --experiment-id {experiment.experiment_id}`",
        )
    return experiment


def finished(client: MlflowClient, study_name: str, purpose: str = "") -> set[str]:
    """The ids of the trials of a study's experiment whose run is FINISHED; of one purpose."""
    condition = "attributes.status = 'FINISHED'"
    if purpose:
        condition += f" and tags.`{PURPOSE}` = '{purpose}'"
    runs = search_study(client, study_name, condition)
    return {run.data.tags[TRIAL] for run in runs if TRIAL in run.data.tags}


def any_open(client: MlflowClient, study_name: str, study_id: str) -> bool:
    """Whether a run of a study's experiment is RUNNING, of its trials and of its declarations, or
    that of the declaration `study_id` is KILLED, as where its driver was interrupted."""
    alive = search_study(client, study_name, "attributes.status = 'RUNNING'")
    if any(run.data.tags.keys() & {TRIAL, STUDY} for run in alive):
        return True
    killed = f"attributes.status = 'KILLED' and tags.`{STUDY}` = '{study_id}'"
    return any(True for _ in search_study(client, study_name, killed))


def search_study(client: MlflowClient, study_name: str, condition: str) -> Iterator[Run]:
    """As `search`, in the experiment of a study; nothing where there is none."""
    experiment = experiment_of(client, study_name)
    if experiment is not None:
        yield from search(client, experiment.experiment_id, condition)


def search(client: MlflowClient, experiment_id: str, condition: str = "") -> Iterator[Run]:
    """The runs of an experiment that meet `condition`, in MLflow's language, the oldest first."""
    token = None
    while True:
        # The oldest first, so that runs created meanwhile do not shift the pages.
        order = ["attributes.start_time ASC", "attributes.run_id ASC"]
        page = client.search_runs(
            [experiment_id], condition, max_results=PAGE, order_by=order, page_token=token
        )
        yield from page
        if not (token := page.token):
            return


def best(runs: Iterable[Run]) -> Run:
    """The run that stands for a trial, should it ever have two: the one that got furthest."""
    return min(
        runs,
        key=lambda run: (
            run.info.status != "FINISHED",
            -len(run.data.metrics),
            run.info.start_time,
            run.info.run_id,
        ),
    )


def brief(error: BaseException) -> str:
    """Why something failed, in at most one line: the operating system's word, if there is one."""
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:
        seen.append(cause)
        if isinstance(cause, (TimeoutError, requests.Timeout)):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
        cause = next((each for each in inner if isinstance(each, BaseException)), None)
    line = shown(str(error)).strip().partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:200]}..."


def shown(uri: str) -> str:
    """`uri` without a password."""
    return re.sub(r"//[^/@\s]*@", "//***@", uri)
