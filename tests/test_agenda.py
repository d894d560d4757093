"""What is due next in a search: rounds, packs, order, crashes; and what Optuna proposes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from searched import ACCURACY, ERROR, STUDY, flat, history, trained

from rnn_study.config import Study
from rnn_study.scheduling import outcomes, proposals
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.proposals import Proposals
from rnn_study.search import Course, Rule, Search
from rnn_study.tasks import Metric

pytestmark = pytest.mark.usefixtures("unchecked")


def cut(found: Course, epoch: int) -> Course:
    return Course({name: column[:epoch] for name, column in found.history.items()}, False)


def finish(agenda: Agenda, order: np.random.Generator, at_once: int, most: int = 10**9) -> dict:
    """Trains what is due, `at_once` packs at a time, ending in any order; what was trained.

    Ends after `most` trials, as a crash does, in the middle of a pack too.
    """
    running, done = [], {}
    while not agenda.over:
        while len(running) < at_once and (job := agenda.next()) is not None:
            running.append(job)
        job = running.pop(order.integers(len(running)))
        groups = itertools.groupby(job.pack.trials, lambda trial: trial.learning_rate)
        for _, group in groups:
            members = list(group)
            full = {t.id: trained(t) for t in members}
            if job.rule:
                rule = Rule.from_json(job.rule, ACCURACY, STUDY.epochs)
                result = rule.judge([*full.values()])
                if result.stopped:
                    full = {i: cut(found, result.stopped) for i, found in full.items()}
            for trial in members:
                if len(done) == most:
                    return done
                assert trial.id not in done
                done[trial.id] = full[trial.id]
                agenda.learn(trial.id, full[trial.id])
        agenda.ended()
    return done


def fresh(study: Study = STUDY, size: int = 4, finished=(), known=None) -> Agenda:
    known = known or {}
    return Agenda(
        study,
        ACCURACY,
        size,
        finished,
        lambda trials: {t.id: known[t.id] for t in trials if t.id in known},
    )


def record(agenda: Agenda) -> str:
    found = outcomes.of(agenda.searches.values())
    return found.proposals.to_csv() + found.seeds.to_csv() + str(agenda.rates)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[str, dict]:
    agenda = fresh()
    done = finish(agenda, np.random.default_rng(0), at_once=1)
    return record(agenda), done


class TestAgenda:
    @pytest.mark.parametrize(("size", "at_once"), [(1, 1), (1, 7), (4, 3), (7, 2), (64, 16)])
    def test_neither_packs_nor_order_nor_concurrency_change_a_search(
        self, size, at_once, undisturbed
    ):
        for seed in range(3):
            agenda = fresh(size=size)
            finish(agenda, np.random.default_rng(seed), at_once)
            assert record(agenda) == undisturbed[0]

    def test_some_are_stopped_and_the_best_rate_is_found(self, undisturbed):
        agenda = fresh()
        done = finish(agenda, np.random.default_rng(1), 2)
        found = outcomes.of(agenda.searches.values()).proposals
        assert len(found) == 2 * 11
        assert 3 <= found["stopped_at"].notna().sum() <= 14
        for condition, rate in agenda.rates.items():
            best = 10 ** -(2.5 + 0.01 * (condition[1] - 50))
            assert 0.7 < rate / best < 1.4
        assert {t.id for t in agenda.trials} <= done.keys()
        assert {(t.cell, t.seed) for t in agenda.trials} == {
            (cell, seed) for cell in STUDY.cells for seed in range(3)
        }
        saved = found["epochs_saved"].sum()
        assert saved == sum((16 - found["stopped_at"]).dropna() * 3)
        assert saved + found["epochs"].sum() == 2 * 11 * 3 * 16

    @pytest.mark.parametrize("most", range(0, 80, 7))
    def test_after_a_crash_it_goes_on_and_trains_nothing_twice(self, most, undisturbed):
        done = finish(fresh(), np.random.default_rng(most), 3, most)
        finished = [i for i, course in done.items() if course.ended]
        again = fresh(finished=finished, known=done)
        rest = finish(again, np.random.default_rng(most + 1), 2)
        assert record(again) == undisturbed[0]
        # a proposal that the crash cut in two is a whole pack again: the worker knows who has ended
        assert len(rest.keys() & done.keys()) <= 2
        assert rest.keys() | done.keys() == undisturbed[1].keys()

    def test_when_all_is_known_nothing_is_due(self, undisturbed):
        done = undisturbed[1]
        agenda = fresh(finished=[*done], known=done)
        assert agenda.over and agenda.earlier == len(done)
        assert record(agenda) == undisturbed[0]

    def test_trials_that_end_before_their_last_epoch_decide_a_search(self):
        """As where their rate falls too low; it goes on to its end, and again with all known."""
        agenda, known = fresh(), {}
        while (job := agenda.next()) is not None:
            for trial in job.pack.trials:
                known[trial.id] = Course(cut(trained(trial), 9).history, ended=True)
                agenda.learn(trial.id, known[trial.id])
            agenda.ended()
        assert agenda.over and agenda.unfinished == []
        assert {t.id for t in agenda.trials} <= known.keys()
        again = fresh(finished=[*known], known=known)
        assert again.over and record(again) == record(agenda)

    def test_a_longer_search_goes_on_from_a_shorter_one(self, undisturbed):
        rates = {**STUDY.learning_rate, "lstm": replace(STUDY.learning_rate["lstm"], trials=6)}
        shorter = fresh(replace(STUDY, learning_rate=rates))
        finish(shorter, np.random.default_rng(0), 2)
        longer = fresh(finished=[*undisturbed[1]], known=undisturbed[1])
        for condition, search in shorter.searches.items():
            assert len(search.done) == 6
            assert search.done == longer.searches[condition].done[:6]

    def test_more_seeds_search_no_more(self, undisturbed):
        done = undisturbed[1]
        agenda = fresh(replace(STUDY, seeds=range(5)), finished=[*done], known=done)
        due = {t.seed for pack in agenda.ready for t in pack.trials}
        assert due == {3, 4}

    def test_the_costliest_are_first_and_what_is_skipped_is_not_due(self):
        agenda = fresh()
        costs = [pack.cost for pack in agenda.ready]
        assert costs == sorted(costs, reverse=True) and len({*costs}) > 1
        skipped, *left = agenda.fixed
        agenda.skip([skipped])
        assert {t.id for t in agenda.fixed} == {t.id for t in left}

    def test_what_a_search_will_bring_is_its_rounds_and_its_tables(self):
        """11 rates less the first 4, with 3 seeds each, then 3 seeds of the study."""
        found = [(t.cell, t.length) for t in fresh().later]
        assert {each: found.count(each) for each in found} == {
            ("lstm", 50): 7 * 3 + 3,
            ("lstm", 53): 7 * 3 + 3,
        }

    def test_a_search_that_lost_a_trial_waits_for_it(self):
        agenda = fresh(replace(STUDY, cells=("lstm",), lengths=(50,)), size=3)
        lost = agenda.next()
        while (job := agenda.next()) is not None:
            for trial in job.pack.trials:
                agenda.learn(trial.id, trained(trial))
            agenda.ended()
        agenda.ended()
        assert agenda.over and agenda.rates == {} and agenda.trials == []
        assert {t.id for t in lost.pack.trials} <= {t.id for t in agenda.tried}
        assert agenda.unfinished == [("lstm", 50)]

    def test_a_pack_holds_whole_proposals(self):
        for size, rates in ((1, 1), (3, 1), (6, 2), (100, 4)):
            packs = [p for p in fresh(size=size).ready if p.trials[0].cell == "lstm"]
            for pack in packs:
                found = [t.learning_rate for t in pack.trials]
                assert [found.count(rate) for rate in set(found)] == [3] * rates


def tried(metric: Metric, values: list[list[float]]) -> Proposals:
    """A search with one seed that is over: the validation values of its rates, in their order."""
    rates = Search(1e-4, 1e-1, trials=len(values), seeds=1)
    search = Proposals(replace(STUDY, learning_rate=rates), ("lstm", 50), metric)
    while search.round:
        courses = {
            trial.id: history(*values[p.number], column=metric.column, limit=16)
            for p in search.round
            for trial in p.trials
        }
        assert search.advance(courses)
    return search


class TestProposals:
    def first(self, **changes) -> list[float]:
        search = replace(STUDY.searches()["lstm", 50], **changes)
        study = replace(STUDY, learning_rate=search)
        return [p.rate for p in Proposals(study, ("lstm", 50), ACCURACY).round]

    def test_the_first_are_spread_over_the_range_and_have_four_digits(self):
        for seed in range(20):
            rates = np.array(self.first(seed=seed))
            parts = np.floor(np.log(rates / 1e-4) / np.log(1e3) * 4)
            assert sorted(parts) == [0, 1, 2, 3]
            assert all(float(f"{rate:.4g}") == rate for rate in rates)

    def test_another_seed_or_condition_has_others(self):
        other = [p.rate for p in Proposals(STUDY, ("lstm", 53), ACCURACY).round]
        assert len({*self.first(), *self.first(seed=1), *other}) == 12

    def test_the_winner_is_best_for_every_seed_not_for_one(self):
        """Equal interquartile means: the one whose seeds all do well."""
        study = replace(STUDY, learning_rate=Search(1e-4, 1e-1, 2, 4))
        search = Proposals(study, ("lstm", 50), ACCURACY)
        lucky, robust = search.round
        values = {lucky.number: (0.3, 0.9, 0.9, 0.9), robust.number: (0.9, 0.9, 0.9, 0.9)}
        known = {
            trial.id: flat(value, 16, limit=16)
            for proposal in search.round
            for trial, value in zip(proposal.trials, values[proposal.number], strict=True)
        }
        assert search.advance(known)
        assert [r.objective for _, r in search.done] == pytest.approx([0.9, 0.9])
        assert search.best[0] == robust

    def test_an_error_is_searched_downwards(self):
        search = tried(ERROR, [[0.3] * 16, [0.1] * 16])
        assert search.best[0].rate == search.done[1][0].rate
        assert search.optuna.best_params == {"learning_rate": search.best[0].rate}

    def test_of_equal_rates_the_middle_one_wins(self):
        search = tried(ACCURACY, [[0.9] * 16] * 3)
        assert search.best[0].rate == sorted(p.rate for p, _ in search.done)[1]

    def test_a_stopped_rate_never_wins(self):
        """However well the others ended that were better than it by then."""
        fell = [0.9] * 8 + [0.3] * 8
        search = tried(ACCURACY, [fell, fell, fell, fell, [0.5] * 16])
        stopped = search.done[4][1]
        assert stopped.stopped and stopped.objective > search.best[1].objective

    def test_stopping_saves_epochs_of_those_alone_that_would_have_trained_on(self):
        study = replace(STUDY, learning_rate=Search(1e-4, 1e-1, trials=5, seeds=2))
        search = Proposals(study, ("lstm", 50), ACCURACY)
        while search.round:
            last = [p.number for p in search.round] == [4]
            diverged = history(math.nan, diverged=True, limit=16)
            known = {}
            for first, second in (proposal.trials for proposal in search.round):
                known[first.id] = flat(0.3 if last else 0.9, 16, limit=16)
                known[second.id] = diverged if last else known[first.id]
            assert search.advance(known)
        row = outcomes.of([search]).proposals.iloc[4]
        assert (row["stopped_at"], row["epochs"], row["epochs_saved"]) == (2, 2 + 1, 16 - 2)

    def test_no_rate_leaves_the_range_by_its_rounding(self):
        rates = self.first(low=1.23456e-4, high=1.23459e-4)
        assert all(1.23456e-4 <= rate <= 1.23459e-4 for rate in rates)

    def test_optuna_reads_back_what_was_saved(self, tmp_path, undisturbed):
        agenda = fresh(finished=[*undisturbed[1]], known=undisturbed[1])
        path = tmp_path / "optuna.db"
        proposals.save(agenda.searches.values(), path)
        assert [*tmp_path.iterdir()] == [path]
        for condition, search in agenda.searches.items():
            name = proposals.name(condition)
            study = optuna.load_study(study_name=name, storage=f"sqlite:///{path}")
            assert len(study.trials) == 11
            for trial, (proposal, result) in zip(study.trials, search.done, strict=True):
                assert trial.params == {"learning_rate": proposal.rate}
                assert trial.value == pytest.approx(result.objective)
                assert (trial.state.name == "PRUNED") == (result.stopped is not None)
                assert trial.intermediate_values == pytest.approx(result.rungs)
