"""Files: whole, equal for equal runs, and readable by what reads them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_runs import LIMIT, grid, histories_of, run
from latex import assert_compiles, assert_is_latex, needs_latex
from matplotlib.figure import Figure

from rnn_study import aggregate
from rnn_study.reporting import files

NAMES = ("length_table", "seed_sensitivity", "cell_summary", "cell_comparison", "seeds_needed")
TABLES = [f"{name}.{kind}" for name in NAMES for kind in ("csv", "md", "tex")]
FIGURES = [f"{n}.{k}" for n in ("accuracy_by_length", "training_histories") for k in ("png", "pdf")]


def written(runs: pd.DataFrame, folder: Path) -> dict[str, bytes]:
    paths = files.write(runs, histories_of(runs) if len(runs) else {}, folder)
    assert sorted(paths) == sorted(folder.iterdir())  # nothing else is left there
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return written(grid(), tmp_path_factory.mktemp("study") / "a" / "b")


def test_all_files_are_there(study: dict[str, bytes]) -> None:
    assert sorted(study) == sorted([*TABLES, *FIGURES, "runs.csv"])
    assert all(study[name].startswith(b"\x89PNG") for name in FIGURES if name.endswith("png"))
    assert all(study[name].startswith(b"%PDF") for name in FIGURES if name.endswith("pdf"))


def test_equal_runs_give_equal_bytes_whatever_their_order_and_times(
    study: dict[str, bytes], tmp_path: Path
) -> None:
    runs = grid().sample(frac=1, random_state=1)
    runs["train_seconds"] = np.arange(len(runs)) / 3
    runs["run_id"] = [f"another-{i}" for i in range(len(runs))]
    again = written(runs, tmp_path)
    for name in (*TABLES, *FIGURES):
        assert again[name] == study[name], name
    assert again["runs.csv"] != study["runs.csv"]


def test_a_write_that_fails_leaves_the_last_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(grid(lengths=(50,), seeds=2), tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    figure = Figure()
    for again in (
        lambda: files.write_text(tmp_path / "runs.csv", "new"),
        lambda: files.write_figure(tmp_path / "accuracy_by_length", figure, ""),
    ):
        with pytest.raises(OSError, match="no space"):
            again()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_csv_holds_the_whole_table(study: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_bytes(study["seed_sensitivity.csv"])
    (tmp_path / "lengths.csv").write_bytes(study["length_table.csv"])
    table = aggregate.seed_sensitivity(grid())
    keys = ["cell", "length", "learning_rate"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "seeds.csv").set_index(keys), table)
    lengths = pd.read_csv(tmp_path / "lengths.csv", index_col="length")
    for (cell, length, _), row in table.iterrows():
        assert lengths.loc[length, f"{cell} solved"] == row["solved"]
        assert lengths.loc[length, f"{cell} seeds"] == row["seeds"]
        assert lengths.loc[length, f"{cell} median"] == pytest.approx(row["median"], abs=5e-5)


def test_markdown_is_a_table_with_a_note(study: dict[str, bytes]) -> None:
    for name, rows in zip(NAMES, (3, 9, 3, 9, 9), strict=True):
        lines = study[f"{name}.md"].decode().splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert len(table) == rows + 2
        assert len({line.count("|") for line in table}) == 1
        assert lines[-1].endswith(".")


def test_latex_is_sound(study: dict[str, bytes], tmp_path: Path) -> None:
    odd = pd.concat([grid(), pd.DataFrame([run(hidden=7, status="RUNNING")])])
    more = written(odd, tmp_path / "odd")
    nothing = written(pd.DataFrame(), tmp_path / "nothing")
    for paths in (study, more, nothing):
        for name in NAMES:
            assert_is_latex(paths[f"{name}.tex"].decode())
    assert r"\multicolumn{3}{c}{stable\_lstm}" in study["length_table.tex"].decode()
    assert r"\cmidrule(lr){2-4}" in study["length_table.tex"].decode()
    assert r"\cmidrule(lr){3-5}" in more["length_table.tex"].decode()


@needs_latex
def test_latex_compiles(study: dict[str, bytes], tmp_path: Path) -> None:
    files = study | written(crossed(), tmp_path / "crossed")
    tables = [text.decode() for name, text in files.items() if name.endswith(".tex")]
    assert len(tables) == len(NAMES) + 1
    assert_compiles(tables, tmp_path)


def crossed() -> pd.DataFrame:
    """Every seed on two data seeds, whose accuracies are a tenth apart."""
    pairs = [(seed, data_seed) for seed in range(6) for data_seed in range(2)]
    rows = [run(seed=s, data_seed=d, accuracy=0.3 + 0.1 * d + 0.01 * s) for s, d in pairs]
    return pd.DataFrame([*rows, run("orthogonal", seed=0)])


def test_variances_are_split_where_seeds_are_crossed(
    study: dict[str, bytes], tmp_path: Path
) -> None:
    assert not any(name.startswith("variance") for name in study)
    files = written(crossed(), tmp_path)
    assert_is_latex(files["variance_split.tex"].decode())
    lstm, orthogonal = files["variance_split.md"].decode().splitlines()[2:4]
    cells = [cell.strip() for cell in lstm.split("|")][4:-1]
    # two values a tenth apart deviate by 0.1 / sqrt 2; 0 to 0.05 in steps of 0.01 by 0.0187
    assert cells[:4] == ["2", "6", "0", "0.071"]
    assert [cells[6], cells[9]] == ["0.019", "0.000"]
    assert [cells[5], cells[8], cells[11]] == ["93%", "7%", "0%"]
    assert orthogonal.count("n/a") == 9


def test_comparisons_read_as_the_table_says(study: dict[str, bytes]) -> None:
    lines = study["cell_comparison.md"].decode().splitlines()
    titles = [title.strip() for title in lines[0].split("|")][1:-1]
    shown = ["length", "cell", "other", "better", "95% interval", "log-rank p", "adjusted p"]
    assert titles == shown
    for line, row in zip(lines[2:], aggregate.cell_comparison(grid()).itertuples(), strict=False):
        cells = [cell.strip() for cell in line.split("|")][4:-1]
        assert cells[0] == f"{row.probability:.2f}"
        assert cells[1] == f"[{row.low:.2f}, {row.high:.2f}]"
        assert cells[2:] == [f"{row.log_rank:.2g}", f"{row.log_rank_holm:.2g}"]


def test_gaps_are_shown(tmp_path: Path) -> None:
    rows = [run(seed=0), run(seed=1, accuracy=np.nan, diverged_at=2)]
    rows += [run("orthogonal", seed=s, status="KILLED") for s in range(2)]
    files = written(pd.DataFrame(rows), tmp_path)
    lstm, orthogonal = files["seed_sensitivity.md"].decode().splitlines()[2:4]
    assert [cell.strip() for cell in lstm.split("|")][4:6] == ["0/2", "[0.00, 0.84]"]
    assert [cell.strip() for cell in lstm.split("|")][-4:-1] == [f"> {LIMIT}", "1", "0"]
    assert orthogonal.count("n/a") == 9
    assert [cell.strip() for cell in orthogonal.split("|")][-2] == "2"
    assert files["length_table.csv"].decode().splitlines()[1] == "50,0.25,0.25,0,2,,,0,0"


def test_epochs_to_solve_have_an_interval_from_six_seeds_on() -> None:
    rows = [run(hidden=n, seed=s, solved_at=5 + s) for n in (5, 6) for s in range(n)]
    text = files.shown(pd.DataFrame(rows))["seed_sensitivity"].text
    assert text["epochs to solve"].tolist() == ["7", "7 [5, 10]"]


def test_settings_that_vary_have_columns(tmp_path: Path) -> None:
    rows = [run(hidden=h, decay_epochs=d) for h in (7, 11) for d in ((5,), (5, 9))]
    files = written(pd.DataFrame(rows), tmp_path)
    titles = files["length_table.md"].decode().splitlines()[0]
    assert [title.strip() for title in titles.split("|")][1:4] == [
        "length",
        "hidden",
        "decay epochs",
    ]
    assert files["length_table.csv"].decode().startswith("length,hidden,decay_epochs,lstm median")
