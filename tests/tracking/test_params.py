"""The settings of a trial, as params of a run and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small import CHANGED, PINNED

from rnn_study.tracking import reader, runs


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_is_read_back_as_it_was(name: str) -> None:
    for trial in (PINNED, replace(PINNED, **{name: CHANGED[name]}) if name != "task" else PINNED):
        value = getattr(trial, name)
        found = reader._value(name, {name: runs._text(value)})
        assert found == value and type(found) is type(value)
