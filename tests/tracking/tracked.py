"""What the tests of tracking share: a small study, a real MLflow server, a network that fails."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests
from mlflow.tracking import MlflowClient
from servers import Server  # noqa: F401  (for the tests beside)

from rnn_study.config import Study, Trial
from rnn_study.tracking import Tracker, read_histories, read_runs

EPOCHS = 13
SERIES = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("gradient_norm", "learning_rate"),
)
"""What MLflow gets epoch by epoch."""
STUDY = Study(
    name="tiny",
    task="symbol",
    cells=("orthogonal", "lstm"),
    lengths=(53, 50),
    seeds=(5, 2),
    learning_rate={"orthogonal": 1e-3, "lstm": 0.012345678901234567},
    hidden=11,
    epochs=EPOCHS,
    batch=7,
    train_size=49,
    val_size=17,
)
TRIALS = STUDY.trials()
TRIAL = TRIALS[0]
ENVIRONMENT = {"git_commit": "0123abc", "device": "cpu", "torch": "2.13.0"}


def history(trial: Trial, epochs: int = EPOCHS, first: int = 1) -> dict[str, np.ndarray]:
    """Epochs `first` to `epochs` of a history that is the trial's own."""
    generator = np.random.default_rng(int(trial.id[:8], 16))
    values = {name: generator.random(20_000) for name in (*SERIES, "seconds")}
    made = {name: column[first - 1 : epochs] for name, column in values.items()}
    return {"epoch": np.arange(first, epochs + 1)} | made


def summary(trial: Trial, epochs: int = EPOCHS) -> dict[str, float]:
    whole = history(trial, epochs)
    return {
        "val_accuracy": float(whole["val_accuracy"][-1]),
        "best_val_accuracy": float(whole["val_accuracy"].max()),
        "epochs_trained": float(epochs),
        "solved": 0.0,
        "diverged": 0.0,
        "train_seconds": float(whole["seconds"].sum()),
    }


def record(tracker: Tracker, trials: list[Trial], epochs: int = EPOCHS) -> None:
    """What the driver does with trials that train to their end."""
    tracker.start(trials)
    for epoch in range(1, epochs + 1):
        tracker.log({trial.id: history(trial, epoch, epoch) for trial in trials})
    for trial in trials:
        tracker.finish(trial.id, history(trial, epochs), summary(trial, epochs))


def opened(uri: str, folder: Path, study: Study = STUDY, **options: Any) -> Tracker:
    tracker = Tracker(uri, study, folder / "artifacts", **options)
    tracker.open(study.trials(), ENVIRONMENT)
    return tracker


def crash(tracker: Tracker) -> None:
    """Leaves a tracker as `kill -9` does: what is queued is lost, nothing is marked."""
    tracker._patience.stop()
    tracker._settings.close()


DATABASES: dict[str, Path] = {}
"""The SQLite files behind the servers, by URI."""


def query(uri: str, text: str, *values: str) -> list[tuple]:
    """What the database behind `uri` says, past MLflow."""
    path = DATABASES[uri] if uri.startswith("http") else Path(uri.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, timeout=20)) as database:
        return database.execute(text, values).fetchall()


def stored(uri: str, run_id: str) -> Counter[tuple[str, int]]:
    """How often each metric is stored at each step of a run."""
    return Counter(query(uri, "SELECT key, step FROM metrics WHERE run_uuid = ?", run_id))


def dump(uri: str) -> set[tuple]:
    """Every row of every run."""
    tables = ("runs", "tags", "params", "metrics", "latest_metrics")
    return {row for table in tables for row in query(uri, f"SELECT '{table}', * FROM {table}")}


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def assert_recorded(uri: str, study: Study = STUDY, epochs: int = EPOCHS) -> None:
    """Every trial has one finished run, every point once, the summary once, the whole history."""
    trials = {trial.id: trial for trial in study.trials()}
    runs = read_runs(uri, study.name)
    histories = read_histories(uri, runs)
    assert sorted(runs["trial_id"]) == sorted(trials)
    assert set(runs["status"]) == {"FINISHED"}
    expected = {(name, epoch): 1 for name in SERIES for epoch in range(1, epochs + 1)}
    expected |= {(name, epochs): 1 for name in summary(TRIAL)}
    for row in runs.itertuples():
        trial = trials[row.trial_id]
        assert stored(uri, row.run_id) == expected
        values = summary(trial, epochs)
        assert {name: getattr(row, name) for name in values} == values
        frame = histories[row.trial_id]
        pd.testing.assert_frame_equal(frame, pd.DataFrame(history(trial, epochs)), check_exact=True)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study.name)
    every = client.search_runs([experiment.experiment_id])
    assert len(every) == len(trials) + 1  # and one parent
    assert {run.info.status for run in every} == {"FINISHED"}


def flush(tracker: Tracker, histories: dict[str, dict[str, np.ndarray]]) -> None:
    """Has the writer write what is queued now, not in a few seconds."""
    tracker._opened[1]._due = 0.0
    tracker.log(histories)


class Dies:
    """A client whose process dies before it ends a run."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> object:
        if name == "set_terminated":
            return lambda *args: threading.Event().wait()
        return getattr(self._client, name)


class Proxy(ThreadingHTTPServer):
    """A network in front of a server: it loses, delays or refuses what it is told to."""

    daemon_threads = True

    def __init__(self, uri: str, port: int = 0) -> None:
        self.fault: Callable[[str], str | None] = lambda path: None
        """Of a request's path: None, "lose reply", "lose reply, deliver late", "hang" or "503"."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                fault = proxy.fault(self.path)

                def forward() -> requests.Response:
                    return requests.request(
                        self.command, uri + self.path, data=body, headers=headers, timeout=30
                    )

                if fault == "hang":
                    time.sleep(20)
                elif fault == "503":
                    self.send_error(503)
                elif fault == "lose reply, deliver late":
                    threading.Timer(1.5, forward).start()
                else:
                    reply = forward()
                    if fault is None:
                        self.send_response(reply.status_code)
                        self.send_header("Content-Type", reply.headers.get("Content-Type", ""))
                        self.send_header("Content-Length", str(len(reply.content)))
                        self.end_headers()
                        self.wfile.write(reply.content)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
