"""`Study` and `Trial`: what they expand to, their ids, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, fields, replace

import numpy as np
import pytest
from small import CHANGED, PINNED

from rnn_study import config
from rnn_study import trials as trials_module
from rnn_study.config import Pack, Study, Trial
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.tasks import TASKS

pytestmark = pytest.mark.usefixtures("unchecked")

OF_TEXTS = {
    "test_size": 17,
    "patience": 3,
    "least_rate": 1e-7,
    "dropout": 0.5,
    "vocabulary": 500,
    "words": ("is",),
    "corpus": "0123456789abcdef",
}
OF_CELL = {"orthogonal_rate": 0.1}
"""Of the orthogonal cell alone."""
STUDY = Study(
    name="a-study",
    task="symbol",
    cells=("lstm", "orthogonal"),
    lengths=(100, 50),
    seeds=(5, 1, 3),
    learning_rate=0.01,
)


def test_the_id_of_a_trial_never_changes_by_accident():
    """A change means that no finished trial is found again. Raise `NUMERICS` if results change."""
    assert PINNED.id == "dce9053c7c1550f1"


def test_the_id_is_the_same_in_another_process():
    code = f"from rnn_study.config import Trial; print(Trial(**{asdict(PINNED)!r}).id)"
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == PINNED.id


def test_the_id_depends_on_every_field_and_on_the_numerics(monkeypatch):
    monkeypatch.setitem(TASKS, "other", TASKS["language"])
    assert {*CHANGED, *OF_TEXTS, *OF_CELL} == {field.name for field in fields(Trial)}
    ids = {PINNED.id, *(replace(PINNED, **{name: value}).id for name, value in CHANGED.items())}
    reading = replace(PINNED, task="other")
    ids |= {replace(reading, **{name: value}).id for name, value in OF_TEXTS.items()}
    orthogonal = replace(PINNED, cell="orthogonal")
    ids |= {replace(orthogonal, **{name: value}).id for name, value in OF_CELL.items()}
    assert len(ids) == len(CHANGED) + len(OF_TEXTS) + len(OF_CELL) + 1
    monkeypatch.setattr(trials_module, "NUMERICS", trials_module.NUMERICS + 1)
    assert replace(PINNED).id not in ids


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"learning_rate": 1.0}, {"learning_rate": 1}),
        ({"learning_rate": 0.5}, {"learning_rate": np.float64(0.5)}),
        ({"clip": 1.0, "decay": 1.0}, {"clip": 1, "decay": 1}),
        ({"decay_epochs": (1, 2)}, {"decay_epochs": [1, 2]}),
        ({"seed": 3, "length": 64}, {"seed": np.int64(3), "length": np.int32(64)}),
        ({"tf32": True}, {"tf32": np.True_}),
        ({"data_seed": 3, "hidden": 64}, {"data_seed": np.uint8(3), "hidden": np.int64(64)}),
    ],
)
def test_equal_numbers_of_another_type_give_the_same_trial_and_id(one, same):
    ours, theirs = replace(PINNED, **one), replace(PINNED, **same)
    assert ours == theirs and hash(ours) == hash(theirs)
    assert ours.id == theirs.id
    assert Pack((ours,)).to_json() == Pack((theirs,)).to_json()


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_dropout_leaves_out_something_and_not_all(share):
    allowed = "use 0, or from 1/256 to 255/256"
    with pytest.raises(InvalidInput, match=f"dropout: {share} is not allowed; {allowed}"):
        replace(PINNED, task="language", dropout=share)
    for fine in (0, 1 / 256, 255 / 256):
        assert replace(PINNED, task="language", dropout=fine).dropout == fine


def test_a_study_expands_by_cell_then_length_then_seed():
    grid = [(t.cell, t.length, t.seed) for t in STUDY.trials()]
    expected = [(c, n, s) for c in ("lstm", "orthogonal") for n in (100, 50) for s in (5, 1, 3)]
    assert grid == expected
    assert {t.data_seed for t in STUDY.trials()} == {0}
    assert len({t.id for t in STUDY.trials()}) == 12


def test_a_study_hands_its_settings_to_every_trial():
    mine = {k: v for k, v in CHANGED.items() if k in {f.name for f in fields(config.Training)}}
    for trial in replace(STUDY, **mine, data_seed=7).trials():
        assert trial.training() == {**STUDY.training(), **mine}
        assert trial.data_seed == 7 and trial.task == "symbol"


def test_the_rate_of_an_orthogonal_matrix_reaches_the_cells_that_have_one():
    """And no others: their trials are the same as without."""
    slowed = replace(STUDY, orthogonal_rate=0.1)
    for one, other in zip(slowed.trials(), STUDY.trials(), strict=True):
        if one.cell == "orthogonal":
            assert one == replace(other, orthogonal_rate=0.1) and one.id != other.id
        else:
            assert one == other
    with pytest.raises(
        InvalidInput, match=r"orthogonal_rate: 0.1 .* lstm has no orthogonal matrix"
    ):
        replace(PINNED, orthogonal_rate=0.1)
    with pytest.raises(InvalidInput, match=r"orthogonal_rate: 0.0 is not allowed"):
        replace(STUDY, orthogonal_rate=0.0)


def test_tied_seeds_draw_the_data_too():
    assert all(t.data_seed == t.seed for t in replace(STUDY, tie_seeds=True).trials())


def test_a_crossed_study_trains_every_seed_on_every_data_seed():
    crossed = replace(STUDY, data_seed=7, data_seeds=3)
    pairs = [(t.seed, t.data_seed) for t in crossed.trials() if (t.cell, t.length) == ("lstm", 50)]
    assert pairs == [(s, d) for s in (5, 1, 3) for d in (7, 8, 9)]
    assert len({t.id for t in crossed.trials()}) == 36
    plain = {t.id for t in replace(STUDY, data_seed=8).trials()}
    assert plain < {t.id for t in crossed.trials()}, "what was trained on one counts for the other"
    with pytest.raises(InvalidInput, match="data_seeds: 2 is not allowed; use 1 with tie_seeds"):
        replace(STUDY, tie_seeds=True, data_seeds=2)


def test_the_id_of_a_study_never_changes_by_accident():
    """It finds the parent run again. `data_seeds` came later, and one is what was before."""
    assert STUDY.id == "6109e5b5fbdd1c51"
    crossed = replace(STUDY, data_seeds=2)
    assert crossed.declaration()["data_seeds"] == 2 and crossed.id != STUDY.id


def test_a_learning_rate_for_each_cell():
    rates = {"lstm": 0.01, "orthogonal": 1}
    found = {t.cell: t.learning_rate for t in replace(STUDY, learning_rate=rates).trials()}
    assert found == rates
    with pytest.raises(InvalidInput, match=r"learning_rate: \{'lstm': 0.01\}.*orthogonal"):
        replace(STUDY, learning_rate={"lstm": 0.01})


def test_decay_epochs_for_some_cells_alone():
    decay = {"lstm": [20, 40]}
    study = replace(STUDY, decay_epochs=decay)
    assert {t.cell: t.decay_epochs for t in study.trials()} == {"lstm": (20, 40), "orthogonal": ()}
    plain = replace(STUDY, decay_epochs=(20, 40))
    same = [a.id == b.id for a, b in zip(study.trials(), plain.trials(), strict=True)]
    assert same == [t.cell == "lstm" for t in study.trials()]
    assert study.declaration()["decay_epochs"] == decay
    assert study.id != plain.id
    for wrong in ({"gru": (3,)}, {"lstm": (0,)}):
        with pytest.raises(InvalidInput, match="decay_epochs: "):
            replace(STUDY, decay_epochs=wrong)
    with pytest.raises(InvalidInput, match=r"decay_epochs: .*of this cell"):
        replace(PINNED, decay_epochs=decay)


def test_equal_studies_have_equal_ids_and_others_do_not():
    assert replace(STUDY, seeds=[5, 1, 3]).id == STUDY.id
    assert replace(STUDY, learning_rate=1).id == replace(STUDY, learning_rate=1.0).id
    assert replace(STUDY, seeds=range(3)).id == replace(STUDY, seeds=np.arange(3)).id
    assert len({STUDY.id, replace(STUDY, name="b").id, replace(STUDY, epochs=9).id}) == 3


def test_values_are_frozen():
    for value, name in ((PINNED, "length"), (STUDY, "seeds"), (Pack((PINNED,)), "trials")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, 1)


NO_COUNT = (0, -1, 2.5, 3.0, True, np.True_, float("nan"), float("inf"), "3", None)
NO_SEED = (-1, 0.5, False, float("nan"), "0", None)
NO_RATE = (0, -1e-3, 0.0, float("nan"), float("inf"), -float("inf"), True, "0.01", None)
REFUSED = [
    *(("cell", value, "lstm, orthogonal, stable_lstm") for value in ("gru", "", None, "LSTM")),
    *(("task", value, "sine, symbol") for value in ("cosine", "", None)),
    ("length", 49, "at least 50"),
    *(("length", value, "whole number of at least 1") for value in NO_COUNT),
    *(("learning_rate", value, "finite number above 0") for value in NO_RATE),
    *(("seed", value, "whole number of at least 0") for value in NO_SEED),
    *(("data_seed", value, "whole number of at least 0") for value in NO_SEED),
    *(
        (name, value, "whole number of at least 1")
        for name in ("hidden", "epochs", "batch", "train_size", "val_size")
        for value in NO_COUNT
    ),
    *(("clip", value, "finite number above 0") for value in NO_RATE),
    *(("decay", value, "finite number above 0") for value in NO_RATE),
    ("batch_loss", "max", "mean, sum"),
    ("tf32", 1, "True or False"),
    ("batch", 999, "divisor of train_size = 1000"),
    ("corpus", "typo", "only a task that reads a text"),
    ("test_size", 5, "only a task that reads a text"),
    ("dropout", 0.5, "only a task that reads a text"),
    ("vocabulary", 5, "only a task that reads a text"),
    ("words", ("is",), "only a task that reads a text"),
    ("corpus", 5, "the id of a text"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_trial_refuses_what_cannot_be_used_and_says_what_can(name, value, allowed):
    with pytest.raises(InvalidInput) as refused:
        replace(PINNED, **{name: value})
    message = str(refused.value)
    assert message.startswith(f"{name}: {value!r} ") and allowed in message
    assert "\n" not in message and refused.value.field == name


@pytest.mark.parametrize("epoch", NO_COUNT)
def test_a_decay_epoch_is_a_count(epoch):
    with pytest.raises(InvalidInput, match=r"decay_epochs: .*whole number of at least 1"):
        replace(PINNED, decay_epochs=(500, epoch))


@pytest.mark.parametrize(
    ("name", "value", "shown", "allowed"),
    [
        ("cells", ("lstm", "gru"), "'gru'", "choose from lstm, orthogonal, stable_lstm"),
        ("cells", (), "()", "at least one"),
        ("cells", ("lstm", "lstm"), "('lstm', 'lstm')", "each value once"),
        ("cells", "lstm", "'lstm'", ""),
        ("lengths", (100, 49), "49", "at least 50 time steps"),
        ("lengths", (), "()", "at least one"),
        ("lengths", (100, 100), "(100, 100)", "each value once"),
        ("lengths", 100, "100", ""),
        ("seeds", (), "()", "at least one"),
        ("seeds", range(0), "()", "at least one"),
        ("seeds", (1, -1), "-1", "whole number of at least 0"),
        ("seeds", (0, True), "True", "whole number of at least 0"),
        ("seeds", (0, 1.5), "1.5", "whole number of at least 0"),
        ("seeds", 3, "3", ""),
        ("learning_rate", -1.0, "-1.0", "finite number above 0"),
        ("learning_rate", float("nan"), "nan", "finite number above 0"),
        ("learning_rate", {"lstm": 1.0, "orthogonal": -1}, "-1", "finite number above 0"),
        ("task", "cosine", "'cosine'", "choose from language, sine, symbol"),
        ("data_seed", -1, "-1", "whole number of at least 0"),
        ("data_seeds", 0, "0", "whole number of at least 1"),
        ("data_seeds", 2.5, "2.5", "whole number of at least 1"),
        ("data_seeds", (0, 1), "(0, 1)", "whole number of at least 1"),
        ("name", "", "''", "letters"),
        ("name", "../up", "'../up'", "letters"),
        ("name", "a" * 101, "aaa'", "at most 100"),
        ("name", None, "None", "letters"),
        ("batch", 300, "300", "divisor of train_size"),
        ("decay_epochs", range(1, 1500), "'1499 values'", "at most 6,000 characters"),
        ("words", ("x" * 6000,), "'1 values'", "these have 6,004"),
    ],
)
def test_a_study_refuses_what_cannot_be_used_and_says_what_can(name, value, shown, allowed):
    with pytest.raises(InvalidInput) as refused:
        replace(STUDY, **{name: value})
    message = str(refused.value)
    assert message.startswith((name, name.removesuffix("s")))
    assert f"{shown} is not allowed" in message and allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pack_size", value) for value in NO_COUNT),
        *(("retries", value) for value in NO_SEED),
        *(("cpus_per_pack", value) for value in NO_RATE),
        *(("gpus_per_pack", value) for value in (*NO_RATE, 1.5, 2.0)),
        *(("checkpoint_seconds", value) for value in NO_RATE),
        ("device", "tpu"),
    ],
)
def test_an_execution_refuses_what_cannot_be_used(name, value):
    with pytest.raises(InvalidInput) as refused:
        Execution(**{name: value})
    assert str(refused.value).startswith(f"{name}: {value!r} is not allowed; ")
