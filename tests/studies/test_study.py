"""The symbol-length study from end to end, as a user runs it: real Ray, real MLflow."""

from __future__ import annotations

import json
import platform
import re
from importlib import metadata
from pathlib import Path

import pytest
from commands import Storage, processes, wait_until
from mlflow.tracking import MlflowClient
from web import Web


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A storage folder in which the smoke study has run once, and what it printed."""
    storage = Storage(tmp_path_factory.mktemp("study") / "storage")
    return storage, storage.run()


def test_it_prints_the_tables_the_folder_and_the_command_for_the_ui(done):
    storage, process = done
    assert process.returncode == 0, process.stderr
    for words in (
        "orthogonal",
        "stable_lstm",
        str(storage.results),
        f"ui --backend-store-uri {storage.uri}",
    ):
        assert words in process.stdout
    tables = process.stdout.split("Validation accuracy")[1].split("Tables and figures")[0]
    assert max(map(len, tables.splitlines())) <= 80
    for name in ("length_table", "seed_sensitivity"):
        for kind in ("csv", "md", "tex"):
            assert (storage.results / f"{name}.{kind}").stat().st_size > 0
    for name in ("accuracy_by_length", "training_histories"):
        assert (storage.results / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (storage.results / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_its_log_is_plain_lines_with_the_progress_of_each_pack(done):
    _, process = done
    assert "\x1b" not in process.stdout
    assert "Traceback" not in process.stdout + process.stderr
    for cell in ("lstm", "stable_lstm", "orthogonal"):
        assert re.search(rf"^\[ *\d+:\d\d\] .*\b{cell}, length 50", process.stdout, re.M)


@pytest.mark.slow  # a start and a stop of the largest study
def test_what_would_train_for_days_on_cpus_says_so_in_a_line_at_its_start(done, tmp_path):
    _, small = done
    assert "on CPUs" not in small.stdout + small.stderr
    storage = Storage(tmp_path / "storage", "symbol-length")
    driver = storage.start("--preset", "paper", "--device", "cpu")
    try:
        wait_until(lambda: "to train in" in storage.output, 90, "the plan")
    finally:
        storage.close()
    assert driver.returncode == 143
    (line,) = [line for line in storage.output.splitlines() if "on CPUs" in line]
    days = re.fullmatch(
        r"symbol-length may train for about (\d+) d .* on CPUs: .*--dry-run.*", line
    )
    assert days, line
    assert int(days[1]) > 1
    assert storage.output.index(line) < storage.output.index("to train in")


def test_every_trial_has_one_finished_run_with_its_metrics(done):
    storage, _ = done
    runs = storage.runs
    assert len(runs) == runs["trial_id"].nunique() == 3 * 2
    assert set(runs["status"]) == {"FINISHED"}
    assert (runs["epochs_trained"] == runs["epochs"]).all()
    assert runs["val_accuracy"].between(0, 1).all()
    assert (runs["val_accuracy"] <= runs["best_val_accuracy"]).all()
    assert (runs["train_seconds"] > 0).all()


def test_its_page_is_whole_and_says_how_to_make_it_again(done):
    storage, _ = done
    web = Web((storage.results / "report.html").read_text())
    assert set(web.pictures) == {"accuracy_by_length", "training_histories"}
    assert all(source.startswith("data:image/png;base64,") for source in web.fetched)
    assert web.preformatted == "python studies/symbol_length.py --preset smoke"
    assert "6 trials: 6 finished" in web.text
    versions = {row[""]: row["version"] for row in web.table("version")}
    assert versions["torch"] == metadata.version("torch") and versions["device"] == "cpu"
    assert platform.node() not in web.text


def test_mlflow_describes_it_and_shows_its_runs_with_what_matters(done):
    storage, process = done
    client = MlflowClient(storage.uri)
    experiment = client.get_experiment_by_name(storage.name)
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`rnn_study.study_id` != ''")
    note = (storage.results / "length_table.md").read_text().strip()
    for tags in (experiment.tags, parent.data.tags):
        assert note in tags["mlflow.note.content"]
    page = client.download_artifacts(parent.info.run_id, "report.html")
    assert Path(page).read_bytes() == (storage.results / "report.html").read_bytes()
    (key,) = re.findall(r"viewStateShareKey=(\w+)", process.stdout)
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    child = client.get_run(storage.runs.loc[0, "run_id"]).data
    known = {f"params.`{name}`" for name in child.params}
    known |= {f"metrics.`{name}`" for name in (*child.metrics, "epochs_to_solve")}
    assert set(view["selectedColumns"]) <= known
    assert "metrics.`val_accuracy`" in view["selectedColumns"]
    assert len(experiment.tags["mlflow.note.content"]) <= 5000


def test_running_it_again_trains_nothing_and_prints_the_same_tables(done):
    storage, first = done
    runs, tables = storage.runs, storage.tables()
    page = (storage.results / "report.html").read_bytes()
    again = storage.run()
    assert again.returncode == 0, again.stderr
    assert storage.tables() == tables
    assert (storage.results / "report.html").read_bytes() == page
    assert storage.runs.equals(runs)
    assert _rows(again.stdout)
    assert _rows(again.stdout) == _rows(first.stdout)


@pytest.mark.slow  # that what has finished is not trained again is tested above
def test_another_seed_trains_only_the_new_trials(done):
    storage, _ = done
    before = storage.runs.set_index("trial_id")
    more = storage.run("--seeds", "3")
    assert more.returncode == 0, more.stderr
    after = storage.runs.set_index("trial_id")
    assert len(after) == 3 * 3
    assert after.loc[before.index, "run_id"].equals(before["run_id"])
    assert set(after.drop(before.index)["seed"]) == {2}


def test_nothing_is_left_running(done):
    storage, _ = done
    assert processes(storage.home) == {}


def _rows(text: str) -> list[str]:
    """The rows of the printed tables: those that begin with a length."""
    return [line for line in text.splitlines() if re.match(r" *50 ", line)]
