"""`Pack`: which trials train together, and that none is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small import CHANGED, PINNED, trials

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Study, packs
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize("count", range(1, 24))
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 100])
def test_packs_are_as_few_as_can_be_and_evenly_filled(count, size):
    members = trials(count)
    made = packs(members, size)
    filled = [len(pack.trials) for pack in made]
    assert len(made) == -(-count // size)
    assert max(filled) <= size and max(filled) - min(filled) <= 1
    assert {trial for pack in made for trial in pack.trials} == set(members)


@pytest.mark.parametrize("size", [0, -1])
def test_no_trial_is_lost_in_packs_of_an_impossible_size(size):
    with pytest.raises(InvalidInput, match=f"pack_size: {size} is not allowed"):
        packs(trials(3), size)


def test_packs_hold_one_shape_each_and_the_costliest_comes_first():
    study = Study(
        name="packed",
        task="symbol",
        cells=tuple(CELLS),
        lengths=(50, 300, 100),
        seeds=range(5),
        learning_rate={cell: 0.1 * (i + 1) for i, cell in enumerate(CELLS)},
    )
    members = study.trials()
    made = packs(members, 3)
    assert len(made) == len(CELLS) * 3 * 2
    assert all(len({(t.cell, t.length) for t in pack.trials}) == 1 for pack in made)
    assert sorted(t.id for p in made for t in p.trials) == sorted(t.id for t in members)
    costs = [pack.cost for pack in made]
    assert costs == sorted(costs, reverse=True)
    assert made[0].trials[0].length == 300 and made[-1].trials[0].length == 50
    assert costs[0] == sum(trial.cost for trial in made[0].trials)


def test_rates_and_seeds_may_differ_within_a_pack_and_nothing_else(monkeypatch):
    monkeypatch.setitem(TASKS, "other", TASKS["symbol"])
    free = ("seed", "data_seed", "learning_rate")
    for name, value in CHANGED.items():
        pair = (PINNED, replace(PINNED, **{name: value}))
        if name in free:
            assert packs(pair, 2) == [Pack(pair)]
        else:
            assert len(packs(pair, 2)) == 2
            with pytest.raises(InvalidInput, match=r"pack: .*one shape"):
                Pack(pair)


def test_a_pack_is_not_empty_and_has_each_trial_once():
    with pytest.raises(InvalidInput, match=r"pack: .*at least one"):
        Pack(())
    with pytest.raises(InvalidInput, match=r"pack: .*each trial once"):
        Pack((PINNED, replace(PINNED)))


def test_a_pack_survives_its_json():
    pack = Pack(tuple(trials(3)))
    assert Pack.from_json(pack.to_json()) == pack
    assert [t.id for t in Pack.from_json(pack.to_json()).trials] == [t.id for t in pack.trials]
