"""Storage in a bucket, on a real S3-compatible server: as atomic and as checked as on a disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from commands import Storage, wait_until
from pyarrow import fs
from servers import ObjectStore, Server, needs_object_store
from small import TRIAL, results, trials

from rnn_study import storage
from rnn_study.config import Pack
from rnn_study.errors import InvalidInput
from rnn_study.execution import Execution
from rnn_study.scheduling import lock
from rnn_study.training import Checkpoint, Checkpoints, train
from rnn_study.training.album import bind

pytestmark = needs_object_store
ROOT = "s3://studies/group"


@pytest.fixture
def place(bucket):
    """An empty place in the bucket."""
    return storage.files(bucket)


def state_of(epoch: int, status: str = "training") -> Checkpoint:
    array = np.full((3, 2), epoch, dtype=np.float32)
    moments = {"w": array / 2}
    history = {"epoch": np.arange(1, epoch + 1)}
    return Checkpoint(epoch, status, 10 * epoch, {"w": array}, moments, moments, history)


def test_a_place_holds_what_was_written_and_nothing_else(place):
    assert place.names() == []
    place.write("b", b"1")
    place.write("b", b"22")
    place.write("a", b"")
    place.within("deeper").write("c", b"3")
    assert place.names() == ["a", "b"]
    assert (place.read("a"), place.read("b")) == (b"", b"22")
    place.remove("a")
    place.remove("a")
    assert place.names() == ["b"]
    with pytest.raises(FileNotFoundError):
        place.read("a")


def test_the_newest_two_checkpoints_are_kept_and_damage_costs_one(place, caplog):
    store = Checkpoints(place)
    for epoch in (1, 2, 9, 10):
        store.save(TRIAL, state_of(epoch))
    files = store.of(TRIAL)
    kinds = ("json", "safetensors")
    assert files.names() == [f"epoch-{e:08d}.{kind}" for e in (9, 10) for kind in kinds]
    assert store.load(TRIAL).epoch == 10
    sound = files.read("epoch-00000010.safetensors")
    for damaged in (sound[:-1], sound[:-1] + bytes([sound[-1] ^ 1]), b""):
        files.write("epoch-00000010.safetensors", damaged)
        assert store.load(TRIAL).epoch == 9
    files.remove("epoch-00000010.safetensors")
    assert store.load(TRIAL).epoch == 9
    assert "s3://studies" in caplog.text and "epoch-00000010" in caplog.text


def test_training_cut_off_goes_on_from_a_bucket_to_the_same_bits(place):
    members = trials(2, epochs=4)
    undisturbed = results(members)
    driver = train(Pack(tuple(members)), "cpu", Checkpoints(place), 1e-9)
    list(islice(driver, 2))
    driver.close()
    again = results(members, Checkpoints(place))
    for trial in members:
        assert len(again[trial].history["epoch"]) == 2
        state = Checkpoints(place).load(trial)
        assert state.history["val_loss"].tobytes() == (
            undisturbed[trial].history["val_loss"].tobytes()
        )


def test_portraits_are_bound_from_a_bucket(place):
    trial = replace(TRIAL, dynamics_every=1)
    checkpoints = Checkpoints(place)
    results([trial], checkpoints)
    assert bind(checkpoints.portraits(trial), tuple("pqabcd"), 3).epochs.tolist() == [1, 2, 3]
    assert checkpoints.load(trial).epoch == 3, "portraits are no checkpoints"


def test_a_process_that_dies_in_the_middle_of_a_write_leaves_what_was_there(object_store, place):
    place.write("file", b"before")
    code = f"""
import os
from rnn_study import storage
stream = storage.file_system().open_output_stream({f"{str(place)[5:]}/file"!r})
stream.write(b"after" * 5_000_000)  # parts of it have been sent by now
os._exit(9)
"""
    died = subprocess.run([sys.executable, "-c", code], check=False)
    assert died.returncode == 9
    assert place.read("file") == b"before" and place.names() == ["file"]


def test_a_store_that_is_away_is_no_damage(tmp_path, monkeypatch):
    """Or training would start afresh, silently."""
    server = ObjectStore(tmp_path)
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    store = Checkpoints(storage.Bucket(f"{ROOT}/away", tries=1))
    store.save(TRIAL, state_of(5))
    server.kill()
    with pytest.raises(storage.StorageAway, match=r"s3://studies/group/away/.* listed at http"):
        store.load(TRIAL)
    with pytest.raises(storage.StorageAway, match="written"):
        store.save(TRIAL, state_of(6))
    server.start()
    assert store.load(TRIAL).epoch == 5, "what was acknowledged survives kill -9"
    server.kill()


class TestRefusals:
    @pytest.mark.parametrize("address", ["gs://bucket/a", "s3://", "s3:///a", "http://host/a"])
    def test_other_addresses(self, address):
        with pytest.raises(InvalidInput, match=r"storage: .* use a folder, or s3://BUCKET/PREFIX"):
            Execution(storage=address)

    @pytest.mark.parametrize(
        ("change", "address", "reason"),
        [
            ({}, "s3://missing/a", "bucket"),
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, ROOT, "SIGNATURE"),
            ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ROOT, "connect"),
        ],
    )
    def test_a_bucket_that_cannot_be_written(self, place, monkeypatch, change, address, reason):
        storage._file_system.cache_clear()
        for name, value in change.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InvalidInput, match=rf"storage: '{address}' .*{reason}"):
            storage.check(address)
        storage._file_system.cache_clear()

    def test_a_bucket_holds_no_sqlite_file(self, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with pytest.raises(InvalidInput, match=r"tracking_uri: None .* MLflow server"):
            _ = Execution(storage=ROOT).resolved_tracking_uri


class TestLease:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
        monkeypatch.setattr(lock, "DEAD_SECONDS", 2.0)
        monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.5)

    def test_a_living_driver_keeps_others_out_and_leaves_nothing(self, place):
        held = pytest.raises(InvalidInput, match=rf"run by process {os.getpid()} on ")
        with lock.lease(place, "mine"), held, lock.lease(place, "mine"):
            pass
        assert place.names() == []
        with lock.lease(place, "mine"):
            assert len(place.names()) == 1

    def test_a_dead_driver_does_not(self, place):
        place.write("lease-dead", b"process 1 on elsewhere\n7")
        with lock.lease(place, "mine"):
            assert "lease-dead" not in place.names()

    def test_a_driver_that_was_taken_for_dead_stops(self, place, monkeypatch):
        told = threading.Event()
        monkeypatch.setattr(signal, "raise_signal", lambda number: told.set())
        with lock.lease(place, "mine"):
            (mine,) = place.names()
            place.remove(mine)
            assert told.wait(10)

    def test_a_driver_that_was_paused_writes_no_more_once_another_has_begun(self, place):
        """Not even before its thread has looked, which `holds` waits for."""
        code = f"""
import signal, time
from rnn_study import storage
from rnn_study.scheduling import lock
lock.BEAT_SECONDS, lock.DEAD_SECONDS, lock.SETTLE_SECONDS = 0.1, 2.0, 0.5
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with lock.lease(storage.files({str(place)!r}), "mine") as lease:
    while True:
        print(time.monotonic(), lease.holds(5.0), flush=True)
        time.sleep(0.01)
"""
        paused = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            assert paused.stdout.readline().endswith(" True\n")
            paused.send_signal(signal.SIGSTOP)
            with lock.lease(place, "mine") as lease:
                begun = time.monotonic()
                paused.send_signal(signal.SIGCONT)
                said: list[list[str]] = []
                while not said or float(said[-1][0]) < begun + 3:
                    said.append(paused.stdout.readline().split())
                assert lease.holds(0.0)
        finally:
            paused.kill()
        assert {word for at, word in said if float(at) > begun} == {"False"}

    @pytest.mark.parametrize("other", [False, True])
    def test_a_driver_that_was_cut_off_goes_on_unless_another_is_there(
        self, object_store, place, monkeypatch, other
    ):
        monkeypatch.setattr(signal, "raise_signal", lambda number: None)
        with lock.lease(place, "mine") as lease:
            if other:
                place.write(f"{lock.PREFIX}other", b"process 1 on elsewhere\n7")
            os.kill(object_store.process.pid, signal.SIGSTOP)
            wait_until(lambda: not lease.holds(0.0), 20, "doubt")
            os.kill(object_store.process.pid, signal.SIGCONT)
            assert lease.holds(60.0) is not other


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_in_a_bucket_survives_a_kill_and_has_the_tables_of_one_on_a_disk(
    object_store, tmp_path
):
    """Its runs in MLflow; no file of it is on this machine alone."""
    mlflow = Server(tmp_path)
    mlflow.start()
    flags = ("--epochs", "40", "--checkpoint-seconds", "0.2", "--cells", "lstm")
    on_disk = Storage(tmp_path / "disk")
    assert on_disk.run(*flags).returncode == 0
    in_bucket = Storage(tmp_path / "unused")
    address = f"{ROOT}/whole"
    flags = (*flags, "--storage", address)
    mlflow.wait()
    environment = object_store.environment | {"MLFLOW_TRACKING_URI": mlflow.uri}
    client = object_store.client()

    def files(folder: str) -> list[str]:
        everything = fs.FileSelector(f"studies/group/whole/{folder}", True, recursive=True)
        return [i.path for i in client.get_file_info(everything) if i.type == fs.FileType.File]

    driver = in_bucket.start(*flags, **environment)
    wait_until(lambda: files("checkpoints"), 90, "the first checkpoints")
    driver.kill()
    driver.wait()
    in_bucket.wait_for_actors()
    again = in_bucket.run(*flags, **environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"Tables and figures: {address}/studies/{in_bucket.name}" in again.stdout
    for name, content in on_disk.tables().items():
        with client.open_input_stream(f"studies/group/whole/studies/{in_bucket.name}/{name}") as f:
            assert f.readall() == content, name
    left = [Path(path).name for path in files(f"studies/{in_bucket.name}")]
    assert not [name for name in left if name.startswith(lock.PREFIX)]
    assert not files(f"studies/{in_bucket.name}/ray")
    assert not in_bucket.folder.exists()
    shutil.rmtree(in_bucket.home / ".cache")
    third = in_bucket.run(*flags, **environment)
    assert third.returncode == 0 and "every trial had finished earlier" in third.stdout
    mlflow.kill()
