"""The language model study, run as a user does: no download, and nothing but its tables to show."""

from __future__ import annotations

import re
import runpy
import signal
import sys

import numpy as np
import pandas as pd
import pytest
from commands import ROOT, Storage, wait_until
from web import Web

from rnn_study import aggregate, cli, figures, sample, tracking
from rnn_study.flags import script
from rnn_study.tasks import grammar

SCRIPT = ROOT / "studies" / "language_model.py"
NAME = "language-model-smoke"
FLAGS = ("--cells", "lstm", "orthogonal", "--pack-size", "2", "--words", "is", "<unk>")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study that has run to its end."""
    storage = Storage(tmp_path_factory.mktemp("language") / "storage", NAME, SCRIPT)
    process = storage.run(*FLAGS)
    assert process.returncode == 0, process.stdout + process.stderr
    yield storage, process
    storage.close()


def test_the_study_is_short():
    assert len(SCRIPT.read_text().splitlines()) < 60


def test_it_ends_with_perplexities_and_repetitions(done):
    storage, process = done
    assert process.stderr == ""
    for words in ("Perplexity", "When fed-back text repeats itself", "epoch 4/4"):
        assert words in process.stdout
    tables = process.stdout.split("Perplexity\n")[1].split("Took")[0]
    assert max(map(len, tables.splitlines())) <= 80
    runs = storage.runs
    assert len(runs) == 4 and set(runs["status"]) == {"FINISHED"}
    assert runs["test_perplexity_at_best"].between(5, 108).all()
    assert (runs["best_val_perplexity"] <= runs["val_perplexity"]).all()
    assert set(runs["vocabulary"]) == {108} and set(runs["train_size"]) == {4000}


def test_the_test_perplexity_is_that_of_the_best_validation(done):
    storage, _ = done
    histories = tracking.read_histories(storage.uri, storage.runs)
    for run in storage.runs.itertuples():
        history = histories[run.trial_id]
        best = history.loc[history["val_perplexity"].idxmin()]
        assert run.test_perplexity_at_best == best["test_perplexity"]
        assert run.best_val_perplexity == best["val_perplexity"]


def test_tables_say_what_the_runs_found(done):
    storage, _ = done
    table = pd.read_csv(storage.results / "perplexity.csv").set_index("cell")
    for cell, runs in storage.runs.groupby("cell"):
        row = table.loc[cell]
        assert row["seeds"] == 2
        entropies = np.log(runs["test_perplexity_at_best"].to_numpy())
        half = 12.7062 * abs(entropies[0] - entropies[1]) / 2  # Student's t of one degree
        wanted = np.exp(entropies.mean() + np.array([0, -half, half]))
        assert row[["test", "test_low", "test_high"]].to_numpy(float) == pytest.approx(wanted, 1e-4)
        assert (
            row["test_low"] < row["test_min"] <= row["test"] <= row["test_max"] < row["test_high"]
        )
    texts = pd.read_csv(storage.results / "texts.csv")
    assert len(texts) == 2 * 2 * 2 * 2  # cells, seeds, looks, words
    assert set(texts["word"]) == {"is", "<unk>"} and set(texts["epoch"]) == {2, 4}
    table = pd.read_csv(storage.results / "repetition.csv")
    assert (table["texts"] == 4).all()
    assert (table["repeating"] == texts["cycle"].gt(0).groupby(
        [texts["cell"], texts["epoch"]], sort=False).sum().to_numpy()).all()  # fmt: skip


def test_every_figure_is_there_and_on_the_page(done):
    storage, _ = done
    drawn = {path.stem for path in storage.results.glob("*.png")}
    cells = [f"orbits_{cell}{end}" for cell in ("lstm", "orthogonal") for end in ("", "_2d")]
    assert drawn >= {"orbits", "orbits_2d", "repetition", "training_histories", *cells}
    page = Web((storage.results / "report.html").read_text())
    assert "When fed-back text repeats itself" in page.text
    assert set(page.pictures) == drawn
    assert "fed back, against the epoch: the best seed of each cell." in page.text
    assert "orthogonal, seed" in page.text and "every output under every input" not in page.text


def test_panels_say_what_the_network_reads(done):
    storage, _ = done
    run = storage.runs.iloc[0]
    trial, album = aggregate.trial_of(run), tracking.read_album(storage.uri, run["run_id"])
    figure = figures.language.compared({"LSTM": (trial, album)}, deep=False)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ['LSTM\n"is" held', 'LSTM\n"is" fed back']
    every = figures.language.of_run(trial, album)
    assert every.axes[-1].get_title().startswith('"<unk>" fed back\n')
    assert every.get_suptitle() == f"LSTM, length {trial.length}, rate 0.003, seed {trial.seed}"


@pytest.mark.slow  # of symbols it is tested quickly
def test_the_same_again_trains_nothing_and_another_folder_of_the_same_text_neither(done, tmp_path):
    storage, _ = done
    for split, text in grammar.texts().items():
        (tmp_path / f"{split}.txt").write_text(text)
    again = storage.run(*FLAGS, "--data", str(tmp_path))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "every trial had finished earlier" in again.stdout


def test_a_finished_run_goes_on_after_a_prompt(done, capsys, monkeypatch, tmp_path):
    storage, _ = done
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    flags = ["--study", NAME, "--cell", "lstm", "--storage", str(storage.folder), "--count", "30"]

    def ran(*more):
        code = script.main(sample.Settings, sample.write, sample.TEXT, [*flags, *more])
        return code, capsys.readouterr()

    def wrote(*more):
        code, printed = ran(*more)
        assert code == 0, printed.err
        return printed.out

    process = storage.call(
        [sys.executable, "-m", "rnn_study.sample", *flags, "--prompt", "Valkyria is"]
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("Valkyria is ")
    assert wrote("--prompt", "Valkyria is") == process.stdout
    assert wrote("--prompt", "Valkyria is", "--sample-seed", "1") != process.stdout
    greedy = wrote("--prompt", "Valkyria is", "--temperature", "0")
    assert greedy.splitlines()[-1].startswith("It ")
    code, refused = ran("--prompt", "zeppelin")
    assert code == 2 and refused.err.startswith("error: prompt: 'zeppelin'")
    code, refused = ran("--seed", "9")
    assert code == 2 and "the finished runs of cell lstm have 0, 1" in refused.err
    trial_id = storage.runs.query("cell == 'orthogonal' and seed == 1")["trial_id"].item()
    assert wrote("--length", "20") == wrote() != wrote("--trial-id", trial_id)
    assert ran("--length", "10")[1].err.startswith("error: length: 10 is not allowed")
    code, refused = ran("--storage", str(tmp_path), "--tracking-uri", storage.uri)
    assert code == 2 and refused.err.startswith(f"error: storage: '{tmp_path}'")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--data", "nowhere"), "use a folder with train.txt, valid.txt and test.txt"),
        (("--words", "zeppelin"), "among the 108 most frequent of the text"),
        (("--vocabulary", "999"), "use at most 108, or 0 for all"),
        (("--batch", "700"), "batch: 700 is not allowed; use at most 500"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_made(home, capfd, flags, reason):
    made = runpy.run_path(str(SCRIPT))
    argv = ["--preset", "smoke", "--storage", str(home / "storage"), *flags]
    assert cli.main(made["PRESETS"], made["QUESTION"], argv) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert reason in err and len(err.splitlines()) == 1
    assert [*home.iterdir()] == []


def test_the_plan_of_the_full_run_fits_a_terminal(tmp_path):
    for split, text in grammar.texts().items():
        (tmp_path / f"{split}.txt").write_text(text)
    storage = Storage(tmp_path / "storage", "language-model", SCRIPT)
    plan = storage.run("--preset", "paper", "--data", str(tmp_path), "--dry-run")
    assert (plan.returncode, plan.stderr) == (0, "")
    assert "9 trials, 0 finished, 9 to train in 3 packs" in plan.stdout
    for cell in ("lstm", "stable_lstm", "orthogonal"):
        assert re.search(rf"^ *{cell} +80 +0.001 +0-2 +1 x 3 +\d+ +\d+%", plan.stdout, re.M)
    assert re.search(r"time +about .* at most", plan.stdout)
    lines = [line for line in plan.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    assert not storage.folder.exists()


@pytest.mark.slow
def test_it_survives_the_death_of_its_driver_within_an_epoch(done, tmp_path):
    undisturbed, _ = done
    storage = Storage(tmp_path / "storage", NAME, SCRIPT)
    flags = (*FLAGS, "--checkpoint-seconds", "0.01")
    driver = storage.start(*flags)
    try:
        found = storage.folder / "checkpoints"
        wait_until(lambda: [*found.glob("*/epoch-*-*.json")], 120, "a checkpoint within an epoch")
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        again = storage.run(*flags)
    finally:
        storage.close()
    assert again.returncode == 0, again.stdout + again.stderr
    for name in ("perplexity.csv", "texts.csv", "repetition.csv", "seed_sensitivity.csv"):
        assert (storage.results / name).read_bytes() == (undisturbed.results / name).read_bytes()
