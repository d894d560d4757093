"""The notebooks: short, stripped, and run from top to bottom on runs that were really made."""

from __future__ import annotations

import base64
import io
import re

import nbformat
import pytest
from commands import ROOT, Storage
from nbclient import NotebookClient
from PIL import Image
from servers import Server

from rnn_study import aggregate

PATHS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
STUDY = "symbol-length-smoke"
SMALL = (
    "--cells lstm orthogonal --hidden 11 --epochs 4 --batch 20 --train-size 40 --val-size 40 "
    "--dynamics-every 2 --learning-rate lstm=1e-3:1e-1 orthogonal=0.003 "
    "--search-trials 2 --search-seeds 2"
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A small study with an SQLite file."""
    made = Storage(tmp_path_factory.mktemp("notebooks") / "storage")
    done = made.run(*SMALL.split())
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def server(storage, tmp_path_factory):
    """A server that has the same study: recorded there from the checkpoints of its trials."""
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    try:
        made.wait()
        done = storage.run(*SMALL.split(), "--tracking-uri", made.uri)
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.kill()


def executed(name, uri, monkeypatch, home):
    """A notebook, run with these parameters in a kernel of its own."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    notebook = nbformat.read(PATHS[name], as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    cell.source += f"\nTRACKING_URI, STUDY = {uri!r}, {STUDY!r}"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(home))
    return notebook


def pictures(notebook) -> list[Image.Image]:
    found = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    return [Image.open(io.BytesIO(base64.b64decode(png))) for png in found]


def tables(notebook) -> list[str]:
    return [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "<table" in output.get("data", {}).get("text/html", "")
    ]


def check(name, uri, monkeypatch, home) -> None:
    """Every cell with a value has shown it, and the tables have the runs' numbers."""
    notebook = executed(name, uri, monkeypatch, home)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert output["output_type"] != "stream", output["text"]
    runs = aggregate.runs(STUDY, uri)
    assert len(runs) == 4
    shown = "".join(tables(notebook))
    if name == "learning_rates":
        assert "search" in shown and "confirmation" in shown and "grid" in shown
    if name == "bifurcations":
        assert len(tables(notebook)) == 4 and len(pictures(notebook)) == 2
        assert "dynamics/p/kind" in shown and "dynamics/q/kind" not in shown
    else:
        expected = {"symbol_length": (4, 2), "learning_rates": (3, 1)}[name]
        assert (len(tables(notebook)), len(pictures(notebook))) == expected
        for iqm in aggregate.seed_sensitivity(runs)["iqm"]:
            assert re.search(rf"<td>{iqm:.4f}", shown)
    for picture in pictures(notebook):
        assert len(set(picture.convert("L").tobytes())) > 8  # something is drawn


@pytest.mark.slow  # a whole study, a search in it; its tables are tested by themselves
@pytest.mark.parametrize("name", PATHS)
def test_a_notebook_runs_on_a_file(name, storage, monkeypatch, tmp_path):
    check(name, storage.uri, monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_a_notebook_runs_on_a_server(name, server, monkeypatch, tmp_path):
    check(name, server.uri, monkeypatch, tmp_path)


@pytest.mark.parametrize("name", PATHS)
def test_a_notebook_is_short_and_holds_no_outputs(name):
    notebook = nbformat.read(PATHS[name], as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) < 15
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= 8
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    texts = [cell.cell_type for cell in notebook.cells[2:]]
    assert texts == ["code", "markdown"] * (len(texts) // 2)  # a sentence after each


def test_all_three_are_there():
    assert set(PATHS) == {"symbol_length", "learning_rates", "bifurcations"}
