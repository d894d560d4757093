"""`report.html`: whole, self-contained, equal for equal runs, and the numbers of the tables."""

from __future__ import annotations

import base64
import io
import itertools
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_runs import grid, histories_of, run
from PIL import Image
from web import Web

from rnn_study.config import Study
from rnn_study.flags.again import NONE, command, options
from rnn_study.flags.study import Preset, parse
from rnn_study.reporting import files, page
from rnn_study.reporting.page import Page
from rnn_study.reporting.tables import Shown
from rnn_study.search import Search

ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0", "git_commit": "0123abc", "host": "secret"}


def page_of(runs: pd.DataFrame, folder: Path, study, question="Who?", more=None) -> Path:
    paths = files.write(runs, histories_of(runs) if len(runs) else {}, folder)
    made = Page(study, question, "python mine.py --seeds 7", runs, more or {}, paths, ENVIRONMENT)
    return made.write(folder)


@pytest.fixture(scope="module")
def shown(script, tmp_path_factory) -> tuple[Web, Path]:
    path = page_of(grid(), tmp_path_factory.mktemp("page"), script.PAPER)
    return Web(path.read_text()), path.parent


def test_every_table_is_there_with_its_numbers(shown):
    web, _ = shown
    for name, table in files.shown(grid()).items():
        rows = [[str(v).replace("$>$", ">") for v in row] for row in table.text.to_numpy(object)]
        assert any(found[-len(rows) :] == rows for found in web.tables), name
        assert table.note in web.text
    row = web.table("cell", "IQM", "q1")[0]
    seeds = pd.read_csv(shown[1] / "seed_sensitivity.csv").iloc[0]
    assert (row["cell"], row["length"]) == (seeds["cell"], str(seeds["length"]))
    assert float(row["IQM"]) == pytest.approx(seeds["iqm"], abs=5e-4)
    assert row["solved"] == f"{seeds['solved']}/{seeds['seeds']}"


def test_every_figure_is_inside_and_nothing_is_fetched(shown):
    web, folder = shown
    files = {path.stem: path for path in folder.glob("*.png")}
    assert set(web.pictures) == set(files) == {"accuracy_by_length", "training_histories"}
    assert web.fetched == list(web.pictures.values())
    assert "By sequence length: every seed a dot, a cell's medians as bars." in web.text
    assert not {"script", "link", "iframe", "object", "embed"} & set(web.tags)
    for name, source in web.pictures.items():
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        inside = Image.open(io.BytesIO(base64.b64decode(data))).convert("L")
        with Image.open(files[name]) as drawn:
            given = drawn.convert("L").resize(inside.size)
        assert inside.width == min(Image.open(files[name]).width, page.PIXELS)
        difference = np.abs(np.asarray(inside, float) - np.asarray(given, float))
        assert difference.mean() < 3


def test_the_setting_has_every_field_and_version_but_not_the_host(shown, script):
    web, _ = shown
    for name, value in script.PAPER.declaration().items():
        assert name.replace("_", " ") in web.text
        assert str(value if isinstance(value, (int, str)) else "") in web.text
    assert {"": "torch", "version": "2.13.0"} in web.table("version")
    assert "0123abc" in web.text and "secret" not in web.text
    assert web.preformatted == "python mine.py --seeds 7"


def test_tables_of_searches_and_attractors_follow(script, tmp_path):
    table = pd.DataFrame({"rate": ["0.01", "n/a"], "tried": ["4/4", "0/4"]})
    shown = {"learning_rates": Shown(table, table, "What a search found.")}
    web = Web(page_of(grid(), tmp_path, script.PAPER, more=shown).read_text())
    assert web.table("rate", "tried") == table.to_dict("records")
    assert "Learning rates found" in web.text and "What a search found." in web.text


def test_what_failed_and_what_diverged_is_listed(shown):
    web, _ = shown
    assert "63 trials: 60 finished" in web.text
    assert "1 failed, 2 not finished." in web.text
    assert "lstm, length 50, rate 0.01, seed 1: diverged in epoch 3" in web.text
    assert "lstm, length 100, rate 0.01, seed 2: a reason" in web.text
    assert "orthogonal, length 100, rate 0.001, seed 2: not finished" in web.text


def test_seeds_of_one_reason_share_a_line():
    runs = pd.DataFrame([run(seed=s, status="FAILED") for s in range(3)])
    assert page.absent(runs) == ["lstm, length 50, rate 0.01, seeds 0-2: a reason"]


def test_equal_runs_give_equal_pages_whatever_their_order_and_times(shown, script, tmp_path):
    runs = grid().sample(frac=1, random_state=1)
    runs["train_seconds"] = np.arange(len(runs)) / 3
    runs["run_id"] = [f"another-{i}" for i in range(len(runs))]
    again = page_of(runs, tmp_path, script.PAPER)
    assert again.read_bytes() == (shown[1] / page.NAME).read_bytes()


def test_text_is_never_markup(script, tmp_path):
    runs = pd.DataFrame([run(), run(seed=1, status="FAILED")])
    runs["failure"] = [None, "<script>alert('a & b')</script>"]
    web = Web(page_of(runs, tmp_path, script.PAPER, "Is 1 < 2 <b>?").read_text())
    assert not {"script", "b"} & set(web.tags)
    assert "<script>alert('a & b')</script>" in web.text
    assert "Is 1 < 2 <b>?" in web.text


def test_a_study_without_any_run_has_a_page(script, tmp_path):
    web = Web(page_of(grid().iloc[:0], tmp_path, script.PAPER).read_text())
    assert "0 trials: 0 finished" in web.text


class TestCommand:
    @pytest.mark.parametrize("preset", ["smoke", "laptop", "paper"])
    def test_a_preset_is_its_name(self, home, script, preset):
        study = script.PRESETS[preset].study
        words = command(script.PRESETS, study)
        assert words == f"python symbol_length.py --preset {preset}"

    @pytest.mark.parametrize(
        "line",
        [
            "--preset smoke --seeds 3 --dynamics-every 5",
            "--name mine --cells lstm orthogonal --learning-rate lstm=0.01 orthogonal=0.001",
            "--tie-seeds --seeds 3:9 --decay-epochs --lengths 50 70",
            "--learning-rate 1e-4:1e-2 --search-trials 7 --search-seeds 3 --search-stop never",
            "--cells lstm orthogonal --learning-rate lstm=1e-3:1e-1 orthogonal=0.001",
            "--learning-rate 0.00123456789 --clip 0.3333333333333333 --least-rate 1e-300",
            "--learning-rate 0.00012345678:123456789.5 --search-seed 1234567890123",
            "--decay-epochs lstm= orthogonal=7 --seeds 2 1 0 --data-seed 10000000",
        ],
    )
    def test_what_it_says_asks_for_the_study(self, ask, home, script, line):
        study = ask(line).study
        words = command(script.PRESETS, study)
        assert ask(words.removeprefix("python symbol_length.py ")).study == study

    def test_of_a_text_it_says_the_folder_or_takes_a_preset_without(self, home):
        own = Study(
            name="own", task="language", cells=("lstm",), lengths=(20,), seeds=(0,), hidden=32,
            epochs=4, batch=20, train_size=0, val_size=0, learning_rate=3e-3, decay_epochs=(),
        )  # fmt: skip
        large, folder = replace(own, name="large", hidden=800, epochs=1000), Path("a text")
        presets = {
            "laptop": Preset(study=own, description=""),
            "paper": Preset(study=large, data=folder, description=""),
        }
        words = ("-", "-1", "&", "a b", "'", "é")
        for study, data in itertools.product((own, large), (None, folder)):
            asked = replace(study, words=words)
            found = parse(presets, "", shlex.split(command(presets, asked, data))[2:])
            assert (found.study, found.data) == (asked, data)
        assert "None" not in command(presets, large)
        for words in (("--", "is"), ("--help",)):
            assert command(presets, replace(own, words=words)) == NONE

    def test_searches_of_different_options_are_a_presets_alone(self, home, script):
        searches = {"lstm": Search(1e-4, 1e-1, trials=3), "orthogonal": Search(1e-3, 1e-1)}
        study = replace(script.SMOKE, cells=("lstm", "orthogonal"), learning_rate=searches)
        assert command(script.PRESETS, study) == NONE
        assert options(study)["search_trials"] == {"lstm": 3, "orthogonal": 16}
        assert options(study)["search_round"] == 4
        presets = script.PRESETS | {"smoke": Preset(study=study, description="")}
        line = command(presets, replace(study, epochs=9))
        assert line == "python symbol_length.py --preset smoke --epochs 9"
        for flags, trials in (([], (3, 16)), (["--search-trials", "5"], (5, 5))):
            asked = parse(presets, "", ["--preset", "smoke", *flags]).study.searches()
            assert tuple(search.trials for search in asked.values()) == trials

    def test_of_two_presets_it_takes_the_nearer(self, home, script):
        study = replace(script.SMOKE, seeds=range(5), epochs=9)
        words = command(script.PRESETS, study)
        assert words == "python symbol_length.py --preset smoke --epochs 9 --seeds 5"
