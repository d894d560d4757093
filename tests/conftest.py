"""What all tests share: one thread, no GPU test without a GPU, and the symbol study's script."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import matplotlib
import pytest
import torch

from rnn_study.tasks import grammar
from rnn_study.tasks.corpus import tokenise

matplotlib.get_cachedir()  # the user's own, remembered before a test changes HOME
if importlib.util.find_spec("mlflow"):  # not on every machine that only trains
    import rnn_study.tracking  # noqa: F401  (before a test imports MLflow, which then reports its use)
# likewise: the native library is compiled once, not again in every home that a test makes
os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
STUDIES = "tests/studies/"
"""Whole studies as users run them, each with a Ray of its own."""
FIRST = (f"{STUDIES}test_recovery.py", f"{STUDIES}test_study.py")
"""About half of them, by the time they take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = ("studies", "more studies")
    items.sort(key=lambda item: (*order, scope(item.nodeid)).index(scope(item.nodeid)))
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in items:
            if item.get_closest_marker("gpu"):  # not keywords: they hold the folder's name too
                item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist is not on every machine that only trains
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Shares tests out to processes by their scope."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    return ByScope(config, log)


def scope(nodeid: str) -> str:
    """Tests of one scope run in one process: `studies/` in two, the others file by file.

    More than two Rays at once would fight for the cores; a whole file makes its fixtures once.
    """
    if not nodeid.startswith(STUDIES):
        return nodeid.partition("::")[0]
    return "studies" if nodeid.startswith(FIRST) else "more studies"


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads would only fight for the cores that other tests use."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> Path:
    """A folder with the project's own text."""
    folder = tmp_path_factory.mktemp("corpora")
    tokenise(grammar.texts()).save(folder)
    return folder


@pytest.fixture
def unchecked():
    """As users run it: under pytest alone, beartype would refuse wrong types before we do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def script():
    path = Path(__file__).parents[1] / "studies" / "symbol_length.py"
    spec = importlib.util.spec_from_file_location("symbol_length", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(script) -> Callable[..., Any]:
    """What a command line, given as one string, asks for."""
    from rnn_study.flags.study import parse  # not there on a machine that only trains

    return lambda line="": parse(script.PRESETS, script.QUESTION, line.split())


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the home and the working directory, on a plain terminal."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["studies/symbol_length.py"])
    monkeypatch.chdir(tmp_path)
    return tmp_path
