"""What a running study shows: synthetic histories in, text out, on a clock of the test's own."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pretended import DIVERGED, PACKS, STUDY, UNSOLVED, Clock, reached, solved_at
from rich.console import Console

from rnn_study.config import packs
from rnn_study.progress import PlainProgress, Progress, observer


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestPlain:
    @pytest.fixture
    def log(self, tmp_path) -> Path:
        return tmp_path / "log"

    @pytest.fixture
    def plain(self, log, clock):
        with log.open("w") as file:
            yield PlainProgress(file, clock)

    def test_tells_a_pack_from_start_to_end(self, plain, log, clock):
        plain.plan(replace(STUDY, seeds=range(4)), PACKS, 4)
        pack = PACKS[0]
        plain.started(pack)
        for last in range(4, 61, 4):
            clock.now += 6.0
            plain.epochs(pack, reached(pack, last - 3, last, 0.25, 0.52, 0.75))
        plain.finished(pack.trials[0], solved_at(60.0))
        plain.finished(pack.trials[1], UNSOLVED)
        plain.finished(pack.trials[2], DIVERGED)
        plain.ended(pack)
        plain.close()
        plain.close()
        who = "lstm, length 100, seeds 0-2"
        assert log.read_text().splitlines() == [
            "[ 0:00] progress: 16 trials, 4 finished earlier, 12 to train in 4 packs",
            f"[ 0:00] {who}: started; 4 of 16 trials done",
            f"[ 0:24] {who}: epoch 16/60, median accuracy 0.52, solved 0, diverged 0; "
            "4 of 16 trials done, about 2:30 left",
            f"[ 0:48] {who}: epoch 32/60, median accuracy 0.52, solved 0, diverged 0; "
            "4 of 16 trials done, about 2:10 left",
            f"[ 1:12] {who}: epoch 48/60, median accuracy 0.52, solved 0, diverged 0; "
            "4 of 16 trials done, about 1:40 left",
            f"[ 1:30] {who}: ended, epoch 60/60, median accuracy 0.75, solved 1, diverged 1; "
            "7 of 16 trials done, about 1:00 left",
            "[ 1:30] 7 of 16 trials done after 1:30; this time 1 solved, 1 diverged, 0 failed",
        ]

    def test_speaks_seldom_when_many_packs_run(self, plain, log, clock):
        study = replace(STUDY, seeds=range(64))
        many = packs(study.trials(), 4)
        plain.plan(study, many, 0)
        for pack in many:
            plain.started(pack)
        before = len(log.read_text().splitlines())
        for epoch in range(1, 31):
            clock.now += 4.0
            for pack in many:
                plain.epochs(pack, reached(pack, epoch, epoch, 0.3, 0.3, 0.3, 0.3))
        lines = log.read_text().splitlines()[before:]
        assert len(lines) < 120 / 2  # two minutes, 64 packs: less than a line in two seconds

    def test_a_failure_is_one_line_with_its_reason(self, plain, log):
        plain.plan(STUDY, PACKS, 0)
        plain.started(PACKS[0])
        plain.failed(PACKS[0].trials[1:], "RuntimeError: out of\nmemory")
        plain.failed([], "the pack had none left")
        plain.ended(PACKS[0])
        plain.close()
        lines = log.read_text().splitlines()
        assert lines[2].endswith(", length 100, seeds 1-2: failed: RuntimeError: out of memory")
        assert lines[-1].endswith("; 0 solved, 0 diverged, 2 failed")

    def test_a_trial_of_no_pack_counts(self, plain, log):
        """It was trained before the driver died, and is only recorded now."""
        plain.plan(STUDY, PACKS[1:], 0)
        plain.finished(PACKS[0].trials[0], solved_at(5.0))
        plain.close()
        assert log.read_text().endswith(
            "1 of 12 trials done after 0:00; 1 solved, 0 diverged, 0 failed\n"
        )

    def test_values_that_are_not_finite(self, plain, log, clock):
        plain.plan(STUDY, PACKS, 0)
        plain.started(PACKS[0])
        clock.now += 30.0
        plain.epochs(PACKS[0], reached(PACKS[0], 1, 5, np.nan, np.nan, np.nan))
        assert "nan" not in log.read_text()

    def test_a_reader_that_goes_away_ends_no_study(self, clock):
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as file:
            plain = PlainProgress(file, clock)
            plain.plan(STUDY, PACKS, 0)
            os.close(reader)
            plain.started(PACKS[0])
            plain.ended(PACKS[0])
            plain.close()

    def test_nothing_to_train(self, plain, log):
        plain.plan(STUDY, [], 12)
        plain.close()
        said = "[ 0:00] progress: 12 trials, 12 finished earlier, nothing to train\n"
        assert log.read_text() == said


class TestLive:
    @pytest.fixture
    def console(self) -> Console:
        return Console(
            file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None
        )

    @pytest.fixture
    def live(self, console, clock):
        live = Progress(console, clock)
        yield live
        live.close()

    def screen(self, live: Progress, width: int = 80) -> list[str]:
        console = Console(width=width, height=24, color_system=None)
        with console.capture() as capture:
            console.print(live)
        return [line.rstrip() for line in capture.get().splitlines()]

    def test_a_head_and_a_row_for_each_running_pack(self, live, clock):
        live.plan(replace(STUDY, seeds=range(4)), PACKS, 4)
        for pack in PACKS[:2]:
            live.started(pack)
        clock.now += 30.0
        for pack in PACKS[:2]:
            live.epochs(pack, reached(pack, 1, 20, 0.25, 0.52, 0.75))
        live.finished(PACKS[0].trials[0], solved_at(20.0))
        live.finished(PACKS[1].trials[0], DIVERGED)
        clock.now += 12.0
        bar, counts, blank, head, *rows = self.screen(live)
        assert bar.endswith("  6/16 trials  0:42  about 1:00 left")
        assert counts == "4 finished earlier  1 solved  1 diverged  2 packs waiting"
        assert blank == ""
        assert head.split()[-2:] == ["solved", "diverged"]
        assert [row.split() for row in rows] == [
            ["lstm", "100", "0-2", "20/60", "0.75", "1.00", "1", "0"],
            ["lstm", "50", "0-2", "20/60", "0.52", "0.75", "0", "1"],
        ]

    def test_fits_80_columns_at_its_widest(self, live, clock):
        study = replace(
            STUDY,
            name="n" * 90,
            cells=("stable_lstm_provable",),
            epochs=15_000,
            seeds=range(7, 700, 7),
        )
        widest = packs(study.trials(), 50)
        live.plan(study, widest, 1000)
        for pack in widest:
            live.started(pack)
            clock.now += 5e4
            live.epochs(pack, reached(pack, 1, 12_000, *[0.5] * 50))
            for trial in pack.trials[1:]:
                live.finished(trial, DIVERGED)
        screen = self.screen(live)
        assert max(map(len, screen)) <= 80
        assert "12000/15000" in screen[-1]
        assert "diverged" in screen[3]

    def test_shows_as_many_packs_as_the_terminal_has_lines_for(self, live, console):
        many = packs(replace(STUDY, seeds=range(60)).trials(), 3)
        live.plan(STUDY, many, 0)
        for pack in many:
            live.started(pack)
        screen = self.screen(live)
        assert len(screen) <= console.height - 1
        assert screen[-1] == f"and {len(many) - (len(screen) - 5)} more packs"

    def test_close_leaves_what_was_done(self, live, console, clock):
        live.plan(STUDY, PACKS, 0)
        live.started(PACKS[0])
        live.failed(PACKS[0].trials, "RuntimeError: no luck")
        clock.now += 192.0
        live.close()
        text = console.file.getvalue()
        assert "length 100, seeds 0-2: failed: RuntimeError: no luck" in text
        assert text.endswith("0 of 12 trials done after 3:12; 0 solved, 0 diverged, 3 failed\n")
        assert "\N{ESCAPE}[?25h" in text  # the cursor is back


class TestChoice:
    @pytest.fixture
    def terminal(self):
        main, other = os.openpty()
        with os.fdopen(other, "w") as file:
            yield file
        os.close(main)

    def test_a_terminal_gets_a_table(self, terminal, monkeypatch):
        monkeypatch.setenv("TERM", "xterm-256color")
        assert isinstance(observer(terminal), Progress)

    @pytest.mark.parametrize("term", ["dumb", ""])
    def test_a_dumb_terminal_gets_lines(self, terminal, monkeypatch, term):
        monkeypatch.setenv("TERM", term)
        assert isinstance(observer(terminal), PlainProgress)

    def test_a_file_gets_lines(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TERM", "xterm-256color")
        with (tmp_path / "log").open("w") as file:
            assert isinstance(observer(file), PlainProgress)
