"""The settings of a trial, as params of a run and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mlflow.entities import Param, Run, RunData, RunInfo, RunTag
from small import CHANGED, PINNED

from rnn_study.tracking import reader, runs, store


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_is_read_back_as_it_was(name: str) -> None:
    for trial in (PINNED, replace(PINNED, **{name: CHANGED[name]}) if name != "task" else PINNED):
        value = getattr(trial, name)
        found = reader._value(name, {name: runs._text(value)})
        assert found == value and type(found) is type(value)


def test_a_run_from_before_a_setting_has_its_default():
    """A setting without one is missing only where the driver died before it wrote them."""
    params = {name: runs._text(getattr(PINNED, name)) for name in CHANGED}

    def row(without: str):
        given = [Param(name, text) for name, text in params.items() if name != without]
        about = RunInfo("r", "0", "somebody", "RUNNING", 0, None, "active")
        return reader._row(Run(about, RunData([], given, [RunTag(store.TRIAL, PINNED.id)])))

    assert row("clip")["clip"] == PINNED.clip
    assert row("seed") is None
