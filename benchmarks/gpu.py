"""Checks and measures packed training on one GPU, in less than ten minutes.

Needs torch, NumPy and the training core (jaxtyping, safetensors); triton for the kernel. First the
checks: packs, graphs, scans, exponential and kernel against their oracles on this device, and what
TF32 changes. Then the measurements, each against what one would do without this project, run here
too. A check that fails and a part that breaks are in the table, and make the exit code 1.

One update is one batch of sequences of the symbol task forward, backward and through the optimiser,
for one network. `--device cpu --toy` runs all of it small, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
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
from gpu_setting import TOY, Notes, Setting, about, require_device
from gpu_texts import text_graphs, text_rates
from rivals import concurrent, one_thread, serial, timed

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Trial
from rnn_study.errors import InvalidInput, require_positive
from rnn_study.training import Eager, Replay, bytes_per_member, train

OK, FAILED, REFUSED = 0, 1, 2


class OutOfTime(Exception):
    """The time that was given is over."""


def main(argv: list[str] | None = None) -> int:
    """Runs all parts, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda or cpu, default cuda")
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--seconds", type=float, help="for each number, default 4")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds in all, default 540")
    parser.add_argument("--json", type=Path, help="also write what is found to this file")
    options = parser.parse_args(argv)
    try:
        require_device(options.device)
        require_positive("budget", options.budget)
        if options.seconds is not None:
            require_positive("seconds", options.seconds)
    except InvalidInput as refused:
        print("error:", refused, file=sys.stderr)
        return REFUSED
    setting = replace(TOY if options.toy else Setting(), device=options.device)
    if options.seconds is not None:
        setting = replace(setting, seconds=options.seconds)
    one_thread()
    notes = run(setting, options.budget, options.json)
    width = max(len(name) for name, _, _ in notes.lines)
    for name, value, remark in notes.lines:
        print(f"{name:{width}}  {value:>22}  {remark}".rstrip())
    return FAILED if notes.failed else OK


def run(setting: Setting, budget: float, path: Path | None) -> Notes:
    """The parts one after the other, those that matter most first, until the time is over.

    What is found is written to `path` after each: whatever ends the run, the rest is kept.
    """
    notes = Notes()
    parts: list[Callable[[Setting, Notes], None]] = [
        *gpu_checks.ALL, limits, rates, text_rates, *gpu_kernels.ALL, memory, tf32_rates,
        text_graphs,
    ]  # fmt: skip
    end = time.monotonic() + budget

    def over(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, over)
    for part in parts:
        left = end - time.monotonic()
        if left <= 0:
            notes.left_out(part.__name__, "no time left")
            continue
        print(f"{part.__module__}.{part.__name__}, {left:.0f} s left", file=sys.stderr, flush=True)
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            part(setting, notes)
        except OutOfTime:
            notes.left_out(part.__name__, "no time left for all of it")
        except Exception as error:
            notes.broken(part.__name__, error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if path is not None:
            write(setting, notes, path)
    return notes


def write(setting: Setting, notes: Notes, path: Path) -> None:
    """What has been found, and with what, as JSON."""
    found = {"numbers": notes.numbers, "rows": notes.rows, "lines": notes.lines}
    found = {**about(setting.device), "setting": vars(setting), **found}
    path.write_text(json.dumps(found, indent=1) + "\n")


def limits(setting: Setting, notes: Notes) -> None:
    """What the device does at most: products of this shape, and copies."""
    shape = (setting.pack, setting.batch, setting.hidden)
    state = torch.randn(shape, device=setting.device)
    matrix = torch.randn(setting.pack, setting.hidden, 4 * setting.hidden, device=setting.device)
    out = state @ matrix
    for name, precision in (("float32", "highest"), ("tf32", "high")):
        if setting.device == "cuda":
            torch.set_float32_matmul_precision(precision)
        elif name == "tf32":
            continue
        took = timed(lambda: torch.bmm(state, matrix, out=out), setting)
        notes.number(f"batched product, {name}", 2 * out.numel() * setting.hidden / took / 1e12,
                     "TFLOP/s")  # fmt: skip
    if setting.device == "cuda":
        torch.set_float32_matmul_precision("highest")
    source = torch.randn(2**16 if setting.device == "cpu" else 2**28, device=setting.device)
    target = torch.empty_like(source)
    took = timed(lambda: target.copy_(source), setting)
    notes.number("copy", 2 * source.nbytes / took / 1e9, "GB/s")


def rates(setting: Setting, notes: Notes) -> None:
    """Model updates per second against the serial rival and concurrent processes."""
    goals = {"lstm": ">= 15", "orthogonal": ">= 100"}
    for cell in goals:
        alone = serial(cell, setting)
        notes.number(f"{cell}: serial {rival_of(cell)}", alone, "updates/s")
        for pack in setting.packs:
            ours = packed(cell, pack, setting)
            notes.rows.append(row(cell, pack, setting, ours, f"serial {rival_of(cell)}", alone))
            goal = goals[cell] if pack == setting.pack else ""
            notes.number(f"{cell}: pack {pack}", ours, "updates/s")
            notes.number(f"{cell}: pack {pack} over serial", ours / alone, "times", goal)
            if pack == setting.pack:
                share = (
                    ours * flop(cell, setting) / 1e12 / notes.numbers["batched product, float32"]
                )
                notes.number(f"{cell}: pack {pack}, of the products' rate", 100 * share, "%")
                eager = packed(cell, pack, setting, graphs=False)
                notes.number(f"{cell}: pack {pack} without graphs", eager, "updates/s")
                together = concurrent(cell, setting)
                rival = f"processes {setting.processes} x {rival_of(cell)}"
                notes.rows.append(row(cell, pack, setting, ours, rival, together))
                notes.number(f"{cell}: pack {pack} over {rival}", ours / together, "times")


def tf32_rates(setting: Setting, notes: Notes) -> None:
    """The same in TF32; afterwards products are exact again."""
    if setting.device != "cuda":
        return notes.left_out("rates in TF32", "needs CUDA")
    for cell in ("lstm", "orthogonal"):
        ours = packed(cell, setting.pack, setting, tf32=True)
        notes.number(f"{cell}: pack {setting.pack}, tf32", ours, "updates/s")
    torch.set_float32_matmul_precision("highest")
    return None


def memory(setting: Setting, notes: Notes) -> None:
    """Bytes a member, foretold and taken."""
    for cell in ("lstm", "orthogonal"):
        trial = trials(cell, 1, setting)[0]
        notes.number(
            f"{cell}: memory foretold", bytes_per_member(trial, setting.device) / 1e6, "MB/member"
        )
        if setting.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            next(train(Pack(trials(cell, setting.pack, setting)), setting.device))
            taken = (torch.cuda.max_memory_allocated() - before) / setting.pack
            notes.number(f"{cell}: memory taken", taken / 1e6, "MB/member")


def trials(cell: str, count: int, setting: Setting, **changes: Any) -> tuple[Trial, ...]:
    """Of which none solves its task and leaves: the rate is too small."""
    fixed = {
        "task": "symbol", "cell": cell, "length": setting.length, "learning_rate": 1e-12,
        "hidden": setting.hidden, "batch": setting.batch, "train_size": 5 * setting.batch,
        "val_size": max(1, setting.batch // 2), "epochs": 10_000, **changes,
    }  # fmt: skip
    return tuple(Trial(**fixed, seed=seed) for seed in range(count))


def packed(
    cell: str, pack: int, setting: Setting, graphs: bool = True, tf32: bool = False
) -> float:
    """Updates per second of a pack, all members together: five batches, few to validate."""
    epochs = train(
        Pack(trials(cell, pack, setting, tf32=tf32)),
        setting.device,
        runner=Replay if graphs else Eager,
    )
    next(epochs)
    took, end = [], time.monotonic() + setting.seconds
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


def rival_of(cell: str) -> str:
    """What a network is without this project."""
    return "torch.nn.LSTM" if cell == "lstm" else "loop"


if __name__ == "__main__":
    sys.exit(main())
