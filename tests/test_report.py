"""Files: whole, equal for equal runs, and readable by what reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_runs import LIMIT, grid, histories_of, run
from matplotlib.figure import Figure

from rnn_study import aggregate, report

TABLES = [
    f"{n}.{kind}" for n in ("length_table", "seed_sensitivity") for kind in ("csv", "md", "tex")
]
FIGURES = [f"{n}.{k}" for n in ("accuracy_by_length", "training_histories") for k in ("png", "pdf")]


def written(runs: pd.DataFrame, folder: Path) -> dict[str, bytes]:
    paths = report.write(runs, histories_of(runs) if len(runs) else {}, folder)
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

    def fail(self: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"half a fig")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="no space"):
        report.write(grid(lengths=(50,), seeds=3), {}, tmp_path)
    assert (tmp_path / "accuracy_by_length.png").read_bytes() == before["accuracy_by_length.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(before)


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
    for name, rows in (("length_table.md", 3), ("seed_sensitivity.md", 9)):
        lines = study[name].decode().splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert len(table) == rows + 2
        assert len({line.count("|") for line in table}) == 1
        assert lines[-1].endswith(".")


def assert_is_latex(text: str) -> None:
    """Balanced, with as many cells in each row as columns are declared, and nothing unescaped."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    (sides,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert lines[0] == rf"\begin{{tabular}}{{{sides}}}"
    assert lines[-1] == r"\end{tabular}"
    for rule in ("toprule", "midrule", "bottomrule"):
        assert lines.count(rf"\{rule}") == 1
    for line in lines:
        assert line.count("{") == line.count("}")
        assert not re.search(r"(?<!\\)[_%#]", line)
        assert not re.search(r"[<>]", line.replace("$>$", ""))
        if line.endswith(r"\\"):
            wide = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert line.count("&") + 1 + wide == len(sides)


def test_latex_is_sound(study: dict[str, bytes], tmp_path: Path) -> None:
    odd = pd.concat([grid(), pd.DataFrame([run(hidden=7, status="RUNNING")])])
    more = written(odd, tmp_path / "odd")
    nothing = written(pd.DataFrame(), tmp_path / "nothing")
    for files in (study, more, nothing):
        for name in ("length_table.tex", "seed_sensitivity.tex"):
            assert_is_latex(files[name].decode())
    assert r"\multicolumn{3}{c}{stable\_lstm}" in study["length_table.tex"].decode()
    assert r"\cmidrule(lr){2-4}" in study["length_table.tex"].decode()
    assert r"\cmidrule(lr){3-5}" in more["length_table.tex"].decode()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles(study: dict[str, bytes], tmp_path: Path) -> None:
    body = study["length_table.tex"].decode() + study["seed_sensitivity.tex"].decode()
    text = (
        rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    )
    (tmp_path / "tables.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_gaps_are_shown(tmp_path: Path) -> None:
    rows = [run(seed=0), run(seed=1, accuracy=np.nan, diverged_at=2)]
    rows += [run("orthogonal", seed=s, status="KILLED") for s in range(2)]
    files = written(pd.DataFrame(rows), tmp_path)
    lstm, orthogonal = files["seed_sensitivity.md"].decode().splitlines()[2:4]
    assert [cell.strip() for cell in lstm.split("|")][4:6] == ["0/2", "[0.00, 0.84]"]
    assert [cell.strip() for cell in lstm.split("|")][-4:-1] == [f"> {LIMIT}", "1", "0"]
    assert orthogonal.count("n/a") == 8
    assert [cell.strip() for cell in orthogonal.split("|")][-2] == "2"
    assert files["length_table.csv"].decode().splitlines()[1] == "50,0.25,0.25,0,2,,,0,0"


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
