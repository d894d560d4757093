"""A study that searches its learning rates, from end to end: real Ray, Optuna and MLflow."""

from __future__ import annotations

import signal

import optuna
import pandas as pd
import pytest
from commands import Storage, wait_until

from rnn_study import aggregate, tracking

SEARCH = (
    *("--epochs", "16", "--checkpoint-seconds", "0.2", "--cells", "lstm", "orthogonal"),
    *("--learning-rate", "orthogonal=1e-3:1e-1", "lstm=1e-3:1e-1"),
    *("--search-trials", "7", "--search-round", "4", "--search-seeds", "2"),
)
FILES = ("search.csv", "search_seeds.csv")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("searched") / "storage")
    process = storage.run(*SEARCH, "--pack-size", "2")
    assert process.returncode == 0, process.stdout + process.stderr
    return storage, process.stdout


@pytest.fixture
def storage(tmp_path):
    storage = Storage(tmp_path / "storage")
    yield storage
    storage.close()


def found(storage: Storage) -> dict[str, bytes]:
    """What a search and its confirmation came to, in files."""
    return storage.tables() | {name: (storage.results / name).read_bytes() for name in FILES}


def test_the_tables_hold_the_fresh_seeds_of_the_winners_alone(undisturbed):
    storage, printed = undisturbed
    proposals = pd.read_csv(storage.results / "search.csv")
    winners = proposals[proposals["winner"]].set_index("cell")["learning_rate"]
    assert sorted(winners.index) == ["lstm", "orthogonal"]
    tabled = pd.read_csv(storage.results / "runs.csv")
    assert set(tabled["purpose"]) == {"confirmation"}
    assert tabled.groupby("cell")["seed"].apply(list).to_dict() == {
        "lstm": [0, 1],
        "orthogonal": [0, 1],
    }
    for row in tabled.itertuples():
        assert row.learning_rate == winners[row.cell]
        assert f"{row.learning_rate:g}" in printed
    assert len(aggregate.runs(storage.name, storage.uri)) == len(tabled)
    for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (storage.results / f"search.{kind}").read_bytes().startswith(magic)


def test_search_runs_are_tagged_and_those_stopped_are_not_finished(undisturbed):
    storage, _ = undisturbed
    runs = storage.runs
    assert runs.groupby("purpose").size().to_dict() == {"confirmation": 4, "search": 2 * 7 * 2}
    tried = runs[runs["purpose"] == "search"].set_index("trial_id")
    assert set(tried["seed"]) == {10_000, 10_001}
    seeds = pd.read_csv(storage.results / "search_seeds.csv").set_index("trial_id")
    proposals = pd.read_csv(storage.results / "search.csv").set_index(["cell", "proposal"])
    assert proposals["stopped_at"].notna().any()
    for trial_id, seed in seeds.iterrows():
        stopped = proposals.loc[(seed["cell"], seed["proposal"]), "stopped_at"]
        run = tried.loc[trial_id]
        if pd.isna(stopped):
            assert (run["status"], run["val_accuracy"]) == ("FINISHED", seed["value"])
        else:
            assert (run["status"], run["stopped_at"], seed["epochs"]) == (
                "KILLED",
                stopped,
                stopped,
            )
    histories = tracking.read_histories(storage.uri, runs)
    assert {i: len(histories[i]) for i in seeds.index} == seeds["epochs"].to_dict()


def test_the_parent_run_keeps_the_optuna_studies(undisturbed):
    storage, _ = undisturbed
    (kept,) = (storage.folder / "artifacts").glob("*/artifacts/search/optuna.db")
    for name in FILES:
        assert kept.with_name(name).read_bytes() == (storage.results / name).read_bytes()
    proposals = pd.read_csv(storage.results / "search.csv")
    for cell, mine in proposals.groupby("cell"):
        study = optuna.load_study(study_name=f"{cell}, length 50", storage=f"sqlite:///{kept}")
        assert [t.params["learning_rate"] for t in study.trials] == [*mine["learning_rate"]]
        assert [t.value for t in study.trials] == pytest.approx([*mine["value"]])
        pruned = [t.state.name == "PRUNED" for t in study.trials]
        assert pruned == [*mine["stopped_at"].notna()]


@pytest.mark.slow  # as of a study without a search
def test_again_it_trains_nothing_and_finds_the_same(undisturbed):
    storage, printed = undisturbed
    before, runs = found(storage), storage.runs
    again = storage.run(*SEARCH)
    assert again.returncode == 0, again.stderr
    assert found(storage) == before
    assert storage.runs.equals(runs)
    plan = " ".join(storage.run(*SEARCH, "--dry-run", "--seeds", "3").stdout.split())
    assert "34 trials (28 to search learning rates), 32 finished, 2 to train in 2 packs" in plan
    assert "Learning rates found" in printed and "Learning rates found" in again.stdout


@pytest.mark.slow  # kills are among the quick tests of recovery, packing of the agenda
def test_a_killed_search_goes_on_to_the_same_end_in_other_packs_one_at_a_time(storage, undisturbed):
    driver = storage.start(*SEARCH, "--pack-size", "2")
    wait_until(lambda: begun(storage) > 2 * 4 * 2, 120, "the second round")
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    storage.wait_for_actors()
    ended = {path: path.stat().st_mtime_ns for path in storage.checkpoints() if whole(path)}
    assert ended and len(storage.runs) < len(undisturbed[0].runs)
    again = storage.run(*SEARCH, "--pack-size", "8", "--cpus-per-pack", "2")
    assert again.returncode == 0, again.stdout + again.stderr
    assert found(storage) == found(undisturbed[0])
    runs, expected = storage.runs, undisturbed[0].runs
    columns = ["trial_id", "status", "purpose", "stopped_at", "epochs_trained", "val_accuracy"]
    assert runs[columns].equals(expected[columns])
    assert {path: path.stat().st_mtime_ns for path in ended} == ended


@pytest.mark.slow
def test_a_stopped_trial_trains_on_when_it_is_asked_for_by_its_rate(undisturbed):
    storage, _ = undisturbed
    before = found(storage)
    runs = storage.runs
    stopped = runs[runs["stopped_at"].notna()].iloc[0]
    ask = ("--cells", stopped["cell"], "--learning-rate", str(float(stopped["learning_rate"])))
    plain = storage.run(*SEARCH[:2], *ask, "--seeds", str(stopped["seed"]), "7")
    assert plain.returncode == 0, plain.stdout + plain.stderr
    run = storage.runs.set_index("trial_id").loc[stopped["trial_id"]]
    assert (run["status"], run["purpose"], run["epochs_trained"]) == ("FINISHED", "grid", 16)
    assert pd.isna(run["stopped_at"])
    assert run["run_id"] == stopped["run_id"]
    tabled = pd.read_csv(storage.results / "runs.csv")
    assert set(tabled["seed"]) == {stopped["seed"], 7}
    again = storage.run(*SEARCH)
    assert again.returncode == 0, again.stdout + again.stderr
    assert found(storage) == before


def begun(storage: Storage) -> int:
    """Trials that have a checkpoint."""
    return len({path.parent for path in storage.checkpoints()})


def whole(path) -> bool:
    """Whether a checkpoint is that of an ended trial."""
    return '"status": "training"' not in path.read_text()
