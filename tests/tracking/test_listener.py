"""What the driver records of a pack that fails or ends, from the checkpoints that are there."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saved import state_of
from tracked import EPOCHS, STUDY, history, opened

from rnn_study.progress import PlainProgress
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.callback import Listener
from rnn_study.scheduling.interruption import Signals
from rnn_study.tasks import TASKS
from rnn_study.tracking import read_runs
from rnn_study.training import Checkpoints

pytestmark = pytest.mark.usefixtures("unchecked")  # the pack is not quite one of Tune's


@pytest.fixture
def heard(uri, tmp_path):
    """A listener that has heard of the start of a pack of two, and that pack as Tune knows it."""
    tracker = opened(uri, tmp_path)
    agenda = Agenda(STUDY, TASKS[STUDY.task].metric, 2, [], lambda trials: {})
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    log = (tmp_path / "log.txt").open("w")
    observer = PlainProgress(log)
    observer.plan(STUDY, agenda.ready, 0)
    job = agenda.next()
    errors = tmp_path / "error.txt"
    errors.write_text("Failure # 1 (occurred at noon)\nValueError: it broke\n")
    pack = SimpleNamespace(trial_id="a pack", config=job.config, error_file=errors)
    listener = Listener(tracker, observer, checkpoints, Signals(), agenda)
    listener.on_trial_start(0, [], pack)
    yield SimpleNamespace(
        listener=listener, pack=pack, trials=job.pack.trials, checkpoints=checkpoints,
        tracker=tracker, runs=lambda: read_runs(uri, STUDY.name).set_index("trial_id"),
    )  # fmt: skip
    tracker.interrupt()
    log.close()


def at(trial, status: str):
    """The trial's checkpoint of its last epoch."""
    return replace(state_of(EPOCHS, status), history=history(trial))


def test_what_ended_before_the_crash_of_its_pack_has_not_failed(heard):
    done, cut_off = heard.trials
    heard.checkpoints.save(done, at(done, "unsolved"))
    heard.checkpoints.save(cut_off, at(cut_off, "training"))
    heard.listener.on_trial_error(0, [], heard.pack)
    assert heard.listener.failures == {cut_off.id: "ValueError: it broke"}
    heard.tracker.close(failed=True)
    runs = heard.runs()
    assert runs.loc[done.id, "status"] == "FINISHED"
    assert runs.loc[done.id, "val_accuracy"] == history(done)["val_accuracy"][-1]
    assert runs.loc[cut_off.id, "status"] == "FAILED"
    assert runs.loc[cut_off.id, "failure"] == "ValueError: it broke"


def test_what_was_ended_without_a_word_is_recorded_when_its_pack_ends(heard):
    for trial in heard.trials:
        heard.checkpoints.save(trial, at(trial, "unsolved"))
    heard.listener.on_trial_complete(0, [], heard.pack)
    heard.tracker.close()
    assert set(heard.runs().loc[[t.id for t in heard.trials], "status"]) == {"FINISHED"}


@pytest.mark.parametrize("status", ["training", None])
def test_a_pack_that_ends_without_its_checkpoints_is_an_error(heard, status):
    """Rather than a result: a node that does not see the storage writes them elsewhere."""
    for trial in heard.trials:
        if status:
            heard.checkpoints.save(trial, at(trial, status))
    with pytest.raises(RuntimeError, match="does not say so; every node must see the storage"):
        heard.listener.on_trial_complete(0, [], heard.pack)
    assert "FINISHED" not in set(heard.runs()["status"])
