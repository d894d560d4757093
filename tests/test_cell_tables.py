"""Tables that compare cells, count seeds and split variances: by hand, and on odd runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_runs import LIMIT, grid, run

from rnn_study import aggregate, statistics
from rnn_study.errors import InvalidInput


def of(cell: str, *accuracies: float, **settings: Any) -> list[dict[str, Any]]:
    """A run for each accuracy; an accuracy of one is solved at its seed's epoch."""
    return [
        run(cell, seed=s, accuracy=value, solved_at=s + 1 if value == 1 else None, **settings)
        for s, value in enumerate(accuracies)
    ]


def errors(cell: str, *values: float) -> list[dict[str, Any]]:
    """Runs of the sine task, whose errors are better where smaller."""
    rows = [{**run(cell, seed=s), "task": "sine"} for s in range(len(values))]
    return [row | {"val_loss": value} for row, value in zip(rows, values, strict=True)]


class TestComparison:
    def test_the_first_cell_is_better_where_it_is_larger(self) -> None:
        rows = [*of("lstm", 0.3, 0.5), *of("stable_lstm", 0.2, 0.4, 0.4)]
        found = aggregate.cell_comparison(pd.DataFrame(rows))
        assert found.index.tolist() == [(50, "lstm", 0.01, "stable_lstm", 0.01)]
        row = found.iloc[0]
        assert (row["seeds"], row["other_seeds"]) == (2, 3)
        assert row["probability"] == pytest.approx(4 / 6)
        assert np.isnan(row[["log_rank", "log_rank_holm"]].tolist()).all()  # none solved

    def test_or_smaller_where_smaller_is_better_and_nothing_is_solved(self) -> None:
        rows = [*errors("lstm", 0.3, 0.5), *errors("stable_lstm", 0.2, 0.4, 0.4)]
        found = aggregate.cell_comparison(pd.DataFrame(rows))
        assert found["probability"].tolist() == pytest.approx([2 / 6])
        names = ["seeds", "other_seeds", "probability", "low", "high"]
        assert list(found.columns) == names
        assert "solved" not in aggregate.cell_summary(pd.DataFrame(rows))
        needed = aggregate.seeds_needed(pd.DataFrame(rows))
        assert list(needed.columns) == ["seeds", "iqm_width", "iqm_seeds"]

    def test_the_pace_is_compared_by_the_log_rank_test(self) -> None:
        """All of one solved at 1 to 8, none of the other by the limit, and one that diverged."""
        lost = run("orthogonal", seed=9, accuracy=math.nan, diverged_at=2)
        rows = [*of("lstm", *[1] * 8), *of("orthogonal", *[0.9] * 7), lost]
        row = aggregate.cell_comparison(pd.DataFrame(rows)).iloc[0]
        solved = statistics.Times(np.arange(1.0, 9), np.ones(8, dtype=bool))
        # the one that diverged is followed to the limit: it will never solve
        others = statistics.Times(np.full(8, float(LIMIT)), np.zeros(8, dtype=bool))
        assert row["log_rank"] == pytest.approx(statistics.log_rank(solved, others))
        assert row["log_rank"] < 0.001
        assert row["probability"] == 1

    @pytest.mark.parametrize("worst", [math.nan, math.inf, -math.inf])
    def test_a_seed_that_was_never_finite_is_worse_than_all(self, worst: float) -> None:
        for make, other in ((of, 0.0), (errors, 1e9)):
            rows = [*make("lstm", worst, 0.5), *make("orthogonal", other)]
            assert aggregate.cell_comparison(pd.DataFrame(rows))["probability"].tolist() == [0.5]

    def test_p_values_are_adjusted_for_all_rows(self) -> None:
        found = aggregate.cell_comparison(grid())
        assert len(found) == 9
        expected = statistics.holm(found["log_rank"].tolist())
        assert found["log_rank_holm"].tolist() == pytest.approx(expected.tolist())

    def test_rates_that_vary_within_a_cell_are_sides_of_their_own(self) -> None:
        rows = [*of("lstm", 0.3), *of("lstm", 0.4, learning_rate=0.1), *of("orthogonal", 0.5)]
        pairs = [key[1:] for key in aggregate.cell_comparison(pd.DataFrame(rows)).index]
        assert pairs == [
            ("lstm", 0.01, "lstm", 0.1),
            ("lstm", 0.01, "orthogonal", 0.01),
            ("lstm", 0.1, "orthogonal", 0.01),
        ]

    def test_a_cell_with_no_finished_trial_is_a_gap(self) -> None:
        rows = [*of("lstm", 0.3, 1), *of("orthogonal", 0.3, 1, status="KILLED")]
        row = aggregate.cell_comparison(pd.DataFrame(rows)).iloc[0]
        assert (row["seeds"], row["other_seeds"]) == (2, 0)
        assert row[["probability", "low", "high", "log_rank", "log_rank_holm"]].isna().all()

    def test_one_cell_has_nobody_to_compare_with(self) -> None:
        found = aggregate.cell_comparison(grid(cells=("lstm",)))
        assert found.empty and "probability" in found


class TestSummary:
    def test_it_is_of_all_lengths_with_each_a_stratum(self) -> None:
        short, long = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0.2, 0.21, 0.22, 0.23, 0.24, 0.25]
        rows = [*of("lstm", *short), *of("lstm", *long, length=90)]
        row = aggregate.cell_summary(pd.DataFrame(rows)).loc["lstm"]
        expected = statistics.interquartile_mean(
            [np.array(short), np.array(long)], np.random.default_rng(0)
        )
        assert (row["iqm"], row["iqm_low"], row["iqm_high"]) == expected
        assert (row["lengths"], row["seeds"], row["solved"]) == (2, 12, 0)

    def test_lengths_count_alike_whatever_the_numbers_of_their_seeds(self) -> None:
        rows = [*of("lstm", *[1] * 12), *of("lstm", *[0.25] * 6, length=100)]
        rows += [*of("orthogonal", *[1] * 6), *of("orthogonal", *[0.25] * 6, length=100)]
        found = aggregate.cell_summary(pd.DataFrame(rows))
        assert found["iqm"].tolist() == [0.625, 0.625]

    def test_a_cell_that_has_not_finished_a_length_is_not_compared(self) -> None:
        rows = [*of("lstm", *[0.5] * 6), *of("lstm", *[0.3] * 6, length=90)]
        rows += [*of("orthogonal", *[1] * 6), *of("orthogonal", 1, length=90, status="FAILED")]
        found = aggregate.cell_summary(pd.DataFrame(rows))
        assert found.loc["lstm", "iqm"] == pytest.approx(0.4)
        assert found.loc["orthogonal", ["lengths", "seeds", "solved"]].tolist() == [1, 6, 6]
        assert np.isnan(found.loc["orthogonal", ["iqm", "iqm_low", "iqm_high"]].tolist()).all()

    def test_a_length_of_few_seeds_leaves_no_interval(self) -> None:
        rows = [*of("lstm", *[0.5] * 6), *of("lstm", *[0.3] * 5, length=90)]
        row = aggregate.cell_summary(pd.DataFrame(rows)).loc["lstm"]
        assert math.isfinite(row["iqm"]) and math.isnan(row["iqm_low"])


class TestSeedsNeeded:
    VALUES = (0.2, 0.3, 0.35, 0.5, 0.8, 1.0)

    def test_they_are_those_of_statistics(self) -> None:
        runs = pd.DataFrame(of("lstm", *self.VALUES))
        row = aggregate.seeds_needed(runs, share_width=0.3, metric_width=0.1).iloc[0]
        share = statistics.share(1, 6)
        assert row["seeds"] == 6
        assert row["share_width"] == pytest.approx(share.high - share.low)
        assert row["share_seeds"] == statistics.seeds_for_share(1, 6, 0.3)
        assert row["iqm_seeds"] == statistics.seeds_for_mean(np.array(self.VALUES), 0.1)
        known = aggregate.seed_sensitivity(runs).iloc[0]
        assert row["iqm_width"] == pytest.approx(known["iqm_high"] - known["iqm_low"])

    def test_a_fifth_of_the_baseline_is_wanted_of_a_metric(self) -> None:
        runs = pd.DataFrame(of("lstm", *self.VALUES))
        given = aggregate.seeds_needed(runs, metric_width=0.05)
        pd.testing.assert_frame_equal(aggregate.seeds_needed(runs), given)

    def test_what_cannot_be_known_is_a_gap(self) -> None:
        rows = [*of("lstm", *[1] * 6), *of("orthogonal", 1, status="RUNNING")]
        found = aggregate.seeds_needed(pd.DataFrame(rows))
        solved, none = found.to_dict("records")
        assert solved["seeds"] == 6 and solved["share_seeds"] == 17
        assert pd.isna(solved["iqm_seeds"])  # no spread
        assert none["seeds"] == 0
        assert all(pd.isna(none[name]) for name in found.columns[1:])

    def test_a_width_that_cannot_be_is_refused(self) -> None:
        for widths in ({"share_width": 1.5}, {"metric_width": 0.0}):
            with pytest.raises(InvalidInput, match="width: "):
                aggregate.seeds_needed(grid(), **widths)


class TestVarianceSplit:
    def crossed(self, seeds: int = 5, data_seeds: int = 3, **settings: Any) -> list[dict[str, Any]]:
        rng = np.random.default_rng(0)
        value = 0.4 + 0.1 * np.arange(data_seeds)[:, None] + 0.02 * np.arange(seeds)
        value = value + rng.uniform(-0.01, 0.01, value.shape)
        return [
            run(seed=s, data_seed=7 + d, accuracy=float(value[d, s]), **settings)
            for d in range(data_seeds)
            for s in range(seeds)
        ]

    def test_it_is_that_of_statistics_with_data_seeds_as_rows(self) -> None:
        rows = self.crossed()
        found = aggregate.variance_split(pd.DataFrame(rows))
        grid_ = np.array([row["val_accuracy"] for row in rows]).reshape(3, 5)
        data, weights, rest = statistics.variance_split(grid_)
        row = found.loc[("lstm", 50, 0.01)]
        for name, part in (("data", data), ("weights", weights), ("rest", rest)):
            assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(part)
        assert data.value > weights.value > rest.value
        total = data.value + weights.value + rest.value
        assert row["data_share"] == pytest.approx(data.value / total)
        assert row[["data_seeds", "weight_seeds", "left_out"]].tolist() == [3, 5, 0]

    def test_no_order_of_runs_changes_it(self) -> None:
        runs = pd.DataFrame([*self.crossed(), *self.crossed(length=60)]).iloc[2:]
        for seed in range(3):
            mixed = runs.sample(frac=1, random_state=seed)
            pd.testing.assert_frame_equal(
                aggregate.variance_split(mixed), aggregate.variance_split(runs), check_exact=True
            )

    @pytest.mark.parametrize("status", ["KILLED", "FAILED"])
    def test_runs_that_are_missing_cost_their_seed(self, status: str) -> None:
        rows = self.crossed()
        rows[4]["status"] = rows[9]["status"] = status  # of seed 4, all but one
        row = aggregate.variance_split(pd.DataFrame(rows)).iloc[0]
        assert row[["data_seeds", "weight_seeds", "left_out"]].tolist() == [3, 4, 1]
        whole = [each for each in rows if each["seed"] < 4]
        expected = aggregate.variance_split(pd.DataFrame(whole)).iloc[0]
        assert row.drop("left_out").tolist() == expected.drop("left_out").tolist()

    def test_a_data_seed_that_has_hardly_begun_costs_no_seed(self) -> None:
        rows = self.crossed(data_seeds=4)
        for row in rows[16:]:
            row["status"] = "RUNNING"
        row = aggregate.variance_split(pd.DataFrame(rows)).iloc[0]
        assert row[["data_seeds", "weight_seeds", "left_out"]].tolist() == [3, 5, 1]

    def test_of_lines_with_as_many_gaps_the_seed_goes(self) -> None:
        rows = self.crossed(3, 3)
        rows[8]["status"] = "KILLED"
        row = aggregate.variance_split(pd.DataFrame(rows)).iloc[0]
        assert row[["data_seeds", "weight_seeds", "left_out"]].tolist() == [3, 2, 2]

    def test_a_value_that_is_not_finite_is_a_gap(self) -> None:
        rows = self.crossed()
        missing = [dict(row) for row in rows]
        missing[4]["val_accuracy"], rows[4]["val_accuracy"] = math.nan, math.inf
        found, expected = (aggregate.variance_split(pd.DataFrame(each)) for each in (rows, missing))
        pd.testing.assert_frame_equal(found, expected)
        assert found["data"].notna().all()

    def test_too_small_a_design_is_a_gap(self) -> None:
        rows = [*self.crossed(), *self.crossed(1, 1, length=60)]
        row = aggregate.variance_split(pd.DataFrame(rows)).loc[("lstm", 60, 0.01)]
        assert (row["data_seeds"], row["weight_seeds"]) == (1, 1)
        assert row[["data", "weights_low", "rest_share"]].isna().all()

    def test_where_nothing_varies_shares_are_a_gap(self) -> None:
        runs = pd.DataFrame(self.crossed()).assign(val_accuracy=0.1)
        row = aggregate.variance_split(runs).iloc[0]
        assert row[["data", "weights", "rest"]].tolist() == [0, 0, 0]
        assert row[["data_share", "weights_share", "rest_share"]].isna().all()

    def test_what_is_not_crossed_is_refused(self) -> None:
        tied = pd.DataFrame([run(seed=s, data_seed=s) for s in range(4)])
        for runs in (tied, grid()):
            assert not aggregate.crossed(runs)
            with pytest.raises(InvalidInput, match=r"runs: .*--data-seeds 2 or more"):
                aggregate.variance_split(runs)
