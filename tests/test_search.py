"""Searching a learning rate: what proposals come to, when they are stopped, what is due next."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from searched import ACCURACY, ERROR, STUDY, flat, history
from small import TRIAL, results

from rnn_study.config import Pack, Trial
from rnn_study.errors import InvalidInput
from rnn_study.search import FIRST_SEED, Course, Result, Rule, Search, next_rule, rung_epochs
from rnn_study.tasks import TASKS
from rnn_study.training import Checkpoints, Epoch
from rnn_study.worker import Judge, train_pack

pytestmark = pytest.mark.usefixtures("unchecked")


def worker(folder: Path, trials: list[Trial], rule: Rule) -> dict[str, object]:
    """What the worker of a pack is told."""
    return {
        "pack": Pack(tuple(trials)).to_json(),
        "rule": rule.to_json(),
        "device": "cpu",
        "checkpoints": str(folder),
        "checkpoint_seconds": 1e9,
        "cuda_graphs": "on",
        "corpora": str(folder),
        "ray_node": "4711",
    }


class TestObjective:
    @pytest.mark.parametrize(
        ("objective", "value"),
        [("iqm", 0.65), ("mean", 0.625), ("median", 0.65), ("worst", 0.2), ("solved", 0.25)],
    )
    def test_a_statistic_of_the_seeds(self, objective, value):
        rule = Rule(objective, ACCURACY, 8, {})
        found = rule.judge([flat(0.4), history(0.3, 1.0), flat(0.2), flat(0.9)])
        assert found.objective == pytest.approx(value)
        assert found.values == (0.4, 1.0, 0.2, 0.9) and found.epochs == (8, 2, 8, 8)
        assert rule.maximises

    def test_the_worst_error_is_the_largest_and_less_is_better(self):
        rule = Rule("worst", ERROR, 2, {})
        found = rule.judge([history(v, v, column="val_loss", limit=2) for v in (0.1, 0.3)])
        assert found.objective == 0.3
        assert not rule.maximises and rule.worse(0.4, 0.3) and not rule.worse(0.2, 0.3)

    def test_the_last_value_counts_at_the_end_and_the_best_so_far_on_the_way(self):
        found = Rule("mean", ACCURACY, 8, {}).judge([history(0.5, 0.3, *[0.4] * 6)])
        assert found.objective == 0.4
        assert found.rungs == {1: 0.5, 2: 0.5, 4: 0.5}

    def test_a_diverged_seed_is_no_better_than_chance(self):
        lost = history(0.9, 0.95, 0.97, diverged=True)
        found = Rule("mean", ACCURACY, 8, {}).judge([lost, flat(0.75)])
        assert found.values == (ACCURACY.baseline, 0.75)
        never = history(math.nan, diverged=True)
        assert Rule("mean", ACCURACY, 8, {}).judge([never]).objective == ACCURACY.baseline

    def test_a_proposal_with_a_seed_in_training_is_not_decided(self):
        rule = Rule("mean", ACCURACY, 8, {})
        assert rule.judge([flat(0.5), flat(0.5, epochs=7)]) is None
        assert rule.judge([flat(0.5), Course({}, False)]) is None
        assert rule.judge([flat(0.5), history(0.5, 1.0)]) is not None

    def test_a_seed_whose_rate_fell_too_low_has_ended(self):
        early = Course(flat(0.4, 3).history, ended=True)
        found = Rule("mean", ACCURACY, 8, {4: 0.7}).judge([early, early])
        assert (found.stopped, found.objective, found.epochs) == (None, 0.4, (3, 3))
        found = Rule("mean", ACCURACY, 8, {2: 0.7}).judge([early, flat(0.6)])
        assert (found.stopped, found.epochs) == (2, (2, 2))


class TestStopping:
    def test_all_seeds_stop_at_the_first_rung_where_their_objective_is_worse(self):
        rule = Rule("mean", ACCURACY, 8, {2: 0.5, 4: 0.7})
        fine = rule.judge([flat(0.6, 2), flat(0.4, 2)])
        assert fine is None  # 0.5 is not worse than 0.5
        found = rule.judge([flat(0.9, 4), flat(0.4, 4)])
        assert (found.stopped, found.objective) == (4, pytest.approx(0.65))
        assert found.values == (0.9, 0.4) and found.epochs == (4, 4)
        assert rule.judge([flat(0.4, 2), flat(0.5, 2)]).stopped == 2

    def test_what_was_trained_beyond_the_stop_changes_nothing(self):
        rule = Rule("mean", ACCURACY, 8, {4: 0.7})
        short = rule.judge([flat(0.6, 4), flat(0.4, 4)])
        later = history(*[0.6] * 4, 0.9, 1.0), history(*[0.4] * 4, *[1.0])
        assert rule.judge(later) == short
        assert rule.judge([flat(0.6, 4), flat(0.4, 6)]) == short

    def test_nothing_is_stopped_that_has_ended(self):
        rule = Rule("mean", ACCURACY, 8, {4: 0.7})
        found = rule.judge([history(0.3, diverged=True), history(0.3, 0.3, diverged=True)])
        assert found.stopped is None and found.epochs == (1, 2)

    def test_a_threshold_is_the_median_of_earlier_proposals_those_stopped_before_last(self):
        search = Search(1e-4, 1e-1)
        earlier = [
            Result(1.0, None, {2: 0.9, 4: 0.95, 8: 1.0}, (), ()),
            Result(0.9, None, {2: 0.8, 4: 0.85, 8: 0.9}, (), ()),
            Result(0.8, None, {2: 0.7, 4: 0.75, 8: 0.8}, (), ()),
            Result(0.3, 2, {2: 0.3}, (), ()),
            Result(0.3, 2, {2: 0.3}, (), ()),
        ]
        assert next_rule(search, ACCURACY, 16, earlier).thresholds == {2: 0.7, 4: 0.75, 8: 0.8}
        two = next_rule(search, ACCURACY, 16, [*earlier, earlier[3], earlier[3]])
        assert two.thresholds == {}  # most were stopped: the median is none
        assert next_rule(search, ACCURACY, 16, earlier[:3]).thresholds == {}
        never = replace(search, stop="never")
        assert next_rule(never, ACCURACY, 16, earlier).thresholds == {}

    def test_no_threshold_while_most_are_still_at_chance(self):
        slow = [Result(1.0, None, {2: 0.27, 4: 0.43, 8: 0.9}, (), ())] * 4
        assert set(next_rule(Search(1e-4, 1e-1), ACCURACY, 16, slow).thresholds) == {8}
        errors = [Result(0.1, None, {2: 0.48, 4: 0.41, 8: 0.2}, (), ())] * 4
        assert set(next_rule(Search(1e-4, 1e-1), ERROR, 16, errors).thresholds) == {8}

    def test_a_text_has_a_baseline_of_its_own_also_in_a_worker(self):
        metric = replace(TASKS["language"].metric, baseline=25.0)
        search, rungs = Search(1e-4, 1e-1), {2: 24.0, 4: 18.0, 8: 6.0}
        earlier = [Result(4.4, None, rungs, (), ())] * 4
        rule = next_rule(search, metric, 16, earlier)
        assert rule.thresholds == {4: 18.0, 8: 6.0}
        assert Rule.from_json(rule.to_json(), TASKS["language"].metric, 16) == rule
        lost = history(9.0, 7.0, column="val_perplexity", limit=16, diverged=True)
        assert rule.judge([lost]).objective == 25.0

    @pytest.mark.parametrize("limit", [1, 2, 3, 10, 15_000])
    def test_rungs_lie_before_the_last_epoch(self, limit):
        rungs = rung_epochs(limit)
        assert all(0 < epoch < limit for epoch in rungs)
        assert rungs == sorted(set(rungs)) and len(rungs) == (min(limit - 1, 3))

    def test_in_a_worker_a_rate_that_ended_itself_is_not_stopped(self, tmp_path):
        """Its own rate fell too low, at the very epoch at which it would be hopeless."""
        trial = replace(TRIAL, epochs=6, decay_epochs=(), patience=1, decay=0.1, least_rate=9e-3)
        (whole,) = results([trial]).values()
        last = len(whole.history["epoch"])
        assert last in rung_epochs(6)  # so that there is something to see
        ends: dict[str, str] = {}
        for _ in range(2):  # trained, and found trained
            rule = Rule("mean", ACCURACY, 6, {last: 1.0})
            for message in train_pack(worker(tmp_path, [trial], rule)):
                ends |= message["message"].finished
            assert ends == {trial.id: "unsolved"}

    def test_in_a_worker_a_hopeless_rate_leaves_with_all_its_seeds_and_may_go_on_later(
        self, tmp_path
    ):
        """The others train to the same bits; so does the stopped one, should it train on."""
        rates, seeds = (1e-2, 1e-6), (0, 1)
        trial = replace(TRIAL, epochs=8, train_size=70, decay_epochs=())
        pack = [replace(trial, learning_rate=r, seed=s) for r in rates for s in seeds]
        whole = results(pack)
        losses = {t: whole[t].history["val_accuracy"] for t in pack}
        at = {
            r: np.mean([losses[t][:4].max() for t in pack if t.learning_rate == r]) for r in rates
        }
        worse, better = sorted(rates, key=at.get)
        assert at[worse] < at[better]
        rule = Rule("mean", ACCURACY, 8, {4: float(at[better])})
        config = worker(tmp_path, pack, rule)
        ends: dict[str, str] = {}
        for message in train_pack(config):
            ends |= message["message"].finished
        checkpoints = Checkpoints(tmp_path)
        for t in pack:
            state = checkpoints.load(t)
            stopped = t.learning_rate == worse
            assert (ends[t.id] == "stopped") == stopped
            assert (state.epoch, state.finished) == ((4, False) if stopped else (8, True))
            past = state.history["val_loss"]
            assert past.tobytes() == whole[t].history["val_loss"][: len(past)].tobytes()
        again = {k: v for m in train_pack(config) for k, v in m["message"].finished.items()}
        assert again == {t.id: "stopped" for t in pack if t.learning_rate == worse}
        left = [t for t in pack if t.learning_rate == worse]
        results(left, checkpoints)
        for t in left:
            rest = checkpoints.load(t).history["val_loss"]
            assert rest.tobytes() == whole[t].history["val_loss"].tobytes()

    def test_parts_of_a_pack_that_train_by_turns_leave_at_one_threshold(self, tmp_path):
        """The first passes it before the second has come to it."""
        pack = tuple(replace(TRIAL, epochs=8, seed=seed) for seed in range(4))
        rule = Rule("mean", ACCURACY, 8, {4: 0.9})
        judge = Judge(Pack(pack), rule.to_json(), Checkpoints(tmp_path))
        names = ("train_loss", "val_loss", "val_accuracy")
        left = [pack[:2], pack[2:]]
        gone = {}
        for number in range(1, 9):
            for part in list(left):
                epoch = Epoch(part, np.full(2, number), {n: np.full(2, 0.5) for n in names},
                              ("training",) * 2)  # fmt: skip
                if judge(epoch).all():
                    gone[part] = number
                    left.remove(part)
        assert gone == {pack[2:]: 4, pack[:2]: 5}


REFUSED = [
    ({"low": 0.0}, "learning_rate: 0.0 is not allowed; use a finite number above 0"),
    ({"high": math.inf}, "learning_rate: inf is not allowed; use a finite number above 0"),
    ({"low": 0.1, "high": 0.1}, "learning_rate: '0.1:0.1' is not allowed; use LOW:HIGH with"),
    ({"trials": 0}, "search_trials: 0 is not allowed; use a whole number of at least 1"),
    ({"round": 2.5}, "search_round: 2.5 is not allowed; use a whole number of at least 1"),
    ({"seeds": 0}, "search_seeds: 0 is not allowed; use a whole number of at least 1"),
    ({"seeds": (7, 7)}, "search_seeds: (7, 7) is not allowed; use each value once"),
    ({"seed": -1}, "search_seed: -1 is not allowed; use a whole number of at least 0"),
    ({"objective": "max"}, "search_objective: 'max' is not allowed; choose from iqm, mean, median"),
    ({"stop": "asha"}, "search_stop: 'asha' is not allowed; choose from median, never"),
]


class TestDeclaration:
    @pytest.mark.parametrize(("changes", "error"), REFUSED)
    def test_what_cannot_be_used_is_refused(self, changes, error):
        with pytest.raises(InvalidInput) as refused:
            replace(Search(1e-4, 1e-1), **changes)
        assert str(refused.value).startswith(error)

    def test_the_seeds_of_a_search_are_not_those_of_the_study(self):
        with pytest.raises(InvalidInput, match=r"search_seeds: \[1, 2\] .*must be fresh"):
            replace(STUDY, learning_rate=Search(1e-4, 1e-1, seeds=(1, 2, 5)))
        assert Search(1e-4, 1e-1, seeds=2).seeds == (FIRST_SEED, FIRST_SEED + 1)

    def test_a_task_without_a_goal_has_no_share_solved(self):
        search = Search(1e-4, 1e-1, objective="solved")
        with pytest.raises(InvalidInput, match=r"search_objective: 'solved' .*no goal"):
            replace(STUDY, task="sine", learning_rate=search)

    def test_trials_wait_for_their_rate(self):
        fixed = [t for t in STUDY.trials() if t.cell == "orthogonal"]
        assert STUDY.trials() == fixed and len(fixed) == 2 * 3
        found = STUDY.trials({("lstm", 53): 0.5})
        assert [t.learning_rate for t in found] == [0.5] * 3 + [1e-2] * 6
        assert STUDY.size == 2 * 2 * 3
        assert STUDY.searches().keys() == {("lstm", 50), ("lstm", 53)}

    def test_the_declaration_is_json_and_tells_searches_apart(self):
        assert json.loads(json.dumps(STUDY.declaration())) == STUDY.declaration()
        other = {**STUDY.learning_rate, "lstm": Search(1e-4, 1e-1)}
        assert replace(STUDY, learning_rate=other).id != STUDY.id

    def test_on_the_command_line(self, ask):
        line = "--learning-rate lstm=1e-4:1e-1 stable_lstm=1e-3 orthogonal=1e-5:1 "
        line += "--search-trials 9 --search-seeds 3 --search-objective worst --search-stop never"
        rates = ask(line).study.learning_rate
        chosen = {"trials": 9, "seeds": 3, "objective": "worst", "stop": "never"}
        assert rates == {
            "lstm": Search(1e-4, 1e-1, **chosen),
            "stable_lstm": 1e-3,
            "orthogonal": Search(1e-5, 1.0, **chosen),
        }
        assert ask("--learning-rate 1e-3:1").study.learning_rate == Search(1e-3, 1.0)
        assert ask("--learning-rate 1e-3:1 --search-seeds 70:72").study.searches()[
            "lstm", 50
        ].seeds == (70, 71)

    @pytest.mark.parametrize(
        ("line", "error"),
        [
            ("--learning-rate 1:0.1", "learning_rate: '1:0.1' is not allowed; use LOW:HIGH"),
            ("--learning-rate 1:x", "learning_rate: '1:x' is not allowed; use one number"),
            ("--search-trials 3", "search_trials: 3 is not allowed; give a range to search"),
            ("--learning-rate 1e-3:1 --search-seeds 0:2", "search_seeds: [0, 1] is not allowed"),
        ],
    )
    def test_one_line_says_what_is_wrong(self, ask, line, error):
        with pytest.raises(InvalidInput) as refused:
            ask(line)
        assert str(refused.value).startswith(error) and "\n" not in str(refused.value)
