"""What a search shows: progress as rounds come in, the table of what was found, and the figure."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latex import assert_compiles, assert_is_latex, needs_latex
from matplotlib.figure import Figure
from pretended import Clock
from rich.console import Console
from searched import ACCURACY, STUDY, trained

from rnn_study import figures
from rnn_study.progress import PlainProgress, Progress
from rnn_study.progress.tally import Tally
from rnn_study.reporting import searches
from rnn_study.scheduling import outcomes
from rnn_study.scheduling.agenda import Agenda
from rnn_study.scheduling.outcomes import Outcomes
from rnn_study.scheduling.plan import Searching
from rnn_study.search import Course, Rule


def empty(trials) -> dict:
    return {}


def drive(watching) -> Agenda:
    """A search from its plan to its end, as a listener tells it."""
    agenda = Agenda(STUDY, ACCURACY, 6, set(), empty)
    watching.plan(STUDY, agenda.ready, agenda.earlier)
    while (job := agenda.next()) is not None:
        watching.started(job.pack)
        rates = sorted({trial.learning_rate for trial in job.pack.trials})
        for rate in rates:
            mine = [trial for trial in job.pack.trials if trial.learning_rate == rate]
            full = {trial.id: trained(trial) for trial in mine}
            result = None
            if job.rule:
                rule = Rule.from_json(job.rule, ACCURACY, STUDY.epochs)
                result = rule.judge([*full.values()])
            last = (result.stopped if result else None) or STUDY.epochs
            for trial in mine:
                whole = full[trial.id].history
                past = {name: column[:last] for name, column in whole.items()}
                watching.epochs(job.pack, {trial.id: past})
                stopped = {"stopped": 1.0} if last < STUDY.epochs else {}
                watching.finished(trial, {"epochs_trained": float(last)} | stopped)
                due, earlier = agenda.learn(trial.id, Course(past, last == STUDY.epochs))
                if due or earlier:
                    watching.more(due, earlier)
        agenda.ended()
        watching.ended(job.pack)
    watching.close()
    return agenda


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[Outcomes, list[str]]:
    """What a search found, and the lines of its progress."""
    path = tmp_path_factory.mktemp("watched") / "log.txt"
    with path.open("w") as file:
        agenda = drive(PlainProgress(file, Clock()))
    return outcomes.of(agenda.searches.values()), path.read_text().splitlines()


@pytest.fixture
def found(watched) -> Outcomes:
    return watched[0]


class TestProgress:
    def test_lines_name_the_rates_and_count_to_the_end(self, watched):
        found, lines = watched
        total = 2 * 11 * 3 + 12
        assert f"{total} trials (66 to search learning rates)" in lines[0]
        assert lines[0].endswith("packs first")
        rate = found.proposals["learning_rate"].iloc[0]
        assert any("seeds 10000-10002" in line and f"{rate:g}" in line for line in lines)
        stopped = 3 * int(found.proposals["stopped_at"].notna().sum())
        assert f"{total} of {total} trials done" in lines[-1]
        assert f"{stopped} stopped as hopeless, 0 failed" in lines[-1]
        orthogonal = [line for line in lines if "orthogonal" in line]
        assert orthogonal and not any("rate" in line.split(";")[0] for line in orthogonal)

    def test_the_share_done_grows_while_rounds_come_in(self, tmp_path):
        shares: list[float] = []

        class Watching(PlainProgress):
            def finished(self, trial, summary):
                super().finished(trial, summary)
                shares.append(self._tally.share)

        with (tmp_path / "log.txt").open("w") as file:
            drive(Watching(file, Clock()))
        assert shares == sorted(shares)
        assert shares[0] < 0.1 and shares[-1] == pytest.approx(1.0)

    def test_the_live_table_names_the_rates(self):
        console = Console(file=io.StringIO(), width=120, force_terminal=True, height=30)
        shown = Progress(console, Clock())
        agenda = Agenda(STUDY, ACCURACY, 3, set(), empty)
        shown._tally = Tally(Clock())
        shown._tally.plan(STUDY, agenda.ready, 0)
        job = agenda.next()
        shown.started(job.pack)
        console.print(shown)
        rate = job.pack.trials[0].learning_rate
        assert f"{job.pack.trials[0].cell}, rate {rate:g}" in console.file.getvalue()


def text(part) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(part)
    return console.file.getvalue()


class TestTables:
    def test_what_was_found_and_what_stopping_cost_and_saved(self, found):
        shown = text(searches.found(STUDY, found))
        proposals = found.proposals
        for row in proposals[proposals["winner"]].itertuples():
            line = next(each for each in shown.splitlines() if f" {row.learning_rate:g} " in each)
            mine = proposals[proposals["length"] == row.length]
            assert f"{row.value:.3f}" in line and "11/11" in line
            assert f"{mine['epochs'].sum():,}" in line and f"{mine['epochs_saved'].sum():,}" in line
        stopped = proposals[proposals["stopped_at"].notna()]
        assert f"after {stopped['epochs'].sum()} epochs" in shown
        assert f"saved up to {stopped['epochs_saved'].sum()}" in shown
        assert "edge of the range" not in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_a_rate_at_the_edge_of_its_range_is_pointed_out(self, found):
        high = float(found.proposals["learning_rate"].max()) * 1.001
        edge = found.proposals.assign(
            winner=found.proposals["learning_rate"] == found.proposals["learning_rate"].max()
        )
        search = replace(STUDY.searches()["lstm", 50], high=high)
        study = replace(STUDY, learning_rate={"lstm": search, "orthogonal": 1e-2})
        shown = text(searches.found(study, Outcomes(edge, found.seeds)))
        assert shown.count("at the edge of the range; widen it.") == int(edge["winner"].sum())

    def test_a_search_without_its_rate_says_so(self, found):
        none = found.proposals.assign(winner=False)
        shown = text(searches.found(STUDY, Outcomes(none, found.seeds)))
        assert shown.count("not finished; the same command goes on.") == 2

    def test_a_plan_says_what_will_be_searched(self):
        planned = [Searching(c, s, 4, None) for c, s in STUDY.searches().items()]
        shown = text(searches.plan(STUDY, planned))
        assert (
            "0.0001 and 0.1" in shown and "3 fresh seeds" in shown and "4 rates at a time" in shown
        )
        assert max(map(len, shown.splitlines())) <= 80

    def test_a_long_name_of_a_cell_cuts_no_number_off(self):
        search = STUDY.searches()["lstm", 50]
        planned = [Searching(("stable_lstm_provable", 500), search, 10, 0.00123)]
        shown = text(searches.plan(STUDY, planned))
        (row,) = (line for line in shown.splitlines() if " 500 " in line)
        assert row.split()[1:] == ["500", "0.0001", "and", "0.1", "11", "10", "3", "iqm", "0.00123"]
        assert "\N{HORIZONTAL ELLIPSIS}" not in shown

    def test_a_search_that_has_not_begun_writes_empty_tables(self, tmp_path):
        nothing = outcomes.of([])
        paths = searches.write(STUDY, nothing, tmp_path)
        tables = [f"learning_rates.{kind}" for kind in ("csv", "md", "tex")]
        assert [path.name for path in paths] == [*tables, "search.csv", "search_seeds.csv"]
        assert text(searches.found(STUDY, nothing)).count("n/a") == 2 * 2

    def test_the_files_say_what_the_terminal_says(self, found, tmp_path):
        paths = {path.name: path for path in searches.write(STUDY, found, tmp_path)}
        rates = pd.read_csv(paths["learning_rates.csv"])
        assert rates[["cell", "length"]].to_numpy().tolist() == [["lstm", 50], ["lstm", 53]]
        winners = found.proposals[found.proposals["winner"]]
        assert rates["learning_rate"].tolist() == winners["learning_rate"].tolist()
        assert rates["value"].tolist() == winners["value"].tolist()
        assert rates["epochs"].sum() == found.proposals["epochs"].sum()
        assert rates["epochs_saved"].sum() == found.proposals["epochs_saved"].sum()
        lines = paths["learning_rates.md"].read_text().splitlines()
        for line, row in zip(lines[2:4], rates.itertuples(), strict=True):
            cells = [cell.strip() for cell in line.split("|")][1:-1]
            expected = ["lstm", f"{row.length}", f"{row.learning_rate:g}", f"{row.value:.3f}"]
            assert cells[:5] == [*expected, "11/11"]
        assert_is_latex(paths["learning_rates.tex"].read_text())

    @needs_latex
    def test_latex_compiles(self, found, tmp_path):
        for outcome in (found, outcomes.of([])):
            paths = searches.write(STUDY, outcome, tmp_path)
            tables = [path.read_text() for path in paths if path.suffix == ".tex"]
            assert_compiles(tables, tmp_path)


class TestFigure:
    def test_every_seed_is_a_dot_at_its_rate_and_the_winner_has_a_line(self, found):
        lstm = [frame[frame["length"] == 50] for frame in (found.proposals, found.seeds)]
        ax = figures.searches.objective_by_rate(*lstm, Figure().subplots(), ACCURACY)
        dots = np.concatenate([part.get_offsets() for part in ax.collections])
        expected = lstm[1][["learning_rate", "value"]].to_numpy()
        assert sorted(map(tuple, dots)) == sorted(map(tuple, expected))
        assert ax.get_xscale() == "log"
        lines = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert lstm[0].loc[lstm[0]["winner"], "learning_rate"].item() in lines

    def test_a_panel_a_condition(self, found):
        figure = figures.searches.searches(found.proposals, found.seeds, ACCURACY)
        assert [ax.get_title() for ax in figure.axes] == ["length 50", "length 53"]
        drawn = sum(len(part.get_offsets()) for ax in figure.axes for part in ax.collections)
        assert drawn == len(found.seeds) == 2 * 11 * 3
