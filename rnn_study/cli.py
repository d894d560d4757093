"""The command of a study: from the line a user types to the tables they read."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from rich.console import Console

from rnn_study import storage
from rnn_study.errors import Away, InvalidInput, require
from rnn_study.execution import Execution
from rnn_study.flags.again import command
from rnn_study.flags.study import Preset, Request, parse
from rnn_study.native import library
from rnn_study.progress import observer, say
from rnn_study.reporting import terminal
from rnn_study.tasks import TASKS, sequence_task
from rnn_study.tasks.corpus import Corpus
from rnn_study.texts import prepare

if TYPE_CHECKING:
    from rnn_study.reporting.files import Written
    from rnn_study.reporting.tables import Shown
    from rnn_study.scheduling import Report
    from rnn_study.training import Album

__all__ = ["Preset", "main"]

OK, FAILED, REFUSED = 0, 1, 2

_AGAIN = "The same command goes on from here."


def main(presets: Mapping[str, Preset], question: str, argv: Sequence[str] | None = None) -> int:
    """Run the study that `argv` asks for, print its tables, and return the exit code.

    0: every trial has a result (divergence is one), and every search its rate; 1: some have not, or
    Ray died; 2: the input
    cannot be used, and nothing was created; 130, 143: stopped by Ctrl-C or SIGTERM.
    """
    try:
        request = parse(presets, question, sys.argv[1:] if argv is None else argv)
        if request.status:
            return _status(request)
        _check(request.execution)
        again = command(presets, request.study, request.data)
        study, corpus = prepare(request.study, request.data, request.execution.corpora)
        request = replace(request, study=study)
        return _plan(request, corpus) if request.dry_run else _run(request, corpus, question, again)
    except InvalidInput as refused:
        print("error:", " ".join(str(refused).split()), file=sys.stderr)
        return REFUSED
    except Away as away:
        print(f"{away}. {_AGAIN}", flush=True)
        return FAILED
    except KeyboardInterrupt:  # before or after the study has a handler of its own
        print(_AGAIN, flush=True)
        return 128 + signal.SIGINT


def _status(request: Request) -> int:
    from rnn_study import tracking
    from rnn_study.reporting import status

    study, uri = request.study, request.execution.resolved_tracking_uri
    _console().print(status.show(study, tracking.read_status(uri, study.name)))
    return OK


def _plan(request: Request, corpus: Corpus | None) -> int:
    from rnn_study import scheduling

    study, execution = request.study, request.execution
    plan = scheduling.plan(study, execution, corpus)
    proposed = None
    if plan.searches:
        # imports matplotlib, which makes a folder in the home
        from rnn_study.reporting import searches

        proposed = searches.plan(study, plan.searches)
    facts = (plan.packs, plan.finished, plan.resources, plan.seconds, proposed)
    _console().print(terminal.plan(study, execution, *facts))
    return OK


def _run(request: Request, corpus: Corpus | None, question: str, again: str) -> int:
    from rnn_study import scheduling  # ray and mlflow take seconds to import

    name = request.study.name
    say(f"{name}: looking up finished trials; Ray starts if any are missing", sys.stdout)
    try:
        with closing(observer()) as watching:  # or an interrupted terminal keeps the live table
            report = scheduling.run(request.study, request.execution, watching, corpus)
    except scheduling.Interrupted as interrupted:
        print(f"{interrupted} {_AGAIN}", flush=True)
        return interrupted.exit_code
    _show(request, report, question, again)
    return FAILED if report.failures or report.unfinished else OK


def _show(request: Request, outcome: Report, question: str, again: str) -> None:
    """Print what a user wants to read first, then write tables, figures and the page."""
    from rnn_study import tracking
    from rnn_study.reporting import attractors, language

    study, execution = request.study, request.execution
    folder, uri = execution.results(study), execution.resolved_tracking_uri
    of_text: Mapping[str, Shown] = {}
    found, passed = None, None
    if TASKS[study.task].reads_text:
        of_text = language.tables(outcome.runs, outcome.histories)
    elif study.dynamics_every:
        passed = tracking.patiently(uri, tracking.read_bifurcations, outcome.runs)
        found = attractors.attractor_table(outcome.runs, outcome.histories, passed)
    console = _console()
    _print(console, request, outcome, of_text, found)
    console.print("Drawing the figures ...")
    began = time.perf_counter()
    written, more = _write(request, outcome, of_text, found, passed)
    _write_page(request, outcome, written, more, question, again)
    if isinstance(execution.storage, str):
        paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
        storage.publish(paths, execution.published(study))
    took = time.perf_counter() - began
    seconds = {**outcome.seconds, "wall": outcome.seconds["wall"] + took, "figures": took}
    console.print(terminal.times(seconds, len(outcome.failures)))
    console.print(f"Tables and figures: {execution.published(study)}", soft_wrap=True)
    page = tracking.patiently(uri, tracking.experiment_page, study.name)
    console.print(f"Every run, in MLflow:\n{mlflow_command(execution, page)}", soft_wrap=True)


def _print(
    console: Console,
    request: Request,
    outcome: Report,
    of_text: Mapping[str, Shown],
    found: pd.DataFrame | None,
) -> None:
    """The tables. `of_text`: those of language models; `found`: that of attractors."""
    from rnn_study import aggregate
    from rnn_study.reporting import attractors, language, searches

    study, metric = request.study, aggregate.metric_of(outcome.runs)
    console.print()
    if study.searches():
        console.print(searches.found(study, outcome.search))
        console.print()
    console.print(terminal.length_table(aggregate.length_table(outcome.runs), metric))
    console.print()
    console.print(terminal.seed_sensitivity(aggregate.seed_sensitivity(outcome.runs), metric))
    console.print()
    if len(study.cells) > 1:
        compared = aggregate.cell_comparison(outcome.runs)
        console.print(terminal.cell_comparison(compared, metric))
        console.print()
    if aggregate.crossed(outcome.runs):
        split = aggregate.variance_split(outcome.runs)
        console.print(terminal.variance_split(split, metric))
        console.print()
    if of_text:
        console.print(language.printed(of_text))
    if found is not None:
        shown = sequence_task(study.task).shown[0]
        console.print(attractors.found(found, shown))
        console.print()
    if outcome.failures:
        console.print(terminal.failures(outcome.trials, outcome.failures))
        console.print()


def _write(
    request: Request,
    outcome: Report,
    of_text: Mapping[str, Shown],
    found: pd.DataFrame | None,
    passed: pd.DataFrame | None,
) -> tuple[Written, dict[str, Shown]]:
    """Files of tables and figures, and the tables that not every study has.

    `passed`: the bifurcations, where there are `found` attractors.
    """
    from rnn_study import tracking
    from rnn_study.reporting import attractors, files, language, searches, tables

    study, uri = request.study, request.execution.resolved_tracking_uri
    folder, runs = request.execution.results(study), outcome.runs
    more = dict(of_text)
    written = files.write(runs, outcome.histories, folder)
    if study.searches():
        written |= searches.write(study, outcome.search, folder)
        more = {"learning_rates": searches.table(study, outcome.search), **more}

    def album(run_id: str) -> Album | None:
        return tracking.patiently(uri, tracking.read_album, run_id)

    if TASKS[study.task].reads_text:
        written |= language.write(of_text, runs, outcome.histories, album, folder)
    if found is not None and passed is not None:
        written |= attractors.write(found, runs, passed, album, folder)
        more["attractors"] = tables.attractors(found)
    return written, more


def _write_page(
    request: Request,
    outcome: Report,
    written: Written,
    more: Mapping[str, Shown],
    question: str,
    again: str,
) -> None:
    """`report.html`, in the folder and in MLflow."""
    from rnn_study import tracking
    from rnn_study.reporting import page

    study, uri = request.study, request.execution.resolved_tracking_uri
    run_ids = outcome.runs["run_id"]
    made_with = tracking.patiently(uri, tracking.read_environment, study.name, run_ids)
    shown = page.Page(study, question, again, outcome.runs, more, written, made_with)
    path = shown.write(request.execution.results(study))
    tracking.describe(uri, study, shown.description(), path)


def mlflow_command(execution: Execution, page: str) -> str:
    """What opens the MLflow UI on what was logged: a command and an address, or an address."""
    uri = execution.resolved_tracking_uri
    if uri.startswith(("http://", "https://")):
        return f"{terminal.without_password(uri).rstrip('/')}/{page}"
    beside = Path(sys.executable).with_name("mlflow")
    program = [str(beside)] if beside.exists() else [sys.executable, "-m", "mlflow"]
    command = shlex.join([*program, "ui", "--backend-store-uri", uri])
    return f"{command}\nthen open http://127.0.0.1:5000/{page}"


def _check(execution: Execution) -> None:
    """Refuse what cannot work on this machine, before anything is created."""
    library.switched_on()  # refuses what is no answer
    storage.check(execution.storage)
    _ = execution.resolved_tracking_uri  # refuses a bucket without a server
    at = execution.ray_address
    ray_starts_here = at == "local" or (at == "auto" and not os.environ.get("RAY_ADDRESS"))
    if execution.device == "cuda" and ray_starts_here:
        usable = torch.cuda.is_available()
        require(usable, "device", "cuda", "PyTorch sees no GPU on this machine; use auto or cpu")


def _console() -> Console:
    return Console(highlight=False, emoji=False, markup=False)
