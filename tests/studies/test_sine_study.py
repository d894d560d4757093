"""The sine study from end to end: the spine of the symbol study with another task."""

from __future__ import annotations

import re
import signal

import numpy as np
import pandas as pd
import pytest
from commands import ROOT, TABLES, Storage, wait_until
from mlflow.tracking import MlflowClient
from web import Web

from rnn_study import tracking
from rnn_study.tasks import TASKS

FLAGS = [
    "--epochs",
    "40",
    "--train-size",
    "30",
    "--val-size",
    "20",
    "--hidden",
    "16",
    "--dynamics-every",
    "20",
    "--checkpoint-seconds",
    "0.2",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A storage folder in which the smoke preset has run once, and what it printed."""
    folder = tmp_path_factory.mktemp("sine") / "storage"
    storage = Storage(folder, "sine-wave-smoke", ROOT / "studies" / "sine_wave.py")
    return storage, storage.run(*FLAGS)


def test_it_prints_tables_and_progress_of_errors(done):
    storage, process = done
    assert process.returncode == 0, process.stderr
    for cell in ("lstm", "stable_lstm", "orthogonal"):
        assert re.search(
            rf"\] {cell}, length 50, .*ended, epoch 40/40, median loss 0.\d\d, diverged 0",
            process.stdout,
        )
    tables = process.stdout.split("Validation mean square error")[1].split("Tables and figures")[0]
    assert max(map(len, tables.splitlines())) <= 80
    assert len(re.findall(r"^ *50 ", tables, re.M)) == 10
    assert "accuracy" not in process.stdout and "solved" not in process.stdout
    figures = {f"{n}.{k}" for n in ("mean_square_error_by_length", "training_histories")
               for k in ("png", "pdf")}  # fmt: skip
    assert {p.name for p in storage.results.iterdir() if p.is_file()} >= {*TABLES, *figures}


def test_its_runs_have_errors_and_no_accuracies(done):
    storage, _ = done
    runs = storage.runs
    assert len(runs) == 3 * 2 and set(runs["status"]) == {"FINISHED"}
    assert not [name for name in runs if "accuracy" in name]
    assert runs["val_loss"].between(0.3, 0.7).all()
    assert (runs["best_val_loss"] <= runs["val_loss"]).all()
    assert not runs["solved"].any() and runs["epochs_to_solve"].isna().all()
    run = MlflowClient(storage.uri).get_run(runs.loc[0, "run_id"])
    watched = {
        f"dynamics/{probe}/{number}"
        for probe in TASKS["sine"].probes()
        for number in ("lyapunov", "kind", "attractors", "period")
    }
    assert set(run.data.metrics) == watched | {
        *("train_loss", "val_loss", "best_val_loss", "gradient_norm", "learning_rate"),
        *("epochs_trained", "solved", "diverged", "train_seconds"),
    }
    for row in runs.itertuples():
        history = tracking.read_histories(storage.uri, runs)[row.trial_id]
        assert row.val_loss == history["val_loss"].iloc[-1]
        assert row.best_val_loss == history["val_loss"].min()


def test_each_run_has_its_attractors_as_metrics_and_as_artifacts(done):
    storage, _ = done
    client = MlflowClient(storage.uri)
    for row in storage.runs.itertuples():
        logged = client.get_metric_history(row.run_id, "dynamics/0.218/lyapunov")
        assert [metric.step for metric in logged] == [20, 40]
        names = {file.path for file in client.list_artifacts(row.run_id)}
        assert names == {
            "history.parquet", "attractors.npz", "attractors.png", "bifurcations.csv"
        }  # fmt: skip
        album = tracking.read_album(storage.uri, row.run_id)
        assert album.epochs.tolist() == [20, 40]
        exponents = album.portraits.lyapunov[:, album.probes.index("0.218")]
        assert [metric.value for metric in logged] == exponents.tolist()


def test_it_tells_and_draws_what_the_attractors_did(done):
    storage, process = done
    assert "Attractors over the seeds" in process.stdout
    table = pd.read_csv(storage.results / "attractors.csv")
    assert table["cell"].tolist() == ["lstm", "stable_lstm", "orthogonal"]
    assert (table["seeds"] == 2).all()
    for name in ("orbits.png", "orbits.pdf", "bifurcations.csv"):
        assert (storage.results / name).stat().st_size > 0


def test_its_page_has_the_attractors_and_every_figure(done):
    storage, _ = done
    web = Web((storage.results / "report.html").read_text())
    assert set(web.pictures) == {path.stem for path in storage.results.glob("*.png")}
    (*_, last) = web.table("cell", "at the end")
    table = pd.read_csv(storage.results / "attractors.csv").iloc[-1]
    assert last["one fixed point"] == str(table["single"])
    assert last["at the end"] == f"{table['final']} {table['final_count']}/{table['seeds']}"


@pytest.mark.slow  # that portraits are the same after a cut is among the quick tests of watching
def test_attractors_survive_the_death_of_the_driver(done, tmp_path):
    undisturbed, _ = done
    storage = Storage(tmp_path / "storage", undisturbed.name, undisturbed.script)
    driver = storage.start(*FLAGS)
    try:
        pages = storage.folder / "checkpoints"
        wait_until(lambda: [*pages.glob("*/portraits/00000020.npz")], 90, "the first portraits")
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        # Ray's own agents may stay for some minutes after a kill -9; what trains must not
        storage.wait_for_actors()
        again = storage.run(*FLAGS)
    finally:
        storage.close()
    assert again.returncode == 0, again.stdout + again.stderr
    for name in (*TABLES, "attractors.csv", "bifurcations.csv", "orbits.png", "report.html"):
        assert (storage.results / name).read_bytes() == (undisturbed.results / name).read_bytes()
    ours, theirs = storage.runs, undisturbed.runs
    for mine, other in zip(ours["run_id"], theirs["run_id"], strict=True):
        one, two = (tracking.read_album(s.uri, i) for s, i in
                    ((storage, mine), (undisturbed, other)))  # fmt: skip
        for name, array in one.portraits.arrays().items():
            np.testing.assert_array_equal(array, getattr(two.portraits, name))


def test_the_stable_lstm_alone_decays(done):
    storage, _ = done
    decay = storage.runs.groupby("cell")["decay_epochs"].agg(set).to_dict()
    assert decay == {"lstm": {()}, "orthogonal": {()}, "stable_lstm": {(500, 1000, 2000)}}
    table = pd.read_csv(storage.results / "seed_sensitivity.csv")
    assert len(table) == 3 and np.isfinite(table["iqm"]).all()
