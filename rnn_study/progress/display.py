"""What a running study shows: a live table on a terminal, plain lines in a job's log.

`Observer` is what `scheduling` reports to; `observer` picks the one that fits the output.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Protocol, runtime_checkable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rnn_study.config import Pack, Study, Trial
from rnn_study.phrases import about, count, duration, seed_range
from rnn_study.progress.tally import History, PackTally, Tally


@runtime_checkable
class Observer(Protocol):
    """Told what happens to a study, by one thread, in this order for each pack."""

    def plan(self, study: Study, packs: Sequence[Pack], finished: int) -> None:
        """Before training: the packs to train, and how many trials were finished earlier."""

    def more(self, packs: Sequence[Pack], finished: int) -> None:
        """A search brought packs that were not planned; some of its trials finished earlier."""

    def started(self, pack: Pack) -> None:
        """A pack starts; it may crash and go on from a checkpoint without a word."""

    def epochs(self, pack: Pack, histories: Mapping[str, History]) -> None:
        """New epochs, by trial id, since the last report."""

    def finished(self, trial: Trial, summary: Mapping[str, float]) -> None:
        """A trial ended: solved, diverged, stopped by a search, or at its last epoch; also one of
        no pack."""

    def failed(self, trials: Sequence[Trial], reason: str) -> None:
        """Trials of one pack ended without a result; none did, if the pack failed after them."""

    def ended(self, pack: Pack) -> None:
        """A pack has no trials left."""

    def close(self) -> None:
        """Nothing follows, also after an interruption. A second call does nothing."""


def observer(file: IO[str] | None = None) -> Observer:
    """A live table if `file` (default: standard output) is a terminal that can, else lines."""
    file = file or sys.stdout
    if file.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", ""):
        return Progress(Console(file=file, highlight=False))
    return PlainProgress(file)


def say(text: str, file: IO[str]) -> None:
    """Print a line at once. A reader that went away, as `tee` does at Ctrl-C, ends no study."""
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())  # or Python fails again when it flushes at its end
        os.close(nowhere)


class PlainProgress:
    """A line when a pack starts and ends, and every now and then between.

    The time between two lines of a pack grows with the packs that run at once and with the time
    gone, so that a large or long study does not flood its log.
    """

    def __init__(
        self, file: IO[str], clock: Callable[[], float] = time.monotonic, interval: float = 20.0
    ) -> None:
        self._file = file
        self._clock = clock
        self._interval = interval
        self._tally = Tally(clock)
        self._spoke: dict[str, float] = {}
        self._closed = False

    def plan(self, study: Study, packs: Sequence[Pack], finished: int) -> None:
        self._tally.plan(study, packs, finished)
        self._say(plan_line(self._tally))

    def more(self, packs: Sequence[Pack], finished: int) -> None:
        self._tally.more(packs, finished)

    def started(self, pack: Pack) -> None:
        self._report(self._tally.started(pack), "started")

    def epochs(self, pack: Pack, histories: Mapping[str, History]) -> None:
        tally, now = self._tally.epochs(pack, histories), self._clock()
        quiet = max(self._interval, 2.5 * len(self._tally.running), self._tally.elapsed / 60)
        if now - self._spoke[tally.first.id] >= quiet:
            self._report(tally, _state(tally))

    def finished(self, trial: Trial, summary: Mapping[str, float]) -> None:
        self._tally.finished(trial, summary)

    def failed(self, trials: Sequence[Trial], reason: str) -> None:
        if trials:
            self._tally.fail(trials)
            self._say(f"{self._tally.label(trials)}: failed: {_one_line(reason)}")

    def ended(self, pack: Pack) -> None:
        tally = self._tally.ended(pack)
        self._report(tally, f"ended, {_state(tally)}")

    def close(self) -> None:
        if self._tally.packs and not self._closed:
            self._say(closing_line(self._tally))
        self._closed = True

    def _report(self, tally: PackTally, what: str) -> None:
        self._spoke[tally.first.id] = self._clock()
        left = self._tally.seconds_left()
        rest = f", about {about(left)} left" if left else ""
        done = f"{self._tally.done} of {self._tally.total} trials done"
        self._say(f"{self._tally.label(tally.pack.trials)}: {what}; {done}{rest}")

    def _say(self, text: str) -> None:
        say(f"[{duration(self._tally.elapsed):>5}] {text}", self._file)


class Progress:
    """A live table on a terminal: what is done and left, and a row a running pack.

    `accuracy` (the task's metric) is the median over the pack's seeds of their last validation
    value, and `best` the best of any so far.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._tally = Tally(clock)
        self._lock = threading.RLock()  # rich draws from a thread of its own
        self._live: Live | None = None

    def plan(self, study: Study, packs: Sequence[Pack], finished: int) -> None:
        self._tally.plan(study, packs, finished)
        self._console.print(plan_line(self._tally), highlight=False)
        if packs:
            self._live = Live(self, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def more(self, packs: Sequence[Pack], finished: int) -> None:
        with self._lock:
            self._tally.more(packs, finished)

    def started(self, pack: Pack) -> None:
        with self._lock:
            self._tally.started(pack)

    def epochs(self, pack: Pack, histories: Mapping[str, History]) -> None:
        with self._lock:
            self._tally.epochs(pack, histories)

    def finished(self, trial: Trial, summary: Mapping[str, float]) -> None:
        with self._lock:
            self._tally.finished(trial, summary)

    def failed(self, trials: Sequence[Trial], reason: str) -> None:
        if not trials:
            return
        with self._lock:
            self._tally.fail(trials)
        message = Text(f"{self._tally.label(trials)}: failed: {_one_line(reason)}", style="red")
        self._console.print(message)  # above the table, where it stays

    def ended(self, pack: Pack) -> None:
        with self._lock:
            self._tally.ended(pack)

    def close(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None
            self._console.print(closing_line(self._tally))

    def __rich__(self) -> Group:
        with self._lock:
            return Group(self._bar(), self._counts(), *self._running())

    def _bar(self) -> Table:
        tally, left = self._tally, self._tally.seconds_left()
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(
            ProgressBar(total=1.0, completed=tally.share, width=24),
            f"{tally.done}/{tally.total} trials",
            duration(tally.elapsed),
            "" if left is None else f"about {about(left)} left",
        )
        return bar

    def _counts(self) -> Text:
        tally = self._tally
        waiting = len(tally.waiting)
        counts = (
            (tally.earlier, f"{tally.earlier} finished earlier", "dim"),
            (tally.solved, f"{tally.solved} solved", "green"),
            (tally.diverged, f"{tally.diverged} diverged", "yellow"),
            (tally.stopped, f"{tally.stopped} stopped as hopeless", "dim"),
            (tally.failed, f"{tally.failed} failed", "red"),
            (waiting, f"{count(waiting, 'pack')} waiting", "dim"),
        )
        return Text("  ").join(Text(text, style=style) for number, text, style in counts if number)

    def _running(self) -> list[Table | Text]:
        """A row for each running pack, as many as the terminal has lines for."""
        running = self._tally.running
        room = self._console.height - 6  # the head, the table's head, blank lines, "more"
        shown = running if len(running) <= room + 1 else running[: max(room, 0)]
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("running", overflow="ellipsis")  # the one column that may be cut
        titles = ["length", "seeds", "epoch", *(tally.metric.name for tally in running[:1]), "best"]
        for title in (*titles, *["solved"] * self._tally.goal, "diverged"):
            table.add_column(title, justify="right", no_wrap=True)
        for tally in shown:
            table.add_row(
                tally.first.cell + self._tally.rates(tally.pack.trials),
                str(tally.first.length),
                seed_range(tally.pack.trials),
                f"{tally.epoch}/{tally.first.epochs}",
                *(
                    "" if math.isnan(value) else tally.metric.text(value, 2)
                    for value in (tally.median, tally.top)
                ),
                *[_count(tally.solved, "green")] * self._tally.goal,
                _count(tally.diverged, "yellow"),
            )
        hidden = len(running) - len(shown)
        more = [Text(f"and {count(hidden, 'more pack')}", style="dim")] if hidden else []
        return [Text(), table, *more] if running else []


def _count(number: int, style: str) -> Text:
    return Text(str(number), style=style if number else "dim")


def plan_line(tally: Tally) -> str:
    """What there is to do: `study: 45 trials, 12 finished earlier, 33 to train in 9 packs`."""
    earlier = f", {tally.earlier} finished earlier" if tally.earlier else ""
    trials = sum(len(pack.pack.trials) for pack in tally.packs)
    todo = (
        f"{trials} to train in {count(len(tally.packs), 'pack')}" if trials else "nothing to train"
    )
    search = f" ({tally.searching} to search learning rates)" if tally.searching else ""
    first = " first" if tally.later_cost else ""
    return f"{tally.name}: {count(tally.total, 'trial')}{search}{earlier}, {todo}{first}"


def closing_line(tally: Tally) -> str:
    """What was done: `45 of 45 trials done after 3:12; 30 solved, 2 diverged, 0 failed`."""
    solved = f"{tally.solved} solved, " if tally.goal else ""
    stopped = f"{tally.stopped} stopped as hopeless, " if tally.searching else ""
    counts = f"{solved}{tally.diverged} diverged, {stopped}{tally.failed} failed"
    now = " this time" if tally.earlier else ""
    return (
        f"{tally.done} of {tally.total} trials done after {duration(tally.elapsed)};{now} {counts}"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _state(tally: PackTally) -> str:
    metric, value = tally.metric, ""
    if not math.isnan(tally.median):
        value = f", median {metric.name} {metric.text(tally.median, 2)}"
    solved = "" if metric.goal is None else f"solved {tally.solved}, "
    return f"epoch {tally.epoch}/{tally.first.epochs}{value}, {solved}diverged {tally.diverged}"
