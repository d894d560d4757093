"""Checks and measures packed training on one GPU, in less than nine minutes.

Needs torch, NumPy and the training core (jaxtyping, safetensors); triton for the kernel. First the
checks: packs, graphs, scans, exponential and kernels against their oracles on this device. Then the
measurements, each against what one would do without this project, run here too; what no study uses
yet comes last. A check that fails or is not made and a part that breaks are in the table, and make
the exit code 1.

One update is one batch of sequences of the symbol task forward, backward and through the optimiser,
for one network. `--device cpu --toy` runs all of it small, to see that it runs.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_checks
import gpu_kernels
import torch
from gpu_notes import Notes
from gpu_setting import (
    TOY,
    Setting,
    about,
    peak_bytes,
    products,
    require_device,
    whole,
)  # fmt: skip
from gpu_texts import text_graphs, text_memory, text_rates
from json_files import require_writable
from rivals import concurrent, one_thread, plain_name, serial, timed

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Trial
from rnn_study.errors import InvalidInput, require_positive
from rnn_study.training import Eager, Replay, bytes_per_member, train

OK, FAILED, REFUSED = 0, 1, 2
SHARE = 1 / 3
"""Of the time that one part has at most: one that waits for ever leaves time for others."""
GRACE = 20.0
"""Seconds after the time is over in which a part must end; a launch that hangs does not."""
LAUNCHES = 50
"""Between two waits for the device, where single operations are measured."""

Part = Callable[[Setting, Notes], None]


class OutOfTime(BaseException):
    """The time that was given is over. No part may take it for an error of its own."""


def main(argv: list[str] | None = None) -> int:
    """Runs all parts, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda or cpu, default cuda")
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--seconds", type=float, help="for each number, default 1.2")
    parser.add_argument("--budget", type=float, default=510.0, help="seconds in all, default 510")
    parser.add_argument("--json", type=Path, help="also write what is found to this file")
    options = parser.parse_args(argv)
    try:
        require_device(options.device)
        require_positive("budget", options.budget)
        if options.seconds is not None:
            require_positive("seconds", options.seconds)
        require_writable(options.json)
    except InvalidInput as refused:
        print("error:", refused, file=sys.stderr)
        return REFUSED
    setting = replace(TOY if options.toy else Setting(), device=options.device)
    if options.seconds is not None:
        setting = replace(setting, seconds=options.seconds)
    one_thread()
    notes = Notes(options.json, {**about(setting.device), "setting": vars(setting)})
    run(setting, options.budget, notes)
    return FAILED if notes.failed else OK


def run(setting: Setting, budget: float, notes: Notes) -> None:
    """The parts one after the other, those that matter most first, until the time is over."""
    end = time.monotonic() + budget
    signal.signal(signal.SIGALRM, _over)
    faulthandler.dump_traceback_later(budget + GRACE, exit=True)
    try:
        for part in (*CHECKS, *MEASUREMENTS):
            _run(part, min(end - time.monotonic(), budget * SHARE), setting, notes)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _over(*_: object) -> None:
    raise OutOfTime


def _run(part: Part, seconds: float, setting: Setting, notes: Notes) -> None:
    name, began = part.__name__, time.monotonic()
    if seconds <= 0:
        return notes.unfinished(name, "no time left", part in CHECKS)
    print(f"{name}, {seconds:.0f} s at most", file=sys.stderr, flush=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with notes.trying(name):
            part(setting, notes)
    except OutOfTime:
        notes.unfinished(name, "no time left for all of it", part in CHECKS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    notes.seconds[name] = round(time.monotonic() - began, 1)
    return notes.write()


def limits(setting: Setting, notes: Notes) -> None:
    """What the device does at most: products of this shape, and copies."""
    shape = (setting.pack, setting.batch, setting.hidden)
    state = torch.randn(shape, device=setting.device)
    matrix = torch.randn(setting.pack, setting.hidden, 4 * setting.hidden, device=setting.device)
    out = state @ matrix
    flop = 2 * out.numel() * setting.hidden
    for name in ("float32", "tf32") if setting.device == "cuda" else ("float32",):
        with products(tf32=name == "tf32"):
            took = _launched(lambda: torch.bmm(state, matrix, out=out), setting)
        notes.number(f"batched product, {name}", flop / took / 1e12, "TFLOP/s")
    source = torch.randn(2**16 if setting.device == "cpu" else 2**28, device=setting.device)
    target = torch.empty_like(source)
    took = _launched(lambda: target.copy_(source), setting)
    notes.number("copy", 2 * source.nbytes / took / 1e9, "GB/s")


def _launched(operation: Callable[[], object], setting: Setting) -> float:
    """Seconds of an operation among many that are launched together."""

    def work() -> None:
        for _ in range(LAUNCHES):
            operation()

    return timed(work, setting) / LAUNCHES


def rates(setting: Setting, notes: Notes) -> None:
    """Model updates per second against the serial rival and concurrent processes."""
    for cell, goal in (("lstm", ">= 15"), ("orthogonal", ">= 100")):
        with notes.trying(f"{cell}: rates"):
            _rates(cell, goal, setting, notes)


def _rates(cell: str, goal: str, setting: Setting, notes: Notes) -> None:
    rival = f"serial {plain_name(cell)}"
    alone = serial(cell, setting)
    notes.number(f"{cell}: {rival}", alone, "updates/s")
    for pack in setting.packs:
        ours = packed(cell, pack, setting)
        notes.rows.append(row(cell, pack, setting, ours, rival, alone))
        notes.number(f"{cell}: pack {pack}", ours, "updates/s")
        goals = goal if pack == setting.pack else ""
        notes.number(f"{cell}: pack {pack} over serial", ours / alone, "times", goals)
    pack, ours = setting.pack, notes.numbers[f"{cell}: pack {setting.pack}"]
    if limit := notes.numbers.get("batched product, float32"):
        share = ours * flop(cell, setting) / 1e12 / limit
        notes.number(f"{cell}: pack {pack}, of the products' rate", 100 * share, "%")
    eager = packed(cell, pack, setting, graphs=False)
    notes.number(f"{cell}: pack {pack} without graphs", eager, "updates/s")
    together = concurrent(cell, setting)
    rival = f"processes {setting.processes} x {plain_name(cell)}"
    notes.rows.append(row(cell, pack, setting, ours, rival, together))
    notes.number(f"{cell}: pack {pack} over {rival}", ours / together, "times")


def tf32_rates(setting: Setting, notes: Notes) -> None:
    """The same in TF32."""
    if setting.device != "cuda":
        return notes.left_out("rates in TF32", "needs CUDA")
    for cell in ("lstm", "orthogonal"):
        with notes.trying(f"{cell}: rate in TF32"):
            ours = packed(cell, setting.pack, setting, tf32=True)
            notes.number(f"{cell}: pack {setting.pack}, tf32", ours, "updates/s")
    return None


def memory(setting: Setting, notes: Notes) -> None:
    """Bytes a member, foretold and taken."""
    for cell in ("lstm", "orthogonal"):
        pack = trials(cell, setting.pack, setting)
        foretold = bytes_per_member(pack[0], setting.device)
        notes.number(f"{cell}: memory foretold", foretold / 1e6, "MB/member")
        if setting.device == "cuda":
            epochs = whole(train(Pack(pack), setting.device), setting.pack)
            taken = peak_bytes(lambda epochs=epochs: next(epochs)) / setting.pack
            notes.number(f"{cell}: memory taken", taken / 1e6, "MB/member")


CHECKS: tuple[Part, ...] = (*gpu_checks.ALL, text_graphs)
MEASUREMENTS: tuple[Part, ...] = (
    limits, rates, text_rates, tf32_rates, gpu_kernels.scan_times, gpu_kernels.tiles,
    gpu_kernels.exponential_time, gpu_kernels.loss_time, memory, text_memory,
    gpu_checks.tf32_changes, gpu_kernels.two_parts,
)  # fmt: skip


def trials(cell: str, count: int, setting: Setting, **changes: Any) -> tuple[Trial, ...]:
    """Of which none solves its task and leaves: the rate is too small, and there are too many
    sequences to validate for all answers to be right by chance."""
    fixed = {
        "task": "symbol", "cell": cell, "length": setting.length, "learning_rate": 1e-12,
        "hidden": setting.hidden, "batch": setting.batch, "train_size": 5 * setting.batch,
        "val_size": max(20, setting.batch // 2), "epochs": 10_000, **changes,
    }  # fmt: skip
    return tuple(Trial(**fixed, seed=seed) for seed in range(count))


def packed(
    cell: str, pack: int, setting: Setting, graphs: bool = True, tf32: bool = False
) -> float:
    """Updates per second of a pack, all members together: five batches, few to validate."""
    runner = Replay if graphs else Eager
    took: list[float] = []
    with products(tf32):
        members = Pack(trials(cell, pack, setting, tf32=tf32))
        epochs = whole(train(members, setting.device, runner=runner), pack)
        next(epochs)
        end = time.monotonic() + setting.seconds
        while not took or time.monotonic() < end:
            took.append(float(next(epochs).metrics["seconds"].sum()))
    return 5 * pack / statistics.median(took)


def row(
    cell: str, pack: int, setting: Setting, ours: float, rival: str, theirs: float
) -> dict[str, Any]:
    """As in the files of `benchmarks/training.py`."""
    return {
        "cell": cell,
        "hidden": setting.hidden,
        "length": setting.length,
        "pack": pack,
        "device": setting.device,
        "updates_per_second": ours,
        "rival": rival,
        "rival_updates_per_second": theirs,
        "ratio": ours / theirs,
        "bytes_per_member": bytes_per_member(trials(cell, 1, setting)[0], setting.device),
    }


def flop(cell: str, setting: Setting) -> float:
    """Of an update, in the products with the recurrent matrix: once forward, twice backward."""
    return 6.0 * setting.length * setting.batch * CELLS[cell].gates * setting.hidden**2


if __name__ == "__main__":
    sys.exit(main())
