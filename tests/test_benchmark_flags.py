"""Benchmarks refuse in one line what they cannot do, before anything trains."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from rnn_study.flags import script

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "words", "error"),
    [
        ("dynamics", "--pack 0", "pack: 0 is not allowed; use a whole number of at least 1"),
        ("dynamics", "--json /nowhere/x", "json: '/nowhere/x' is not allowed; it cannot be"),
        ("training", "--packs 0", "packs: 0 is not allowed; use a whole number of at least 1"),
        ("training", "--rivals me", "rivals: 'me' is not allowed; choose from processes, serial"),
        ("training", "--cells gru", "cells: 'gru' is not allowed; choose from lstm, orthogonal"),
        ("inputs", "--seconds 0", "seconds: 0.0 is not allowed; use a finite number above 0"),
        ("rounding", "--seeds 0", "seeds: 0 is not allowed; use a whole number of at least 1"),
        ("search", "--repeats 0", "repeats: 0 is not allowed; use a whole number of at least 1"),
        ("search", "--repeat 9", "argument: '--repeat' is not allowed; did you mean --repeats?"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name, words, error, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module(name)
    assert script.main(module.Settings, module.run, module.__doc__, words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {error}") and printed.count("\n") == 1
