"""Bad input: one line that names field, value and what is allowed; exit code 2; nothing created."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnn_study import cli
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS

SCRIPT = Path(__file__).parents[1] / "studies" / "symbol_length.py"
ACCURACY = TASKS["symbol"].metric


SEARCHED = "--learning-rate 1e-4:1e-1"
REFUSED = {
    "--cells gru": "cells: 'gru' is not allowed; choose from lstm, orthogonal, stable_lstm",
    "--cells": "cells: () is not allowed; use at least one",
    "--lengths 49": "length: 49 is not allowed; the symbol task needs at least 50 time steps",
    "--lengths long": "lengths: 'long' is not allowed; use whole numbers",
    "--seeds 0": "seeds: '0' is not allowed; use at least one seed",
    "--seeds": "seeds: '' is not allowed; use at least one seed",
    "--seeds 5:3": "seeds: '5:3' is not allowed; use at least one seed",
    "--seeds a:b": "seeds: 'a:b' is not allowed; use a number n for 0 to n - 1",
    "--seeds 3 3": "seeds: (3, 3) is not allowed; use each value once",
    "--learning-rate -0.01": "learning_rate: -0.01 is not allowed; use a finite number above 0",
    "--learning-rate nan": "learning_rate: nan is not allowed; use a finite number above 0",
    "--learning-rate fast": "learning_rate: 'fast' is not allowed; use one number, or CELL",
    "--learning-rate lstm=x": "learning_rate: 'lstm=x' is not allowed; use one number, or CELL",
    "--learning-rate lstm=1": "learning_rate: {'lstm': 1.0} is not allowed; give one for each cell",
    "--learning-rate gru=1": "learning_rate: 'gru=1' is not allowed; use one number, or CELL",
    "--learning-rate 1 lstm=1": "learning_rate: '1 lstm=1' is not allowed; use one number, or CELL",
    "--decay-epochs 2.5": "decay_epochs: '2.5' is not allowed; use whole numbers",
    "--decay-epochs lstm=x": "decay_epochs: 'lstm=x' is not allowed; use whole numbers, or CELL=",
    "--decay-epochs gru=5": "decay_epochs: 'gru=5' is not allowed; use whole numbers, or CELL=",
    "--pack-size 0": "pack_size: 0 is not allowed; use a whole number of at least 1",
    "--pack-size 1.5": "pack_size: '1.5' is not allowed; use a whole number or auto",
    "--pack-size all": "pack_size: 'all' is not allowed; use a whole number or auto",
    "--pack-size auto --memory-per-pack 0": "memory_per_pack: 0.0 is not allowed; use a finite",
    "--memory-per-pack 8": "memory_per_pack: 8.0 is not allowed; leave it out, or use --pack-size",
    "--cuda-graphs maybe": "cuda_graphs: 'maybe' is not allowed; choose from on, off",
    "--tf32 --device cpu": "tf32: True is not allowed; it needs a GPU, and packs train on cpu",
    "--epochs": "epochs: '' is not allowed; give one value",
    "--epochs 3 4": "epochs: '3 4' is not allowed; give one value",
    "--batch 33": "batch: 33 is not allowed; use a divisor of train_size = 1000",
    "--data-seed 99999999999999999999": "data_seed: 99999999999999999999 is not allowed; use a",
    "--seeds 0:999999": "seeds: '0:999999' is not allowed; use at most 100000 seeds",
    "--data-seeds 1000000000": "data_seeds: 1000000000 is not allowed; use a whole number of",
    "--seeds 20000": "trials: 180000 is not allowed; use fewer cells, lengths, seeds, data",
    "--hidden 1000000000": "hidden: 1000000000 is not allowed; use a whole number of at most 4096",
    f"{SEARCHED} --search-seeds 1000000000": "search_seeds: 1000000000 is not allowed; use a whole",
    f"{SEARCHED} --search-trials 1000000000": "search_trials: 1000000000 is not allowed; use a",
    f"{SEARCHED} --search-round 1000000000": "search_round: 1000000000 is not allowed; use a whole",
    f"{SEARCHED} --search-trials 1000 --search-seeds 99": "trials: 891054 is not allowed",
    "--device tpu": "device: 'tpu' is not allowed; choose from auto, cpu, cuda",
    "--name a/b": "name: 'a/b' is not allowed; use at most 100 letters",
    "--preset big": "preset: 'big' is not allowed; choose from laptop, paper, smoke",
    "--preset": "preset: '' is not allowed; give one value",
    "--cels lstm": "argument: '--cels' is not allowed; did you mean --cells?",
    "--dryrun": "argument: '--dryrun' is not allowed; did you mean --dry-run?",
    "smoke": "argument: 'smoke' is not allowed; --help lists what is",
    "--tracking-uri http://127.0.0.1:9": "tracking_uri: 'http://127.0.0.1:9' is not allowed; no ",
    "--tracking-uri http://[::1": "tracking_uri: 'http://[::1' is not allowed; use sqlite:///FILE",
    "--ray-address nonsense": "ray_address: 'nonsense' is not allowed; use HOST:PORT, ray://HOST",
    "--ray-address http://127.0.0.1:8265": "ray_address: 'http://127.0.0.1:8265' is not allowed; ",
    "--ray-address 127.0.0.1:9": "ray_address: '127.0.0.1:9' is not allowed; no Ray answers there",
    "--ray-address ray://127.0.0.1:9": "ray_address: 'ray://127.0.0.1:9' is not allowed; no Ray an",
    "--tracking-uri server": "tracking_uri: 'server' is not allowed; use sqlite:///FILE",
}


class TestRefusals:
    @pytest.mark.parametrize(("line", "error"), REFUSED.items())
    def test_one_line_names_field_value_and_what_is_allowed(self, script, home, capfd, line, error):
        argv = [*line.split(), "--dry-run", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 2
        printed = capfd.readouterr()
        assert printed.err.startswith(f"error: {error}")
        assert printed.err.count("\n") == 1
        assert printed.out == ""
        assert list(home.rglob("*")) == []

    def test_a_process_says_no_more_and_creates_nothing(self, home):
        environment = {**os.environ, "HOME": str(home)}
        command = [sys.executable, str(SCRIPT), "--cells", "gru"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: cells: 'gru' is not allowed; choose from ")
        assert done.stderr.count("\n") == 1
        assert list(home.rglob("*")) == []

    @pytest.mark.parametrize("folder", ["/proc/rnn_study", "a_file/below", "a_file", "dangling"])
    def test_storage_that_cannot_be_written(self, script, home, capfd, folder):
        (home / "a_file").touch()
        (home / "dangling").symlink_to("/proc/nothing")
        before = sorted(home.rglob("*"))
        assert cli.main(script.PRESETS, script.QUESTION, ["--storage", folder]) == 2
        printed = capfd.readouterr()
        assert printed.err.startswith("error: storage: '/")
        assert "is not allowed; use a folder that you can write to (" in printed.err
        assert printed.err.count("\n") == 1
        assert sorted(home.rglob("*")) == before

    @pytest.mark.parametrize(
        "place", ["~nosuchuser/x", "loop/x", "s3://b//x", "s3://b/../x", "s3:///x", "a?b", "a%20b"]
    )
    def test_storage_that_names_no_place(self, script, home, capfd, place):
        (home / "loop").symlink_to("loop")
        assert cli.main(script.PRESETS, script.QUESTION, ["--storage", place]) == 2
        printed = capfd.readouterr()
        assert printed.err.startswith("error: storage: ") and printed.err.count("\n") == 1
        assert "is not allowed; use a folder" in printed.err
        assert list(home.iterdir()) == [home / "loop"]

    @pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--status"]])
    def test_an_experiment_that_may_not_be_seen(self, script, home, capfd, flags):
        """A server that lists nothing and refuses the rest."""

        class Forbids(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen = "experiments/search" in self.path
                answer = {"error_code": "PERMISSION_DENIED", "message": "no rights"}
                body = json.dumps({"experiments": []} if seen else answer).encode()
                self.send_response(200 if seen else 403)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Forbids) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            uri = f"http://127.0.0.1:{server.server_port}"
            argv = [
                "--storage",
                str(home / "storage"),
                "--tracking-uri",
                uri,
                "--name",
                "x",
                *flags,
            ]
            assert cli.main(script.PRESETS, script.QUESTION, argv) == 2
            server.shutdown()
        error = "error: name: 'x' is not allowed; MLflow does not let you see it ("
        printed = capfd.readouterr().err
        assert printed.startswith(error) and printed.count("\n") == 1
        assert list(home.rglob("*")) == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_storage_without_permission(self, script, home, capfd):
        home.chmod(0o500)
        assert cli.main(script.PRESETS, script.QUESTION, ["--storage", str(home / "s")]) == 2
        home.chmod(0o700)
        assert "permission denied" in capfd.readouterr().err

    def test_cuda_without_a_gpu(self, script, home, capfd, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        argv = ["--device", "cuda", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 2
        error = "error: device: 'cuda' is not allowed; PyTorch sees no GPU on this machine; "
        assert capfd.readouterr().err.startswith(error)
        assert list(home.rglob("*")) == []

    def test_a_switch_of_the_environment(self, script, home, capfd, monkeypatch):
        monkeypatch.setenv("RNN_STUDY_NATIVE", "yes")
        argv = ["--preset", "smoke", "--storage", str(home / "storage")]
        assert cli.main(script.PRESETS, script.QUESTION, argv) == 2
        error = "error: RNN_STUDY_NATIVE: 'yes' is not allowed; use 1 for the native library, 0 "
        assert capfd.readouterr().err.startswith(error)
        assert list(home.rglob("*")) == []

    def test_a_preset_is_validated_as_a_flag_is(self, script):
        with pytest.raises(InvalidInput, match="hidden: 0 is not allowed"):
            replace(script.LAPTOP, hidden=0)


def test_a_refusal_passes_from_process_to_process():
    refused = InvalidInput("hidden", 0, "use more")
    again = pickle.loads(pickle.dumps(refused))
    assert (str(again), again.field) == (str(refused), "hidden")
