"""The paper's chaotic LSTM: its window, what lies around, its cost function, the study's files."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from maps import F64
from matplotlib.image import imread

from rnn_study import chaotic_lstm
from rnn_study.chaotic_lstm import (
    CELL,
    combine,
    line,
    theta_random,
    theta_true,
    windows,
)
from rnn_study.dynamics import attractors, fixed_points, smoothness
from rnn_study.dynamics.orbits import orbit
from rnn_study.dynamics.smoothness import scan_cost
from rnn_study.flags import script

STUDY = Path(__file__).parent.parent / "studies" / "chaotic_lstm.py"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Every 0.0025 from 0.5 to 2, and every 0.0001 where chaos begins and ends."""
    coarse = torch.linspace(0.5, 2, 601, dtype=F64)
    edges = [torch.linspace(low, low + 0.01, 101, dtype=F64) for low in (0.88, 1.46)]
    values = torch.cat((coarse, *edges)).sort().values
    return line(values).table.drop_duplicates("s").set_index("s")


def at(*s: float) -> dict[str, torch.Tensor]:
    values = torch.tensor(s, dtype=F64)
    return combine(values, torch.zeros_like(values), theta_true())


class TestLine:
    def test_the_equations_are_those_of_the_supplement(self) -> None:
        step, state = chaotic_lstm.autonomous(theta_true())
        h = c = np.array([0.5, 0.5])
        i, f, o, g = (
            np.array(gate)
            for gate in (
                [[-1, -4], [-3, -2]], [[-2, 6], [0, -6]], [[4, 1], [-9, -7]], [[-1, -6], [6, -9]],
            )
        )  # fmt: skip
        for _ in range(7):
            state = step(state)
            sigmoid = {
                name: 1 / (1 + np.exp(-w @ h)) for name, w in zip("ifo", (i, f, o), strict=True)
            }
            c = sigmoid["f"] * c + sigmoid["i"] * np.tanh(g @ h)
            h = sigmoid["o"] * np.tanh(c)
        assert state.flatten().tolist() == pytest.approx([*h, *c])

    def test_chaos_begins_and_ends_where_it_should(self, table: pd.DataFrame) -> None:
        chaos = table.index[table["kind"] == "chaotic"]
        assert 0.88 < chaos[0] < 0.89
        assert 1.46 < chaos[-1] < 1.47
        positive = table.index[table["lyapunov"] > 0]
        assert positive[0] > 0.87
        assert positive[-1] < 1.47
        share = (table["kind"] == "chaotic")[0.90:1.45].mean()
        assert 0.6 < share < 0.9  # the rest are periodic windows

    def test_what_lies_around_and_inside(self, table: pd.DataFrame) -> None:
        assert set(table["kind"][:0.70]) == {"fixed point"}
        assert set(table["period"][0.75:0.80]) == {3}
        assert set(table["period"][1.5:2]) == {4}
        assert set(table["period"][1.077:1.089]) == {11}
        assert set(table["period"][1.267:1.278]) == {7}
        cycles = windows(table.reset_index(), "cycle")
        assert (cycles["low"].between(0.9, 1.45)).sum() > 10

    def test_the_origin_loses_its_stability_to_a_pair_after_the_cycle_is_there(self) -> None:
        values = (0.72, 0.77, 0.84)
        step, _ = chaotic_lstm.autonomous(at(*values))
        found = fixed_points(step, torch.zeros(3, 1, 1, 4, dtype=F64))
        assert found.stable.tolist() == [True, True, False]
        assert found.multipliers[2, 0].imag != 0
        near, far = torch.full((4,), 1e-3, dtype=F64), torch.full((4,), 0.5, dtype=F64)
        starts = torch.stack((near, far)).expand(3, 1, -1, -1)
        reached = attractors(step, starts, transient=2000)
        assert reached.count[:, 0].tolist() == [1, 2, 1]
        assert reached.classes.period[1, 0].tolist() == [1, 3]


class TestLoss:
    def test_is_zero_at_the_truth_and_not_elsewhere(self) -> None:
        values = chaotic_lstm.loss(at(1.0, 1.0001, 0.6))
        assert values[0] == 0
        assert values[1] > 1e-3
        assert values[2] > 5e-3

    def test_is_that_of_the_cells_own_scan(self) -> None:
        params = combine(
            torch.tensor([0.8], dtype=F64), torch.tensor([0.3], dtype=F64), theta_random()
        )
        x, half = torch.zeros(1, 200, 1, 1, dtype=F64), torch.full((1, 1, 4), 0.5, dtype=F64)
        outputs, truth = (CELL.scan(p, x, half)[0] for p in (params, theta_true()))
        expected = (outputs - truth).square().mean()
        # 200 chaotic steps magnify another order of rounding.
        torch.testing.assert_close(chaotic_lstm.loss(params)[0], expected, rtol=0.01, atol=0)

    def test_random_direction_is_as_long_as_the_truth_and_has_a_seed(self) -> None:
        one, again, other = (theta_random(seed)["w_h"] for seed in (0, 0, 1))
        torch.testing.assert_close(one.norm(), theta_true()["w_h"].norm())
        assert torch.equal(one, again)
        assert not torch.allclose(one, other)

    def test_plane_is_laid_out_by_its_axes(self) -> None:
        s1, s2 = torch.tensor([0.6, 1.0, 1.5], dtype=F64), torch.tensor([0.0, 0.5], dtype=F64)
        found = chaotic_lstm.plane(s1, s2, theta_random(), at_once=4)
        assert found.loss.shape == (2, 3)
        assert found.loss[0].tolist() == pytest.approx(
            chaotic_lstm.loss(at(0.6, 1.0, 1.5)).tolist()
        )
        assert found.loss[0, 1] == 0 < found.loss[1, 1]

    def test_roughens_exponentially_with_length_in_chaos_alone(self) -> None:
        x, lengths = torch.zeros(1, 60, 1, 1, dtype=F64), (15, 30, 60)
        step, state = chaotic_lstm.autonomous(theta_true())
        target = orbit(step, state, 0, 60, CELL.output).transpose(1, 2)
        cost = scan_cost(CELL, x, target, state)
        growth = {
            low: smoothness(cost, at(low), at(low + 0.05), lengths, 7, 8).exponential()
            for low in (0.5, 0.95, 1.7)
        }
        assert max(growth[0.5]) < 0.03 and max(growth[1.7]) < 0.03
        gradient, curvature = growth[0.95]
        assert gradient > 0.1
        assert curvature > 1.5 * gradient


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", str(STUDY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("chaotic_lstm_study", STUDY)
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


class TestStudy:
    def test_writes_figures_and_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "matplotlibrc").write_text("axes.facecolor: black")
        monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
        out = tmp_path / "new" / "folder"
        done = run("--out", str(out), "--values", "101", "--grid", "7")
        assert done.returncode == 0, done.stderr
        names = {"figure_1.png", "figure_1.pdf", "supplementary_figure_1.png"}
        names |= {"supplementary_figure_1.pdf", "line.csv", "orbits.csv.gz", "plane.csv"}
        assert {path.name for path in out.iterdir()} == names
        assert imread(out / "figure_1.png").mean() > 0.8  # white, whatever the user's own style
        assert b"CreationDate" not in (out / "figure_1.pdf").read_bytes()
        table = pd.read_csv(out / "line.csv")
        assert {"s", "lyapunov", "kind", "loss"} <= set(table.columns)
        assert len(table) == 101
        assert len(pd.read_csv(out / "plane.csv")) == 49
        assert str(out) in done.stdout
        assert "chaos: first at s = 0.8" in done.stdout
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "torch" in loaded
        assert not loaded & {"ray", "mlflow", "optuna"}

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("--values", "1"), "values: 1 is not allowed; use a whole number of at least 2"),
            (("--values", "many"), "values: 'many' is not allowed; use a whole number"),
            (("--values", "1000000000000"), "use a whole number of at most 50000"),
            (("--low", "3"), "high: 2.0 is not allowed; use a number above low (3)"),
            (("--low", "nan"), "low: nan is not allowed"),
            (("--seeds", "1"), "did you mean --seed?"),
            (("--out", "/proc/none"), "out: '/proc/none' is not allowed; use a folder"),
        ],
    )
    def test_refuses_in_one_line(
        self, arguments: tuple[str, ...], text: str, study, capsys
    ) -> None:
        code = script.main(study.Settings, study.draw, study.QUESTION, arguments)
        refusal = capsys.readouterr().err
        assert code == 2
        assert text in refusal
        assert len(refusal.splitlines()) == 1

    def test_help_teaches(self, study, capsys) -> None:
        with pytest.raises(SystemExit) as left:
            script.main(study.Settings, study.draw, study.QUESTION, ["--help"])
        assert not left.value.code
        text = capsys.readouterr().out
        assert "Where does an LSTM of two units turn chaotic" in " ".join(text.split())
        for flag in ("--out", "--low", "--high", "--values", "--grid", "--seed"):
            assert flag in text
