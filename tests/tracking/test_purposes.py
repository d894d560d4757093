"""What tables are made of: `aggregate.runs` on real stores, without the runs of searches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tracked import ENVIRONMENT, STUDY, TRIALS, history, opened, record, summary

from rnn_study import aggregate
from rnn_study.errors import InvalidInput
from rnn_study.tracking import GRID, SEARCH, Tracker, read_runs


def test_trials_of_a_search_count_once_a_study_asks_for_them(each_uri, tmp_path):
    tracker = opened(each_uri, tmp_path)
    tracker.start(TRIALS[:2], SEARCH)
    for trial in TRIALS[:2]:
        tracker.finish(trial.id, history(trial), summary(trial))
    record(tracker, TRIALS[2:])
    tracker.close()
    searched = {trial.id for trial in TRIALS[:2]}
    assert set(aggregate.runs(STUDY.name, each_uri)["trial_id"]).isdisjoint(searched)

    asking = Tracker(each_uri, STUDY, tmp_path / "artifacts")
    assert asking.finished() == {trial.id for trial in TRIALS}
    assert asking.finished(SEARCH) == searched
    asking.open(TRIALS, ENVIRONMENT)
    asking.claim(TRIALS[1:])
    asking.close()

    purposes = read_runs(each_uri, STUDY.name).set_index("trial_id")["purpose"]
    assert purposes[TRIALS[0].id] == SEARCH
    assert (purposes.drop(TRIALS[0].id) == GRID).all()
    assert len(aggregate.runs(STUDY.name, each_uri)) == len(TRIALS) - 1


def test_runs_are_read_from_the_store_that_is_named_or_meant(uri, tmp_path, monkeypatch):
    tracker = opened(uri, tmp_path)
    record(tracker, TRIALS)
    tracker.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    named = aggregate.runs(STUDY.name, uri)
    assert set(named["trial_id"]) == {trial.id for trial in TRIALS}
    assert aggregate.runs(STUDY.name).equals(named)
    with pytest.raises(InvalidInput, match=r"study: 'tyni'.*tiny"):
        aggregate.runs("tyni")


def test_of_a_name_that_was_used_for_two_tasks_one_is_read(uri, tmp_path):
    other = replace(STUDY, task="sine")
    for study in (STUDY, other):
        tracker = opened(uri, tmp_path, study)
        record(tracker, study.trials())
        tracker.close()
    with pytest.raises(InvalidInput, match="choose the runs of one task"):
        aggregate.runs(STUDY.name, uri)
    found = aggregate.runs(STUDY.name, uri, task="sine")
    assert set(found["trial_id"]) == {trial.id for trial in other.trials()}
