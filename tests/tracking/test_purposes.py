"""What runs are for: those of a search are kept apart until a study asks for them."""

from __future__ import annotations

from tracked import ENVIRONMENT, STUDY, TRIALS, history, opened, record, summary

from rnn_study import aggregate
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
