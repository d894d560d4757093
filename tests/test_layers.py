"""Who may import what: the training core runs alone on a machine with torch and NumPy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

import rnn_study
from rnn_study.cells import CELLS
from rnn_study.tasks import TASKS

PACKAGE = Path(rnn_study.__file__).parent
CORE = (
    "config",
    "errors",
    "randomness",
    "search",
    "trials",
    "tasks",
    "cells",
    "native",
    "kernels",
    "training",
    "dynamics",
)
ROOMS = (
    "statistics",
    "tracking",
    "aggregate",
    "figures",
    "flags",
    "progress",
    "reporting",
    "scheduling",
    "cli",
)
"""Above the core, from the bottom up."""
OWNERS = {"mlflow": "tracking", "ray": "scheduling", "optuna": "scheduling"}
TREES = {
    path.relative_to(PACKAGE).with_suffix("").parts: ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
CORE_TREES = {parts: tree for parts, tree in TREES.items() if parts[0] in CORE}


def imported(tree):
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "use absolute imports"
            if node.module == "rnn_study":
                yield from (f"rnn_study.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_importing_the_core_leaves_ray_optuna_and_mlflow_out():
    modules = [
        ".".join(("rnn_study", *parts))
        for parts in CORE_TREES
        if parts[-1] != "__init__" and (parts[0] != "kernels" or find_spec("triton"))
    ]
    modules += ["rnn_study", *(f"rnn_study.{parts[0]}" for parts in CORE_TREES)]
    code = f"""
import importlib, sys
for name in {sorted(set(modules))!r}:
    importlib.import_module(name)
    found = [heavy for heavy in {sorted(OWNERS)!r} if heavy in sys.modules]
    assert not found, f"{{name}} imports {{found}}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(modules) > 15


def test_help_and_refusals_wait_for_nothing_that_takes_seconds_to_import():
    code = "import sys, rnn_study.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {*OWNERS, "scipy.stats", "statsmodels", "matplotlib"}
    assert slow.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("library", OWNERS)
def test_one_package_alone_imports(library):
    owners = {
        parts[0]
        for parts, tree in TREES.items()
        if any(name.split(".")[0] == library for name in imported(tree))
    }
    assert owners <= {OWNERS[library]}


def test_the_core_imports_torch_numpy_and_nothing_above_itself():
    light = {"torch", "numpy", "jaxtyping", "safetensors", *sys.stdlib_module_names}
    for parts, tree in CORE_TREES.items():
        for name in imported(tree):
            first, *rest = name.split(".")
            if first == "triton":
                assert parts[0] == "kernels" and len(parts) == 2, (parts, name)
            elif first == "rnn_study":
                assert rest and rest[0] in CORE, (parts, name)
            else:
                assert first in light, (parts, name)


def test_no_room_imports_one_above_it_but_for_types():
    for parts, tree in TREES.items():
        if parts[0] not in ROOMS:
            continue
        of_types = Counter(
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for name in imported(node)
        )
        used = {
            name.split(".")[1] for name in Counter(imported(tree)) - of_types if "_study." in name
        }
        assert not used & {*ROOMS[ROOMS.index(parts[0]) + 1 :]}, parts


def test_no_pickle_is_read_and_no_global_random_state_is_set():
    banned = {"load", "save", "manual_seed", "seed"}
    for parts, tree in TREES.items():
        assert not {"pickle", "cloudpickle", "dill", "joblib", "random"} & set(imported(tree)), (
            parts
        )
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        safe = [c.func for c in calls if "allow_pickle=False" in map(ast.unparse, c.keywords)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in banned and node not in safe:
                owner = ast.unparse(node.value)
                assert owner not in ("torch", "np", "np.random", "torch.cuda"), (parts, owner)


def test_nothing_branches_on_the_name_of_a_cell_or_a_task():
    for parts, tree in CORE_TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Compare, ast.match_case)):
                words = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                assert not words & {*CELLS, *TASKS}, (parts, ast.unparse(node))
