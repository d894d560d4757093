"""The chaotic LSTM to files, and to a few lines of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import torch
from pyarrow import csv

from rnn_study import chaotic_lstm, figures
from rnn_study.chaotic_lstm import Line, Plane
from rnn_study.dynamics import Kind
from rnn_study.errors import InvalidInput
from rnn_study.reporting import files

LARGEST = 4
"""How many periodic windows are named."""


def write(out: Path, low: float, high: float, values: int, grid: int, seed: int) -> None:
    """Compute the line and the plane, write figures and tables to `out`, and print the findings.

    Raises InvalidInput if nothing can be written there, before any computing.
    """
    _make(out)
    torch.set_num_threads(1)  # tensors are small: a second thread would only wait
    line = chaotic_lstm.line(torch.linspace(low, high, values, dtype=torch.float64))
    side = torch.linspace(-1, 1, grid, dtype=torch.float64)
    plane = chaotic_lstm.plane(side + 1, side, chaotic_lstm.theta_random(seed))

    chaos = chaotic_lstm.windows(line.table, Kind.CHAOTIC.label)
    window = (chaos["low"][0], chaos["high"][0]) if len(chaos) else None
    line.table.to_csv(out / "line.csv", index=False, float_format="%.10g")
    _write(_table(line), out / "orbits.csv.gz")
    _write(_grid(plane), out / "plane.csv")
    with files.own_style():
        files.write_figure(out / "figure_1", figures.orbits.chaotic_line(line, window), "")
        error = figures.orbits.chaotic_plane(plane, line.table)
        files.write_figure(out / "supplementary_figure_1", error, "")
    print("\n".join(findings(line.table)))
    print(f"Figures (PNG, PDF) and tables (line.csv, orbits.csv.gz, plane.csv): {out.resolve()}")


def findings(table: pd.DataFrame) -> list[str]:
    """What the line shows, in words: chaos, the windows inside, and what lies around."""
    chaos = chaotic_lstm.windows(table, Kind.CHAOTIC.label)
    cycles = chaotic_lstm.windows(table, Kind.CYCLE.label)
    fixed = chaotic_lstm.windows(table, Kind.FIXED_POINT.label)
    lines = [f"fixed point: {_ranges(fixed)}"]
    if chaos.empty:
        return [*lines, f"cycles: {_periods(cycles)}", "no chaos at these values of s"]
    low, high = chaos["low"][0], chaos["high"][0]
    inside = cycles[(cycles["low"] > low) & (cycles["high"] < high)]
    share = chaos["values"][0] / table["s"].between(low, high).sum()
    widest = inside.sort_values("values", ascending=False).head(LARGEST).sort_values("low")
    return [
        *lines,
        f"cycles below the chaos: {_periods(cycles[cycles['high'] < low])}",
        f"chaos: first at s = {low:.4f}, last at {high:.4f}; {share:.0%} of the values between",
        f"  with {len(inside)} periodic windows inside, the widest: {_periods(widest)}",
        f"cycles above the chaos: {_periods(cycles[cycles['low'] > high])}",
    ]


def _ranges(windows: pd.DataFrame) -> str:
    wide = _wide(windows)
    return ", ".join(f"{w.low:.3f} to {w.high:.3f}" for w in wide.itertuples()) or "none"


def _periods(windows: pd.DataFrame) -> str:
    wide = _wide(windows)
    named = (f"period {w.period} at {w.low:.3f} to {w.high:.3f}" for w in wide.itertuples())
    return ", ".join(named) or "none"


def _wide(windows: pd.DataFrame) -> pd.DataFrame:
    """Those of several values, if there are any."""
    wide = windows[windows["values"] > 1]
    return windows if wide.empty else wide


def _table(line: Line) -> pd.DataFrame:
    """The points of the orbit diagram: the first 100 states that are kept of every s."""
    kept = line.orbits[:, :100, 0]
    return pd.DataFrame({"s": np.repeat(line.table["s"], kept.shape[1]), "output": kept.ravel()})


def _grid(plane: Plane) -> pd.DataFrame:
    s2, s1 = np.meshgrid(plane.s2, plane.s1, indexing="ij")
    return pd.DataFrame({"s1": s1.ravel(), "s2": s2.ravel(), "loss": plane.loss.ravel()})


def _write(table: pd.DataFrame, path: Path) -> None:
    """As CSV to six decimals. pandas would need seconds for half a million rows."""
    with pyarrow.output_stream(path) as stream:  # compresses by the name
        csv.write_csv(pyarrow.Table.from_pandas(table.round(6), preserve_index=False), stream)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        allowed = f"use a folder that you can write to ({reason})"
        raise InvalidInput("out", str(out), allowed) from None
