"""What all tests share: one thread, no GPU test without a GPU, and the symbol study's script."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    share_out(items)
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in items:
            if item.get_closest_marker("gpu"):  # not keywords: they hold the folder's name too
                item.add_marker(skip)


def share_out(items: list[pytest.Item]) -> None:
    """Of two processes, one takes the files that start Ray, and these first; the other the rest.

    Two Rays at once would fight for the cores. Any other file stays whole: its fixtures are made
    once.
    """
    items.sort(key=lambda item: not _starts_ray(item))
    for item in items:
        group = "ray" if _starts_ray(item) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def _starts_ray(item: pytest.Item) -> bool:
    return hasattr(getattr(item, "module", None), "Storage")


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads would only fight for the cores that other tests use."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    from rnn_study.arguments import parse  # not there on a machine that only trains

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
