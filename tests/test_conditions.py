"""Which runs belong together in a table, and which settings tell them apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_runs import grid, run, searched

from rnn_study import aggregate
from rnn_study.errors import InvalidInput


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return aggregate.seed_sensitivity(pd.DataFrame(rows))


class TestSettings:
    def test_one_rate_a_cell_is_no_level_of_the_length_table(self) -> None:
        assert aggregate.length_table(grid()).index.names == ["length"]
        rates = aggregate.seed_sensitivity(grid()).index.get_level_values("learning_rate")
        assert set(rates) == {0.01, 0.001}

    def test_one_rate_a_cell_and_length_is_no_level_either(self) -> None:
        lengths = aggregate.length_table(searched())
        assert lengths.index.names == ["length"] and len(lengths) == 3
        assert lengths.notna().all(axis=None)
        summary = aggregate.cell_summary(searched())
        assert summary.index.tolist() == ["lstm", "orthogonal"]
        assert summary["lengths"].tolist() == [3, 3] and summary.notna().all(axis=None)
        rates = aggregate.seed_sensitivity(searched()).index.get_level_values("learning_rate")
        assert rates.nunique() == 6
        again = run(length=50, seed=9, learning_rate=0.02)  # a second one, of one length
        more = aggregate.length_table(pd.concat([searched(), pd.DataFrame([again])]))
        assert more.index.names == ["length", "learning_rate"]

    def test_two_rates_in_a_cell_are_apart(self) -> None:
        rows = [run(learning_rate=rate, accuracy=1 - rate) for rate in (0.5, 0.25)]
        lengths = aggregate.length_table(pd.DataFrame([*rows, run("orthogonal")]))
        assert lengths.index.tolist() == [(50, 0.01), (50, 0.25), (50, 0.5)]
        assert lengths["lstm", "median"].tolist() == pytest.approx([np.nan, 0.75, 0.5], nan_ok=True)
        assert lengths["orthogonal", "solved"].isna().tolist() == [False, True, True]

    def test_two_hidden_sizes_are_apart(self) -> None:
        rows = [run(hidden=h, seed=s, accuracy=h / 100) for h in (50, 7) for s in range(2)]
        lengths = aggregate.length_table(pd.DataFrame(rows))
        assert lengths.index.names == ["length", "hidden"]
        assert lengths["lstm", "median"].to_dict() == {(50, 7): 0.07, (50, 50): 0.5}
        sensitivity = table(*rows)
        assert sensitivity.index.names == ["cell", "length", "learning_rate", "hidden"]
        assert sensitivity["seeds"].tolist() == [2, 2]
        assert sensitivity["max"].tolist() == [0.07, 0.5]

    def test_a_setting_that_is_a_tuple_is_one_setting(self) -> None:
        found = table(run(decay_epochs=(5, 9)), run(decay_epochs=(5,)))
        assert found.index.get_level_values("decay_epochs").tolist() == [(5,), (5, 9)]
        lists = pd.DataFrame([run(decay_epochs=(5, 9)), run(decay_epochs=(5,))])
        lists["decay_epochs"] = lists["decay_epochs"].map(list)
        pd.testing.assert_frame_equal(aggregate.seed_sensitivity(lists), found)
        lists["decay_epochs"] = [(5, 9), None]  # of runs that were recorded without it
        unset = aggregate.seed_sensitivity(lists).index.get_level_values("decay_epochs")
        assert pd.isna(unset[0]) and unset[1] == (5, 9)

    def test_decay_epochs_that_differ_between_cells_alone_are_no_level(self) -> None:
        rows = [run("lstm", decay_epochs=()), run("stable_lstm", decay_epochs=(5, 9))]
        assert table(*rows).index.names == ["cell", "length", "learning_rate"]
        assert aggregate.length_table(pd.DataFrame(rows)).index.tolist() == [50]
        more = aggregate.length_table(pd.DataFrame([*rows, run("lstm", decay_epochs=(5,))]))
        assert more.index.tolist() == [(50, ()), (50, (5,)), (50, (5, 9))]

    def test_nor_are_rates_of_an_orthogonal_matrix(self) -> None:
        rows = [run("lstm"), run("orthogonal", orthogonal_rate=1e-4)]
        assert aggregate.length_table(pd.DataFrame(rows)).index.tolist() == [50]
        more = aggregate.length_table(pd.DataFrame([*rows, run("orthogonal")]))
        assert more.index.tolist() == [(50, 1e-4), (50, 1.0)]

    def test_data_seeds_are_a_setting_unless_they_are_the_same_or_tied(self) -> None:
        names = ["cell", "length", "learning_rate"]
        assert table(*(run(seed=s, data_seed=3) for s in range(4))).index.names == names
        assert table(*(run(seed=s, data_seed=s) for s in range(4))).index.names == names
        mixed = table(*(run(seed=s, data_seed=d) for s in range(4) for d in range(2)))
        assert mixed.index.names == [*names, "data_seed"]
        assert mixed["seeds"].tolist() == [4, 4]


class TestOne:
    RUNS = pd.DataFrame(
        [
            run("lstm", 50, 0), run("lstm", 75, 0), run("lstm", 50, 1), run("orthogonal", 50, 0),
            run("orthogonal", 50, 0, epochs=9), run("lstm", 50, 2, status="FAILED"),
        ]
    )  # fmt: skip

    @pytest.mark.parametrize("named", [{"length": 75}, {"seed": 1}, {"trial_id": RUNS.trial_id[4]}])
    def test_the_one_run_that_is_meant(self, named: dict[str, object]) -> None:
        found = aggregate.one(self.RUNS, **named)
        assert {name: found[name] for name in named} == named

    @pytest.mark.parametrize(
        ("named", "error"),
        [
            (
                {"cell": "gru"},
                "cell: 'gru' is not allowed; the finished runs have lstm, orthogonal",
            ),
            ({"cell": "lstm", "seed": 2}, "seed: 2 .*; the finished runs of cell lstm have 0, 1$"),
            ({"cell": "lstm", "seed": 0}, "runs: 2 .* choose by length 50, 75; trial_id "),
            ({"cell": "orthogonal"}, "runs: 2 .* choose by epochs 9, 60; trial_id "),
        ],
    )
    def test_none_or_several_are_refused(self, named: dict[str, object], error: str) -> None:
        with pytest.raises(InvalidInput, match=error):
            aggregate.one(self.RUNS, **named)
        with pytest.raises(InvalidInput, match="no run has finished"):
            aggregate.one(self.RUNS[5:])
