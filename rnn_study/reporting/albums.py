"""What is made of an album: the artifacts of a run, and the bifurcations of its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import torch

from rnn_study.cells import CELLS
from rnn_study.config import Trial
from rnn_study.dynamics import Bifurcation, Kind, Step, advance, constant_input
from rnn_study.dynamics.continuation import passed
from rnn_study.tasks import TASKS, sequence_task
from rnn_study.tracking import ALBUM, BIFURCATIONS
from rnn_study.training import Album, text_watch
from rnn_study.training.album import bind
from rnn_study.training.files import Files

DIAGRAM: Final = "attractors.png"
"""Artifact of a run: a picture of its album."""

COLUMNS: Final = {
    "input": "str",
    "before": "int64",
    "after": "int64",
    "kind_before": "str",
    "kind_after": "str",
    "attractors_before": "int64",
    "attractors_after": "int64",
    "bifurcation": "str",
    "gains": "bool",
    "multiplier": "float64",
    "period": "float64",
}
"""Columns of `bifurcations_of`, and their types."""

_PIECES = 8
"""Steps of the continuation between two networks."""

_NONE = Bifurcation(np.nan, np.nan, "", complex("nan"), gains=False)
"""Where a fixed point passed none."""


def write(trial: Trial, pages: Files, last: int, out: Path) -> None:
    """Writes the artifacts of a finished trial into `out`. `pages`: its portraits."""
    from rnn_study import figures  # matplotlib takes a second

    if TASKS[trial.task].reads_text:
        album = bind(pages, text_watch.probes(trial.words), last)
        album.save(out / ALBUM)
        figures.language.of_run(trial, album).savefig(out / DIAGRAM, dpi=110)
        return
    album = bind(pages, tuple(sequence_task(trial.task).probes()), last)
    album.save(out / ALBUM)
    bifurcations_of(trial, album).to_csv(out / BIFURCATIONS, index=False)
    figures.portraits.of_run(trial, album).savefig(out / DIAGRAM, dpi=110)


def bifurcations_of(trial: Trial, album: Album) -> pd.DataFrame:
    """Where the attractors under the task's first shown input change, and what happened there.

    For every two neighbouring epochs of the album that differ in the kind or the number of
    attractors, a row for each bifurcation that the fixed point passed on the straight line between
    the two networks, in their order; training itself did not follow that line exactly. One row
    whose `bifurcation` is empty where it passed none, and where neither network rests at a fixed
    point that could be followed. `gains`: it lost stability. `multiplier`: the absolute value of
    the eigenvalue that crossed, just after; `period`: the steps in which it turns once, what an
    oscillation is born with.
    """
    probe = sequence_task(trial.task).shown[0]
    b = album.probes.index(probe)
    kinds, counts = album.portraits.kind[:, b], album.portraits.attractors[:, b]
    rows = []
    for e in range(len(album.epochs) - 1):
        if kinds[e] == kinds[e + 1] and counts[e] == counts[e + 1]:
            continue
        change = {
            "input": probe,
            "before": album.epochs[e],
            "after": album.epochs[e + 1],
            "kind_before": Kind(int(kinds[e])).label,
            "kind_after": Kind(int(kinds[e + 1])).label,
            "attractors_before": counts[e],
            "attractors_after": counts[e + 1],
        }
        for each in _passed(trial, album, e, probe) or [_NONE]:
            angle = abs(np.angle(each.multiplier))
            rows.append(
                {
                    **change,
                    "bifurcation": each.kind,
                    "gains": each.gains,
                    "multiplier": abs(each.multiplier),
                    "period": 2 * np.pi / angle if angle else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=[*COLUMNS]).astype(COLUMNS)


def _passed(trial: Trial, album: Album, e: int, probe: str) -> list[Bifurcation]:
    """The bifurcations of the fixed point between the networks `e` and `e + 1` of the album.

    Followed from the network that rests at it, the later one backwards.
    """
    b = album.probes.index(probe)
    at_rest = album.portraits.kind[e : e + 2, b] == Kind.FIXED_POINT
    if not at_rest.any():
        return []
    cell, held = CELLS[trial.cell], sequence_task(trial.task).probes()[probe]
    x = torch.from_numpy(held)[None, None]

    def step_at(share: float) -> Step:
        between = {
            name: torch.from_numpy((1 - share) * value[e] + share * value[e + 1])[None].double()
            for name, value in album.networks.items()
        }
        return constant_input(cell, cell.weights(between), x)

    ends = (0.0, 1.0) if at_rest[0] else (1.0, 0.0)
    origin = torch.zeros(1, 1, cell.state_size(trial.hidden), dtype=torch.float64)
    start = advance(step_at(ends[0]), origin, 2000)
    found = passed(step_at, start, np.linspace(*ends, _PIECES + 1))
    if at_rest[0]:
        return found
    return [replace(each, gains=not each.gains) for each in reversed(found)]
