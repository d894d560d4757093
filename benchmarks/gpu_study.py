"""The symbol study through Ray on one GPU, which one pack has for itself or several packs share.

    python benchmarks/gpu_study.py --json FILE

Runs the same grid once for each share, each time in a fresh storage folder, and prints what Ray's
processes add up to: updates a second while packs train and in all, packs that train at once, and
the memory of the GPU that all of them take together. What every trial comes to must not depend on
the share: the table says how far last accuracies are from those of the first share. The file is
written after each share; one that would end after the time is over is left out.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from gpu_setting import about, require_device
from json_files import require_writable, write_json
from rich.console import Console
from rich.table import Table

from rnn_study import scheduling
from rnn_study.config import Study
from rnn_study.errors import InvalidInput, require_positive
from rnn_study.execution import Execution
from rnn_study.progress import observer
from rnn_study.scheduling.cluster import local_resources

OK, FAILED, REFUSED = 0, 1, 2
GRID = Study(
    name="gpu-study", task="symbol", cells=("lstm", "orthogonal"), lengths=(100,), seeds=range(64),
    learning_rate={"lstm": 1e-2, "orthogonal": 1e-3}, hidden=200, epochs=60,
)  # fmt: skip
TOY = replace(
    GRID, lengths=(50,), seeds=range(2), hidden=5, epochs=2, batch=10, train_size=20, val_size=20
)


def main(argv: list[str] | None = None) -> int:
    """Runs the grid with each share, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda or cpu, default cuda")
    parser.add_argument("--pack-size", type=int, default=16, help="networks a pack, default 16")
    parser.add_argument("--toy", action="store_true", help="very small, to see that it runs")
    shares = "parts of the GPU (or of a core) that a pack reserves, default 1 0.5 0.25"
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25], help=shares)
    parser.add_argument("--budget", type=float, default=1800.0, help="seconds, default 1800")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(argv)
    try:
        require_device(options.device)
        reserving = "gpus_per_pack" if options.device == "cuda" else "cpus_per_pack"
        sized = Execution(pack_size=options.pack_size, device=options.device)
        executions = [replace(sized, **{reserving: share}) for share in options.shares]
        for each in executions:
            local_resources(each)  # or it is refused
        require_positive("budget", options.budget)
        require_writable(options.json)
    except InvalidInput as refused:
        print("error:", refused, file=sys.stderr)
        return REFUSED
    head = {**about(options.device), "pack_size": options.pack_size}
    rows: list[dict[str, Any]] = []
    first: pd.Series | None = None
    end, slowest = time.monotonic() + options.budget, 0.0
    for share, execution in zip(options.shares, executions, strict=True):
        began = time.monotonic()
        if began + slowest > end:
            print(f"share {share:g}: not run, no time left", file=sys.stderr)
            continue
        row, last = measured(TOY if options.toy else GRID, execution)
        first = last if first is None else first
        row[reserving] = share
        row["largest difference of a last accuracy"] = float((last - first).abs().max())
        rows.append(row)
        slowest = max(slowest, time.monotonic() - began)
        if options.json:
            write_json(options.json, {**head, "rows": rows})
    table = Table("", *(f"share {row[reserving]:g}" for row in rows))
    for name in rows[0]:
        table.add_row(name, *(f"{row[name]:.4g}" for row in rows))
    Console().print(table)
    return FAILED if any(row["failed"] for row in rows) else OK


def measured(study: Study, execution: Execution) -> tuple[dict[str, Any], pd.Series]:
    """One row, and the last validation accuracy of every trial by its id."""
    with tempfile.TemporaryDirectory() as folder, memory_of_gpu(execution.device) as memory:
        server = f"sqlite:///{folder}/mlflow.db"  # not the one that the environment may name
        placed = replace(execution, storage=Path(folder), tracking_uri=server)
        report = scheduling.run(study, placed, observer(io.StringIO()))
    updates = sum(map(len, report.histories.values())) * -(-study.train_size // study.batch)
    seconds = report.seconds
    row = {
        "trials": len(report.trials),
        "failed": len(report.failures),
        "updates": updates,
        "wall time, s": seconds["wall"],
        "until Ray has started, s": seconds["ray"],
        "updates a second, packs training": updates / seconds["fit"],
        "updates a second, in all": updates / seconds["wall"],
        "packs training at once": seconds["train"] / seconds["fit"],
        "memory of the GPU, MiB": memory[0] / 2**20,
    }
    return row, report.runs.set_index("trial_id")["val_accuracy"]


@contextmanager
def memory_of_gpu(device: str) -> Iterator[list[int]]:
    """The most bytes of the GPU that are taken within it, beside what was before; 0 on a CPU."""
    most, over = [0], threading.Event()

    def taken() -> int:
        free, whole = torch.cuda.mem_get_info()
        return whole - free

    def watch() -> None:
        before = taken()
        while not over.wait(0.2):
            most[0] = max(most[0], taken() - before)

    watcher = threading.Thread(target=watch)
    if device == "cuda":
        taken()  # this process's own context
        watcher.start()
    try:
        yield most
    finally:
        over.set()
        if watcher.ident:
            watcher.join()


if __name__ == "__main__":
    sys.exit(main())
