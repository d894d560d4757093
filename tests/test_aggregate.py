"""Tables: values known by hand or from the literature, and every odd set of runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_runs import LIMIT, grid, run

from rnn_study import aggregate, statistics
from rnn_study.errors import InvalidInput

TABLES = (
    aggregate.length_table,
    aggregate.seed_sensitivity,
    aggregate.cell_summary,
    aggregate.cell_comparison,
    aggregate.seeds_needed,
)


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return aggregate.seed_sensitivity(pd.DataFrame(rows))


def only(*rows: dict[str, object]) -> pd.Series:
    """The only row of the seed sensitivity of runs of one condition."""
    found = table(*rows)
    assert len(found) == 1
    return found.iloc[0]


def accuracies(*values: float) -> pd.Series:
    return only(*(run(seed=seed, accuracy=value) for seed, value in enumerate(values)))


def times(events: list[int], censored: list[int]) -> pd.Series:
    """Seeds that solved at `events`, and unsolved ones followed to `censored`."""
    rows = [run(seed=seed, solved_at=epoch) for seed, epoch in enumerate(events)]
    rows += [run(seed=100 + seed) | {"epochs_trained": float(t)} for seed, t in enumerate(censored)]
    return only(*rows)


class TestShareSolved:
    # the usual printed tables of Clopper and Pearson's limits at 95%, n = 10
    @pytest.mark.parametrize(
        ("solved", "low", "high"),
        [(0, 0, 0.3085), (1, 0.0025, 0.4450), (3, 0.0667, 0.6525), (5, 0.1871, 0.8129)],
    )
    def test_interval_is_clopper_and_pearsons(self, solved: int, low: float, high: float) -> None:
        rows = [run(seed=s, solved_at=9 if s < solved else None) for s in range(10)]
        row = only(*rows)
        assert (row["seeds"], row["solved"], row["share"]) == (10, solved, solved / 10)
        assert row["share_low"] == pytest.approx(low, abs=5e-5)
        assert row["share_high"] == pytest.approx(high, abs=5e-5)

    @pytest.mark.parametrize("seeds", [1, 2, 32])
    def test_interval_in_closed_form_where_all_or_none_solved(self, seeds: int) -> None:
        none = only(*(run(seed=s) for s in range(seeds)))
        every = only(*(run(seed=s, solved_at=4) for s in range(seeds)))
        assert (none["share_low"], every["share_high"]) == (0, 1)
        assert none["share_high"] == pytest.approx(1 - 0.025 ** (1 / seeds))
        assert every["share_low"] == pytest.approx(0.025 ** (1 / seeds))


class TestQuantiles:
    def test_interquartile_mean_of_eight_is_the_mean_of_the_middle_four(self) -> None:
        row = accuracies(0.8, 0.1, 0.3, 0.2, 0.9, 0.4, 0.5, 0.6)
        assert row["iqm"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.6) / 4)

    def test_interquartile_mean_ignores_one_extreme_of_five(self) -> None:
        assert accuracies(0.0, 0.4, 0.5, 0.6, 1.0)["iqm"] == pytest.approx(0.5)
        assert accuracies(0.3, 0.4, 0.5, 0.6, 0.7)["iqm"] == pytest.approx(0.5)

    def test_quartiles_interpolate_linearly(self) -> None:
        row = accuracies(0.1, 0.2, 0.3, 0.6)
        expected = [0.1, 0.175, 0.25, 0.375, 0.6]
        assert row[["min", "q1", "median", "q3", "max"]].tolist() == pytest.approx(expected)

    def test_interpolation_does_not_show(self) -> None:
        assert accuracies(0.993, 1.0)["median"] == 0.9965

    def test_a_diverged_seed_counts_with_its_last_finite_accuracy(self) -> None:
        row = only(run(seed=0, accuracy=0.9), run(seed=1, accuracy=0.3, diverged_at=5))
        assert (row["seeds"], row["solved"], row["diverged"]) == (2, 0, 1)
        assert (row["min"], row["median"]) == (0.3, 0.6)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_value_that_is_not_finite_poisons_nothing(self, value: float) -> None:
        row = only(run(seed=0, accuracy=0.9), run(seed=1, accuracy=value, diverged_at=1))
        assert (row["seeds"], row["diverged"]) == (2, 1)
        assert row[["min", "q1", "iqm", "median", "q3", "max"]].tolist() == [0.9] * 6


class TestIntervals:
    VALUES = (0.21, 0.34, 0.4, 0.52, 0.66, 0.83, 0.97)

    def test_the_interquartile_mean_has_that_of_statistics(self) -> None:
        row = accuracies(*self.VALUES)
        rng = np.random.default_rng(0)
        expected = statistics.interquartile_mean([np.array(self.VALUES)], rng)
        assert (row["iqm"], row["iqm_low"], row["iqm_high"]) == expected
        assert row["min"] < row["iqm_low"] < row["iqm"] < row["iqm_high"] < row["max"]

    def test_it_is_the_same_whatever_other_conditions_there_are(self) -> None:
        alone = [run(seed=seed, accuracy=value) for seed, value in enumerate(self.VALUES)]
        among = table(*alone, *(run(length=40 + 10 * n, seed=s) for n in (2, 3) for s in range(9)))
        columns = ["iqm", "iqm_low", "iqm_high"]
        assert among.loc[("lstm", 50, 0.01), columns].tolist() == only(*alone)[columns].tolist()

    def test_it_is_the_generators(self) -> None:
        frame = pd.DataFrame([run(seed=s, accuracy=v) for s, v in enumerate(self.VALUES)])
        one, same, other = (
            aggregate.seed_sensitivity(frame, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        pd.testing.assert_frame_equal(one, same, check_exact=True)
        assert one["iqm_low"].iloc[0] != other["iqm_low"].iloc[0]

    def test_fewer_than_six_seeds_leave_a_gap(self) -> None:
        assert np.isnan(accuracies(*self.VALUES[:5])[["iqm_low", "iqm_high"]].tolist()).all()

    def test_epochs_to_solve_have_that_of_statistics(self) -> None:
        row = times([3, 5, 8, 13, 21, 34], [])
        assert row[["epochs_low", "epochs_high"]].tolist() == [3, 34]
        row = times([4, 7, 9], [LIMIT] * 3)
        assert row["epochs_low"] == 4 and np.isnan(row["epochs_high"])


class TestEpochsToSolve:
    def test_kaplan_and_meiers_medians_of_freireichs_leukaemia_patients(self) -> None:
        """Weeks in remission (Freireich et al., Blood 21, 1963): medians 23 and 8."""
        treated = times(
            [6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
        )
        control = times([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], [])
        assert (treated["epochs_to_solve"], treated["epochs_observed"]) == (23, 35)
        assert (control["epochs_to_solve"], control["epochs_observed"]) == (8, 23)

    def test_half_solved_is_enough_and_less_is_not(self) -> None:
        assert times([4, 7, 9], [LIMIT] * 3)["epochs_to_solve"] == 9
        row = times([4, 7], [LIMIT] * 3)
        assert np.isnan(row["epochs_to_solve"])
        assert row["epochs_observed"] == LIMIT

    @pytest.mark.parametrize("seeds", range(2, 41, 2))
    def test_half_is_half_whatever_rounding(self, seeds: int) -> None:
        half = list(range(1, seeds // 2 + 1))
        assert times(half, [LIMIT] * len(half))["epochs_to_solve"] == half[-1]

    def test_a_diverged_seed_never_solves(self) -> None:
        rows = [run(seed=s, diverged_at=3) for s in range(3)]
        rows += [run(seed=s, solved_at=10) for s in (3, 4)]
        row = only(*rows)  # censored at epoch 3, they would leave a median of 10
        assert np.isnan(row["epochs_to_solve"])
        assert row["epochs_observed"] == LIMIT


class TestOddRuns:
    def test_one_seed(self) -> None:
        row = only(run(accuracy=0.4))
        assert row[["min", "q1", "iqm", "median", "q3", "max"]].tolist() == [0.4] * 6
        assert (row["share_low"], row["share_high"]) == (0, pytest.approx(0.975))

    def test_every_seed_diverged_before_it_was_measured(self) -> None:
        row = only(*(run(seed=s, accuracy=np.nan, diverged_at=1) for s in range(3)))
        assert (row["seeds"], row["solved"], row["diverged"]) == (3, 0, 3)
        assert row[["min", "iqm", "median", "max", "epochs_to_solve"]].isna().all()

    def test_a_trial_that_is_there_twice_is_refused(self) -> None:
        """Two studies trained it, or two versions of the software: its seed would count double."""
        mixed = pd.concat([grid(), grid(cells=("lstm",), lengths=(75,), seeds=1)])
        expected = "runs: 'lstm, length 75, seed 0 twice' is not allowed; use each trial once"
        for make in TABLES:
            with pytest.raises(InvalidInput, match=expected):
                make(mixed)

    def test_two_studies_of_other_settings_are_apart(self) -> None:
        mixed = pd.concat([grid(), grid().assign(hidden=7)])
        assert table(*mixed.to_dict("records"))["seeds"].sum() == 120
        assert aggregate.cell_comparison(mixed).index.names[:2] == ["length", "hidden"]

    def test_runs_of_two_tasks_are_refused(self) -> None:
        mixed = pd.concat([grid(), grid().assign(task="sine", val_loss=0.1)])
        for make in TABLES:
            with pytest.raises(InvalidInput, match=r"runs: \['sine', 'symbol'\] .*of one task"):
                make(mixed)

    def test_what_are_no_runs_is_refused(self) -> None:
        for missing in ("seed", "solved", "diverged", "epochs_to_solve", "val_accuracy"):
            with pytest.raises(InvalidInput, match=f"runs: 'no column {missing}'"):
                aggregate.seed_sensitivity(grid().drop(columns=missing))
        with pytest.raises(InvalidInput, match="task: 'chess' is not allowed; choose from"):
            aggregate.seed_sensitivity(grid().assign(task="chess"))

    def test_no_finished_run(self) -> None:
        runs = pd.DataFrame([run(seed=s, status="RUNNING") for s in range(3)])
        row = aggregate.seed_sensitivity(runs).iloc[0]
        assert (row["seeds"], row["solved"], row["unfinished"]) == (0, 0, 3)
        gaps = ["share", "share_low", "share_high", "min", "iqm", "max", "epochs_to_solve"]
        assert row[gaps].isna().all()
        lengths = aggregate.length_table(runs)
        assert np.isnan(lengths.loc[50, ("lstm", "median")])
        assert lengths.loc[50, ("lstm", "solved")] == "0/0"

    def test_runs_that_are_missing_are_counted_and_nothing_else(self) -> None:
        statuses = ("FINISHED", "FAILED", "FAILED", "KILLED", "RUNNING", "SCHEDULED")
        row = only(*(run(seed=s, accuracy=0.6, status=what) for s, what in enumerate(statuses)))
        assert (row["seeds"], row["failed"], row["unfinished"]) == (1, 2, 3)
        assert (row["min"], row["max"], row["diverged"]) == (0.6, 0.6, 0)

    @pytest.mark.parametrize("runs", [pd.DataFrame(), grid().iloc[:0]])
    def test_no_run_at_all(self, runs: pd.DataFrame) -> None:
        sensitivity = aggregate.seed_sensitivity(runs)
        assert list(sensitivity.columns) == list(aggregate.STATISTICS)
        assert sensitivity.index.names == ["cell", "length", "learning_rate"]
        assert all(make(runs).empty for make in TABLES)
        assert not aggregate.crossed(runs)

    def test_missing_flags_mean_no(self) -> None:
        runs = pd.DataFrame([run(seed=0, solved_at=3), run(seed=1)])
        runs = runs.astype({"solved": object, "diverged": object})
        runs.loc[1, ["solved", "diverged"]] = None
        row = aggregate.seed_sensitivity(runs).iloc[0]
        assert (row["seeds"], row["solved"], row["diverged"]) == (2, 1, 0)


class TestTables:
    @pytest.mark.parametrize("seed", range(5))
    def test_the_order_of_runs_changes_nothing(self, seed: int) -> None:
        runs = pd.concat([grid(), pd.DataFrame([run(hidden=7, seed=s) for s in range(3)])])
        mixed = runs.sample(frac=1, random_state=seed)
        for make in TABLES:
            pd.testing.assert_frame_equal(make(mixed), make(runs), check_exact=True)

    def test_cells_stand_as_in_their_registry_and_unknown_ones_last(self) -> None:
        runs = grid(cells=("orthogonal", "stable_lstm", "lstm"))
        known = ["lstm", "stable_lstm", "orthogonal"]
        assert list(aggregate.length_table(runs).columns.unique(0)) == known
        runs["cell"] = runs["cell"].replace("lstm", "a_new_cell")
        assert list(aggregate.length_table(runs).columns.unique(0)) == [*known[1:], "a_new_cell"]

    def test_length_table_says_what_seed_sensitivity_says(self) -> None:
        runs = grid()
        lengths, sensitivity = aggregate.length_table(runs), aggregate.seed_sensitivity(runs)
        assert lengths.index.tolist() == [50, 75, 100]
        for (cell, length, _), row in sensitivity.iterrows():
            shown = lengths.loc[length, cell]
            assert shown["median"] == pytest.approx(row["median"], abs=5e-5)
            assert shown["best"] == pytest.approx(row["max"], abs=5e-5)
            assert shown["solved"] == f"{row['solved']:.0f}/{row['seeds']:.0f}"

    def test_three_cells_print_within_80_columns(self) -> None:
        runs = grid(seeds=32)
        runs["val_accuracy"] = 0.123 + 0.001 * np.arange(len(runs))  # of 1000 sequences
        text = str(aggregate.length_table(runs))
        assert "..." not in text
        assert max(map(len, text.splitlines())) <= 80

    def test_metrics(self) -> None:
        runs = grid()
        runs["best_val_accuracy"] = runs["val_accuracy"].clip(upper=0.9) + 0.1
        plain = aggregate.seed_sensitivity(runs)
        pd.testing.assert_frame_equal(aggregate.seed_sensitivity(runs, "accuracy"), plain)
        best = aggregate.seed_sensitivity(runs, "best_val_accuracy")
        assert (best["median"] > plain["median"]).any()
        with pytest.raises(InvalidInput, match="best_val_accuracy, val_accuracy"):
            aggregate.seed_sensitivity(runs, "val_acuracy")

    def test_runs_stay_as_they_are(self) -> None:
        runs = grid()
        before = runs.copy(deep=True)
        aggregate.length_table(runs)
        pd.testing.assert_frame_equal(runs, before)
