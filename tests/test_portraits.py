"""Albums: the bifurcations that are read from them, over seeds, and their pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from latex import assert_compiles, assert_is_latex, needs_latex
from matplotlib.figure import Figure
from rich.console import Console
from small import TRIAL
from test_diagrams import assert_all_is_inside

from rnn_study import aggregate, chaotic_lstm, figures
from rnn_study.config import Pack
from rnn_study.dynamics import Kind, Portrait
from rnn_study.reporting import albums, attractors, files, tables
from rnn_study.tasks import TASKS
from rnn_study.training import Album, Checkpoints, Network, train
from rnn_study.training.watch import Watch, column

CHAOTIC = replace(TRIAL, task="sine", length=37, hidden=2, dynamics_every=1)


def album_of(*scales: float) -> Album:
    """Portraits of the paper's LSTM of two units, its weights scaled."""
    return album_with(torch.tensor(scales)[:, None, None] * chaotic_lstm.theta_true()["w_h"])


def album_with(w_h: torch.Tensor) -> Album:
    """Portraits of LSTMs of two units without input or biases; `w_h` (epochs, 2, 8)."""
    s = w_h[:, 0, 0]
    drawn = chaotic_lstm.theta_true() | {"w_h": w_h}
    drawn = {name: value.expand(len(s), *value.shape[1:]) for name, value in drawn.items()}
    params = {k: v.float().numpy() for k, v in drawn.items()}
    params |= {"w_out": np.ones((len(s), 2, 1), "f4"), "b_out": np.zeros((len(s), 1), "f4")}
    network = Network(CHAOTIC)
    flat = network.flatten([{k: v[i] for k, v in params.items()} for i in range(len(s))])
    found, _ = Watch(network).look([CHAOTIC] * len(s), flat)
    fields = {k: np.stack([getattr(p, k) for p in found]) for k in found[0].arrays()}
    probes = tuple(TASKS["sine"].probes())
    return Album(np.arange(1, len(s) + 1), probes, Portrait(**fields), params)


BIRTH = (1.25 + np.sqrt(10)) / 5.625
"""The s at which the origin's eigenvalue 1/2 + s (-5 + i sqrt 20) / 4 has absolute value one."""


def test_the_bifurcation_of_a_network_is_that_of_its_jacobian() -> None:
    """In closed form: without biases, the Jacobian at the origin has the eigenvalues of W_g."""
    table = albums.bifurcations_of(CHAOTIC, album_of(0.55, 0.6, 1.6))
    (row,) = table.to_dict("records")
    assert (row["input"], row["before"], row["after"]) == ("0.218", 2, 3)
    assert row["kind_before"] == "fixed point" and row["kind_after"] == "cycle"
    assert row["bifurcation"].split(", ")[0] == "Neimark-Sacker" and row["gains"]


def test_a_birth_has_its_multiplier_and_its_period_and_is_undone_backwards() -> None:
    forth = albums.bifurcations_of(CHAOTIC, album_of(0.73, 1.0)).iloc[0]
    back = albums.bifurcations_of(CHAOTIC, album_of(1.0, 0.73)).iloc[0]
    eigenvalue = 0.5 + (BIRTH + 0.0) * complex(-5, np.sqrt(20)) / 4
    assert abs(eigenvalue) == pytest.approx(1)
    for row in (forth, back):
        assert row["bifurcation"] == "Neimark-Sacker"
        assert 1 < row["multiplier"] < 1.06
        assert row["period"] == pytest.approx(2 * np.pi / np.angle(eigenvalue), rel=0.02)
    assert forth["gains"] and not back["gains"]


def test_every_bifurcation_that_is_passed_has_a_row() -> None:
    """In closed form: with weights of g alone, a unit's own, c' is (1/2 + w / 4) c at the origin,
    which a unit leaves by a period doubling where w passes -6."""
    w_h = torch.zeros(2, 2, 8, dtype=torch.float64)
    w_h[1, 0, 6], w_h[1, 1, 7] = -9, -14
    table = albums.bifurcations_of(CHAOTIC, album_with(w_h))
    assert table["bifurcation"].tolist() == ["period doubling"] * 2 and table["gains"].all()
    # at 6/14 and 6/9 of the way, found at the next eighths
    expected = [abs(0.5 - 14 / 4 * 4 / 8), abs(0.5 - 9 / 4 * 6 / 8)]
    assert table["multiplier"].tolist() == pytest.approx(expected)
    assert table["period"].tolist() == pytest.approx([2, 2])
    assert (table["kind_before"] == "fixed point").all() and len(set(table["kind_after"])) == 1
    back = albums.bifurcations_of(CHAOTIC, album_with(w_h.flip(0)))
    assert back["bifurcation"].tolist() == ["period doubling"] * 2 and not back["gains"].any()


def test_where_nothing_changes_there_is_no_row() -> None:
    assert albums.bifurcations_of(CHAOTIC, album_of(0.55, 0.56, 0.6)).empty


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A symbol trial, and the folder of its portraits."""
    trial = replace(TRIAL, dynamics_every=1)
    checkpoints = Checkpoints(tmp_path_factory.mktemp("portraits"))
    for _ in train(Pack((trial,)), "cpu", checkpoints):
        pass
    return trial, checkpoints.portraits(trial)


def test_a_run_gets_its_album_its_bifurcations_and_its_picture(trained, tmp_path: Path) -> None:
    trial, pages = trained
    albums.write(trial, pages, 3, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "attractors.npz", "attractors.png", "bifurcations.csv"
    }  # fmt: skip
    album = Album.load(tmp_path / "attractors.npz")
    assert album.epochs.tolist() == [1, 2, 3]
    assert (tmp_path / "attractors.png").read_bytes().startswith(b"\x89PNG")
    assert [*pd.read_csv(tmp_path / "bifurcations.csv")] == [*albums.COLUMNS]


def test_figures_show_every_point_in_its_place(trained, tmp_path: Path) -> None:
    trial, pages = trained
    albums.write(trial, pages, 3, tmp_path)
    album = Album.load(tmp_path / "attractors.npz")
    figure = figures.portraits.all_pairs("the LSTM", trial, album)
    panels = [ax for ax in figure.axes if ax.name == "3d"]
    assert len(panels) == 6 * 4
    drawn = panels[7].collections[0]  # input q, output qq
    assert panels[7].get_title() == "input q, output qq"
    at, value, change = (np.asarray(axis) for axis in drawn._offsets3d)
    orbits = album.portraits.orbits[:, 1, :, -100:, 3]
    np.testing.assert_array_equal(value, orbits[..., 1:].ravel())
    np.testing.assert_array_equal(change, np.diff(orbits, axis=-1).ravel())
    np.testing.assert_array_equal(at, np.repeat([1, 2, 3], 4 * 99))
    together = figures.portraits.compared({"one": (trial, album), "other": (trial, album)})
    titles = [ax.get_title() for ax in together.axes if ax.name == "3d"]
    assert titles[:2] == [f"one\ninput {probe}, output pp" for probe in "pb"]  # as in the paper
    for each in (
        figure,
        figures.portraits.of_run(trial, album),
        together,
        figures.portraits.compared({"lone": (CHAOTIC, album_of(0.6, 1.0))}),
    ):
        assert isinstance(each, Figure)
        assert_all_is_inside(each)
    bar = each.axes[-1].get_window_extent()
    assert each.axes[0].zaxis.label.get_window_extent().x1 < bar.x0


class TestTable:
    """Three seeds: one at rest throughout, one that begins to oscillate, one that turns chaotic."""

    KINDS = ((1, 1, 1), (1, 3, 3), (1, 1, 4))

    @pytest.fixture
    def frames(self):
        names = [*TASKS["sine"].probes()]
        rows, histories, bifurcations = [], {}, []
        for seed, kinds in enumerate(self.KINDS):
            trial = replace(CHAOTIC, seed=seed)
            rows.append({**vars(trial), "trial_id": trial.id, "status": "FINISHED"})
            history = {"epoch": np.arange(1, 7)}
            for name in names:
                history[column(name, "kind")] = np.full(6, np.nan)
                history[column(name, "kind")][1::2] = kinds if name == "0.218" else 1
                history[column(name, "attractors")] = np.full(6, 1.0)
            histories[trial.id] = pd.DataFrame(history)
        ids = [*histories]
        for trial_id, name, gains in (
            (ids[1], "Neimark-Sacker", True),
            (ids[1], "Neimark-Sacker", True),  # twice in one seed is one seed
            (ids[2], "Neimark-Sacker", False),  # an oscillation ends
            (ids[2], "fold", False),
            (ids[2], np.nan, False),
        ):
            bifurcations.append({"trial_id": trial_id, "bifurcation": name, "gains": gains})
        return pd.DataFrame(rows), histories, pd.DataFrame(bifurcations)

    def test_counts_seeds(self, frames) -> None:
        (row,) = attractors.attractor_table(*frames).to_dict("records")
        assert row["seeds"] == 3 and row["single"] == 1
        assert row["neimark_sacker"] == 1 and row["others"] == 1
        # Clopper and Pearson for 1 of 3
        assert row["single_low"] == pytest.approx(0.0084, abs=5e-5)
        assert row["single_high"] == pytest.approx(0.9057, abs=5e-5)
        assert (row["final"], row["final_count"]) == ("fixed point", 1)

    def test_what_one_bifurcation_gains_another_does_not(self, frames) -> None:
        runs, histories, _ = frames
        first, second, third = runs["trial_id"]
        rows = [(first, "Neimark-Sacker", True), (first, "pitchfork", False)]
        rows += [(second, "Neimark-Sacker", False), (second, "fold", True)]
        rows += [(third, np.nan, False)]
        passed = pd.DataFrame(rows, columns=["trial_id", "bifurcation", "gains"])
        (row,) = attractors.attractor_table(runs, histories, passed).to_dict("records")
        assert (row["neimark_sacker"], row["others"]) == (1, 2)

    def test_what_is_undecided_comes_last_among_equals(self, frames) -> None:
        runs, histories, bifurcations = frames
        for trial_id, kind in zip(runs["trial_id"], (0, 3, 0), strict=True):
            histories[trial_id].loc[5, column("0.218", "kind")] = kind
        both = attractors.attractor_table(runs[:2], histories, bifurcations).iloc[0]
        assert (both["final"], both["final_count"]) == ("quasi-periodic", 1)
        most = attractors.attractor_table(runs, histories, bifurcations).iloc[0]
        assert (most["final"], most["final_count"]) == ("undecided", 2)

    def test_fits_a_terminal_whatever_the_cell_is_called(self, frames) -> None:
        runs, histories, bifurcations = frames
        runs["cell"] = "stable_lstm_provable"
        runs.loc[2, "learning_rate"] = 0.5
        table = attractors.attractor_table(runs, histories, bifurcations)
        console = Console(file=io.StringIO(), width=80)
        console.print(attractors.found(table, "0.218"))
        lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
        assert max(map(len, lines)) <= 80 and not any("\N{HORIZONTAL ELLIPSIS}" in x for x in lines)
        first, other = (
            lines.index(f"  stable_lstm_provable, rate {rate:g}") for rate in (0.01, 0.5)
        )
        assert lines[first + 1].split() == [
            "37",
            "1/2",
            "0.01-0.99",
            "1/2",
            "0.01-0.99",
            "fixed",
            "point",
            "1/2",
        ]
        assert lines[other + 1].split() == [
            "37",
            "0/1",
            "0.00-0.97",
            "0/1",
            "0.00-0.97",
            "chaotic",
            "1/1",
        ]

    def test_without_bifurcations_or_runs_it_has_the_same_columns(self, frames) -> None:
        runs, histories, bifurcations = frames
        whole = attractors.attractor_table(runs, histories, bifurcations)
        none = pd.DataFrame(columns=["trial_id"])
        assert attractors.attractor_table(runs, histories, none)["others"].tolist() == [0]
        empty = attractors.attractor_table(runs.iloc[:0], {}, none)
        assert [*empty] == [*whole] and empty.index.names == whole.index.names

    @needs_latex
    def test_latex_compiles(self, frames, tmp_path: Path) -> None:
        shown = tables.attractors(attractors.attractor_table(*frames))
        _, _, tex = files.write_table(tmp_path / "attractors", shown)
        assert_is_latex(tex.read_text())
        assert_compiles([tex.read_text()], tmp_path)

    def test_several_attractors_are_not_one_fixed_point(self, frames) -> None:
        runs, histories, bifurcations = frames
        first = histories[runs["trial_id"][0]]
        first.loc[3, column("0.393", "attractors")] = 2.0
        (row,) = attractors.attractor_table(runs, histories, bifurcations).to_dict("records")
        assert row["single"] == 0

    def test_unfinished_runs_and_those_not_watched_do_not_count(self, frames) -> None:
        runs, histories, bifurcations = frames
        runs.loc[1, "status"] = "KILLED"
        runs.loc[2, "dynamics_every"] = 0
        table = attractors.attractor_table(runs, histories, bifurcations)
        assert table["seeds"].tolist() == [1]
        assert attractors.attractor_table(runs[1:], histories, bifurcations).empty


@pytest.mark.usefixtures("unchecked")
def test_a_trial_is_read_back_from_its_row() -> None:
    row = {**vars(CHAOTIC), "trial_id": CHAOTIC.id, "kind": Kind.CYCLE}
    frame = pd.DataFrame([row, row])  # whose columns have types of NumPy
    assert aggregate.trial_of(frame.iloc[1]) == CHAOTIC
    assert aggregate.trial_of(frame.iloc[1]).id == CHAOTIC.id
