"""A signal ends the driver's waits, with the exit code that a scheduler of jobs expects."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from rnn_study.config import Pack
from rnn_study.scheduling import lock
from rnn_study.scheduling.callback import Listener
from rnn_study.scheduling.interruption import Interrupted, Signals
from rnn_study.storage import Bucket, StorageAway
from rnn_study.tracking.patience import Patience
from rnn_study.training import Checkpoints
from rnn_study.training.files import Folder

AWAY = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_EC2_METADATA_DISABLED": "true",
}

pytestmark = pytest.mark.usefixtures("unchecked")


class Waits:
    """A tracker whose store is away, or whose lease is in doubt; the signal comes meanwhile."""

    def __init__(self, holds: bool, number: int) -> None:
        self.patience = Patience("http://mlflow.example", 900.0)
        self.signal = threading.Timer(0.2, os.kill, (os.getpid(), number))
        if not holds:
            doubt = threading.Condition()
            self.patience.holds = lambda seconds: self.wait(doubt, seconds)

    def wait(self, doubt: threading.Condition, seconds: float) -> bool:
        self.signal.start()
        with doubt:
            return doubt.wait_for(lambda: False, seconds)

    def away(self) -> None:
        if not self.signal.is_alive():
            self.signal.start()
        raise ConnectionRefusedError(111, "Connection refused")

    def start(self, trials, purpose) -> None:
        self.patience.call(self.away)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("holds", [True, False], ids=["mlflow is away", "lease in doubt"])
def test_a_signal_ends_a_wait_within_tune(script, holds, number):
    pack = Pack(tuple(script.SMOKE.trials()[:1]))
    about = {"pack": pack.to_json(), "purpose": "grid", "rule": ""}
    trial = SimpleNamespace(trial_id="1", config=about)
    with Signals() as signals:
        signals.deferred = True
        listener = Listener(Waits(holds, number), None, None, signals, None)
        with pytest.raises(Interrupted) as interrupted:
            listener.on_trial_start(0, [], trial)
        assert signals.deferred
    assert interrupted.value.exit_code == 128 + number


def test_a_bucket_that_is_away_ends_the_study_and_not_ray_tune(script, monkeypatch):
    for name, value in AWAY.items():
        monkeypatch.setenv(name, value)
    (trial, *_) = script.SMOKE.trials()
    checkpoints = Checkpoints(Bucket("s3://studies/group", tries=1))
    listener = Listener(None, None, checkpoints, Signals(), None)
    with pytest.raises(Interrupted, match=r"s3://studies/group.* could not be listed") as ended:
        listener.finish(trial)
    assert ended.value.exit_code == 1


def test_a_second_signal_is_not_deferred_and_afterwards_all_is_as_before():
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        signals.deferred = True
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_lease_that_cannot_be_removed_hides_no_reason(tmp_path, caplog):
    class Away(Folder):
        def remove(self, name: str) -> None:
            raise StorageAway("no bucket answers")

    with pytest.raises(Interrupted, match="SIGTERM"), lock.lease(Away(tmp_path), "name"):
        raise Interrupted("Stopped by SIGTERM.", 143)
    assert "the lease stays, and counts as dead in 30 s: no bucket answers" in caplog.text


def test_a_signal_that_came_before_is_heeded_first():
    with Signals() as signals:
        signals.deferred = True
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), signals.at_once():
            raise AssertionError("it began to wait")
