"""Damaged checkpoints and crashes while one is written: they cost epochs, never a result."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from saved import folder_of, same, state_of, train_for, with_two
from small import TRIAL, results

from rnn_study.training import Checkpoints, files


@pytest.fixture
def store(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


@pytest.fixture
def two(tmp_path):
    return with_two(tmp_path / "checkpoints")


def overwrite(path, change):
    data = path.read_bytes()
    path.write_bytes(change(data))


def flip(data, at, bit=0):
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


DAMAGE = {
    "truncated": lambda new, old: overwrite(new, lambda data: data[: len(data) // 2]),
    "empty": lambda new, old: new.write_bytes(b""),
    "one bit flipped": lambda new, old: overwrite(new, lambda data: flip(data, len(data) // 2)),
    "the one before": lambda new, old: shutil.copy(old, new),
    "something else": lambda new, old: new.write_bytes(b"[1, 2]"),
    "no text": lambda new, old: new.write_bytes(b"\xff\xfe\x00"),
    "a folder": lambda new, old: (new.unlink(), new.mkdir()),
}


@pytest.mark.parametrize("kind", ["safetensors", "json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_one_before_is_used_where_the_newest_is_damaged(two, caplog, damage, kind):
    old, new = (folder_of(two) / f"epoch-{e:08d}.{kind}" for e in (8, 9))
    DAMAGE[damage](new, old)
    with caplog.at_level(logging.WARNING):
        assert same(two.load(TRIAL), state_of(8, value=8))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "epoch-00000009" in caplog.text


def test_the_one_before_is_used_where_the_tensors_of_the_newest_are_gone(two, caplog):
    (folder_of(two) / "epoch-00000009.safetensors").unlink()
    assert same(two.load(TRIAL), state_of(8, value=8))
    assert "epoch-00000009" in caplog.text


def test_a_checkpoint_of_another_trial_is_not_taken_for_this_one(two, caplog):
    other = replace(TRIAL, seed=1)
    two.save(other, state_of(9, value=-1.0))
    for path in folder_of(two, other).iterdir():
        shutil.copy(path, folder_of(two))
    assert same(two.load(TRIAL), state_of(8, value=8))
    assert "epoch-00000009" in caplog.text


@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_no_flipped_bit_changes_what_is_read(two, kind):
    """It is noticed, or it is of no consequence, as in the space between two words."""
    path = folder_of(two) / f"epoch-00000009.{kind}"
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(len(sound)):
        for bit in {0, int(rng.integers(8))}:
            path.write_bytes(flip(sound, at, bit))
            found = two.load(TRIAL)
            assert same(found, state_of(found.epoch, value=found.epoch)), (at, bit)
            assert found.epoch in (8, 9)


def test_training_starts_afresh_where_all_are_damaged(store, caplog):
    undisturbed = results([TRIAL])[TRIAL].bits
    train_for(2, [TRIAL], store)
    for path in folder_of(store).glob("*.safetensors"):
        overwrite(path, lambda data: flip(data, len(data) - 1))
    assert store.load(TRIAL) is None
    assert "epoch-00000001" in caplog.text and "epoch-00000002" in caplog.text
    assert results([TRIAL], store)[TRIAL].bits == undisturbed


@pytest.mark.parametrize("damage", ["damaged", "gone"])
@pytest.mark.parametrize("sound", [True, False])
def test_what_is_saved_after_damage_is_kept_and_read(two, sound, damage):
    """Be it that one of two is sound, and training goes on there, or none, and it starts afresh."""
    for epoch in (9,) if sound else (8, 9):
        tensors = folder_of(two) / f"epoch-{epoch:08d}.safetensors"
        tensors.write_bytes(b"") if damage == "damaged" else tensors.unlink()
    for epoch in (10, 11, 12, 13) if sound else (1, 2, 3):
        two.save(TRIAL, state_of(epoch))
        assert same(two.load(TRIAL), state_of(epoch))
    assert len(list(folder_of(two).glob("*.json"))) <= 2


@pytest.mark.parametrize("during", ["json", "safetensors"])
def test_a_crash_while_writing_leaves_the_one_before(two, monkeypatch, caplog, during):
    write = files.write_atomically

    def crash(path, data):
        if path.suffix == f".{during}":
            path.with_name(f".{path.name}.4711").write_bytes(data[: len(data) // 2])
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(files, "write_atomically", crash)
    with pytest.raises(KeyboardInterrupt):
        two.save(TRIAL, state_of(10))
    assert same(two.load(TRIAL), state_of(9, value=9))
    assert not caplog.records  # for nothing is damaged
    monkeypatch.undo()
    two.save(TRIAL, state_of(10))
    assert same(two.load(TRIAL), state_of(10))


def test_a_crash_before_the_rename_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    files.write_atomically(path, b"before")

    def crash(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Path, "replace", crash)
        files.write_atomically(path, b"after")
    assert path.read_bytes() == b"before" and [*tmp_path.iterdir()] == [path]
    files.write_atomically(path, b"after")
    assert path.read_bytes() == b"after"


def test_a_checkpoint_without_its_json_was_never_finished(two):
    (folder_of(two) / "epoch-00000009.json").unlink()
    assert same(two.load(TRIAL), state_of(8, value=8))
    two.save(TRIAL, state_of(10))
    two.save(TRIAL, state_of(11))
    left = sorted(path.name for path in folder_of(two).iterdir())
    assert left == [f"epoch-{e:08d}.{kind}" for e in (10, 11) for kind in ("json", "safetensors")]
