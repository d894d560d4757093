"""`--status`: a running study, looked at from another terminal; 80 columns wide."""

from __future__ import annotations

import time

import pandas as pd
from rich.console import Group
from rich.text import Text

from rnn_study.config import Study
from rnn_study.phrases import count, duration
from rnn_study.reporting import layout
from rnn_study.tracking import Status

QUIET_SECONDS = 300.0
"""A running study of which nothing was heard for so long may be dead."""


def show(study: Study, status: Status | None, now: float | None = None) -> Text | Group:
    """What a user wants to know of `study`; one line where there is nothing to tell."""
    if status is None:
        return Text(f"{study.name}: never run; MLflow has no study of this name.")
    runs, now = status.runs, time.time() if now is None else now
    counts = runs["status"].value_counts()
    done, running = int(counts.get("FINISHED", 0)), int(counts.get("RUNNING", 0))
    begun = count(len(runs), "begun trial")
    trials = f"{done} of {begun} finished, of {study.size + study.searching} asked for"
    quiet = now - status.heard if status.heard is not None else None
    if not status.running:
        return Text(f"{study.name}: not running; {trials}.")
    head = f"{study.name}: running on {status.host}"
    parts: list[Text | layout.Padding] = [Text(head, style="bold"), Text(f"  {trials}")]
    if quiet is not None:
        parts.append(Text(f"  last news {duration(max(quiet, 0.0))} ago"))
    if quiet is not None and quiet > QUIET_SECONDS:
        text = (
            "Nothing heard for long: its driver may be dead. The same command goes on from there."
        )
        parts.append(Text(text, style="yellow"))
    parts.append(layout.indented(_conditions(runs)))
    if running:
        parts.append(layout.indented(_places(runs[runs["status"] == "RUNNING"])))
    return Group(*parts)


def _conditions(runs: pd.DataFrame) -> layout.Table:
    titles = ("cell", "length", "rate", "finished", "running", "failed", "stopped", "epoch")
    table = layout.table(*titles)
    for (cell, length, rate), group in runs.groupby(["cell", "length", "learning_rate"]):
        status = group["status"].value_counts()
        train = group[group["status"] == "RUNNING"]["epoch"]
        epoch = "-" if train.isna().all() else f"{train.min():.0f}-{train.max():.0f}"
        numbers = (status.get(name, 0) for name in ("FINISHED", "RUNNING", "FAILED", "KILLED"))
        table.add_row(str(cell), str(length), f"{rate:g}", *map(str, numbers), epoch)
    return table


def _places(running: pd.DataFrame) -> layout.Table:
    table = layout.table("trials", "device", "node")
    for (node, device), group in running.groupby(["node", "device"]):
        table.add_row(str(len(group)), str(device) or "not told yet", str(node) or "not told yet")
    return table
