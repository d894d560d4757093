"""The study as a Ray job, on a real head with token authentication, on loopback."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, SCRIPT, Storage, processes, wait_until

RAY = str(Path(sys.executable).with_name("ray"))
LONG = ("--epochs", "2000", "--checkpoint-seconds", "0.5", "--hidden", "32")


class Head:
    """A head node that was started in a clone, where an older rnn_study is installed."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(folder / "storage")
        older = folder / "older" / "rnn_study"
        older.mkdir(parents=True)
        (older / "__init__.py").write_text("raise ImportError('the older version was imported')\n")
        self.address = f"http://127.0.0.1:{_free_port()}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = self.storage.environment(RAY_AUTH_MODE="token", PATH=path)
        self.ray("get-auth-token", "--generate")
        command = [RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={_free_port()}"]
        command += [f"--dashboard-port={self.address.rsplit(':', 1)[1]}"]
        command += [f"--dashboard-agent-listen-port={_free_port()}"]  # others may run a Ray too
        self.log = (folder / "head.txt").open("w+")
        self.process = subprocess.Popen(
            command,
            env={**self.environment, "PYTHONPATH": str(older.parent)},
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_until(lambda: not self.job("submit", "--", "true").returncode, 90, "a first job")

    def ray(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RAY, *words],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def job(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.ray("job", verb, "--address", self.address, *words)

    def submit(self, *words: str, flags: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        study = ("python", "studies/symbol_length.py", "--preset", "smoke", *flags)
        return self.job("submit", *words, "--", *study)

    def stop(self) -> None:
        for pid in processes(self.storage.home):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        self.log.close()


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    head = Head(tmp_path_factory.mktemp("head"))
    yield head
    head.stop()
    wait_until(lambda: not processes(head.storage.home), 30, "the head to end")


def test_the_submitted_code_runs_and_the_log_has_progress_and_tables(head):
    job = head.submit("--working-dir", ".", flags=())
    assert job.returncode == 0, job.stdout + job.stderr
    for words in ("lstm, length 50", "6 of 6 trials done", "Validation accuracy"):
        assert words in job.stdout
    assert "SUCCEEDED" in head.job("list").stdout
    default = head.storage.home / "rnn-studies"
    assert str(default) in job.stdout, "results must not lie in the job's temporary folder"
    assert (default / "studies" / "symbol-length-smoke" / "length_table.csv").exists()
    assert (default / "mlflow.db").exists()


@pytest.mark.slow
def test_without_a_working_directory_the_clone_of_the_head_runs(head):
    storage = head.storage.folder / "clone"
    installed = ("--runtime-env-json", '{"env_vars": {"PYTHONPATH": ""}}')  # hides the older one
    job = head.submit(*installed, flags=("--storage", str(storage)))
    assert job.returncode == 0, job.stdout + job.stderr
    assert str(storage) in job.stdout


@pytest.mark.slow  # that such a study ends with 1 is among the quick tests of recovery
def test_a_trial_that_fails_fails_the_job(head):
    storage = head.storage.folder / "failing"
    victim = runpy.run_path(str(SCRIPT))["PRESETS"]["smoke"].study.trials()[0]
    (storage / "checkpoints").mkdir(parents=True)
    (storage / "checkpoints" / victim.id).write_text("a file where a folder should be")
    flags = ("--storage", str(storage), "--retries", "0", "--cells", victim.cell)
    job = head.submit("--working-dir", ".", flags=flags)
    assert job.returncode == 1
    assert "FileExistsError" in job.stdout
    assert "FAILED" in head.job("list").stdout


def test_a_stopped_job_ends_its_runs_and_leaves_nothing_running(head):
    storage = Storage(head.storage.folder / "stopped")
    flags = (*LONG, "--storage", str(storage.folder))
    submitted = head.submit(
        "--working-dir", ".", "--no-wait", "--submission-id", "long", flags=flags
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    wait_until(storage.checkpoints, 90, "the first checkpoints")
    stopped = head.job("stop", "long")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    wait_until(lambda: "stopped" in head.job("status", "long").stdout, 30, "the job to stop")
    wait_until(lambda: not _trainers(head), 30, "its actors to end")
    assert "KILLED" in set(storage.runs["status"])
    assert set(storage.runs["status"]) <= {"KILLED", "FINISHED"}


def _trainers(head: Head) -> list[str]:
    lines = processes(head.storage.home).values()
    return [line for line in lines if "symbol_length" in line or "ray::ImplicitFunc" in line]


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
