"""Counts of a running study, and the time that is left, on a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pretended import PACKS, STUDY, UNSOLVED, Clock, reached, solved_at

from rnn_study.config import Pack
from rnn_study.phrases import about, duration, seed_range
from rnn_study.progress.tally import Tally


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestTimeLeft:
    @pytest.fixture
    def tally(self, clock) -> Tally:
        tally = Tally(clock)
        tally.plan(STUDY, PACKS, 0)
        return tally

    def train(self, tally: Tally, clock: Clock, pack: Pack, seconds: float, epochs: int) -> None:
        tally.started(pack)
        clock.now += seconds
        tally.epochs(pack, reached(pack, 1, epochs, 0.3, 0.3, 0.3))

    def test_unknown_before_the_first_report(self, tally):
        tally.started(PACKS[0])
        assert tally.seconds_left() is None

    def test_follows_the_cost(self, tally, clock):
        """The first pack trains half of its epochs in 30 s; nothing is known of the others."""
        self.train(tally, clock, PACKS[0], 30.0, 30)
        assert tally.seconds_left() == pytest.approx(60 + 30 + 15 + 7.5 - 30)

    def test_each_cell_has_its_own_speed(self, tally, clock):
        self.train(tally, clock, PACKS[0], 30.0, 60)
        for trial in PACKS[0].trials:
            tally.finished(trial, UNSOLVED)
        tally.ended(PACKS[0])
        self.train(tally, clock, PACKS[2], 100.0, 30)
        # the lstm of length 50, and of the orthogonal RNN half a pack of 200 s and one of 100 s
        assert tally.seconds_left() == pytest.approx(15 + 100 + 100)

    def test_early_ends_shorten_it(self, tally, clock):
        self.train(tally, clock, PACKS[0], 30.0, 30)
        before = tally.seconds_left()
        for trial in PACKS[0].trials:
            tally.finished(trial, solved_at(30.0))
        tally.ended(PACKS[0])
        assert tally.seconds_left() == pytest.approx((30 + 15 + 7.5) / 2)
        assert tally.seconds_left() < before - 30.0

    def test_is_at_least_that_of_the_slowest_running_pack(self, tally, clock):
        for pack in PACKS:
            tally.started(pack)
        clock.now += 10.0
        for pack in PACKS:
            tally.epochs(pack, reached(pack, 1, 59, 0.3, 0.3, 0.3))
        clock.now += 100.0
        tally.epochs(PACKS[0], reached(PACKS[0], 60, 60, 0.3, 0.3, 0.3))
        assert tally.seconds_left() == pytest.approx(10.0 / 59)

    def test_a_resumed_pack_has_done_only_what_it_reports(self, tally, clock):
        tally.started(PACKS[0])
        clock.now += 10.0
        tally.epochs(PACKS[0], reached(PACKS[0], 41, 50, 0.3, 0.3, 0.3))
        assert tally.of(PACKS[0].trials).open_cost == pytest.approx(PACKS[0].cost / 6)
        assert tally.of(PACKS[0].trials).spent == pytest.approx(PACKS[0].cost / 6)

    def test_a_crash_throws_epochs_back(self, tally, clock):
        self.train(tally, clock, PACKS[0], 30.0, 30)
        clock.now += 30.0
        tally.epochs(PACKS[0], reached(PACKS[0], 11, 20, 0.3, 0.3, 0.3))
        assert tally.of(PACKS[0].trials).epoch == 20
        assert tally.of(PACKS[0].trials).spent == pytest.approx(PACKS[0].cost * 40 / 60)

    def test_share_runs_from_zero_to_one(self, tally, clock):
        assert tally.share == 0.0
        for pack in PACKS:
            self.train(tally, clock, pack, 10.0, 60)
            for trial in pack.trials:
                tally.finished(trial, UNSOLVED)
            tally.ended(pack)
        assert tally.share == pytest.approx(1.0)
        assert tally.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00"), (42.9, "0:42"), (190.0, "3:10"), (3723.0, "1:02:03"), (442_800.0, "5 d 3 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.0, "0:05"), (121.0, "2:10"), (601.0, "11:00"), (7199.0, "2:00:00")]
)
def test_guesses_are_rounded_up(seconds, text):
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([5], "5"), ([0, 1, 2], "0-2"), ([7, 2, 5], "2, 5, 7"), ([1, 3, 5, 9], "1, 3, … 9")],
)
def test_seed_ranges(seeds, text):
    trial = STUDY.trials()[0]
    assert seed_range([replace(trial, seed=seed) for seed in seeds]) == text
