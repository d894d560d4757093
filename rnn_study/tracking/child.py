"""`Child`: a run as its tracker knows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnn_study.config import Trial


@dataclass
class Child:
    """The run of a trial that was started by this tracker."""

    run_id: str
    trial: Trial
    logged: set[int] = field(default_factory=set)
    """The epochs that are stored or queued."""
    summarised: bool = False
    """Whether its final metrics are stored already."""
    place: tuple[str, str] = ("", "")
    """Node and device, as stored or queued."""
    ended: bool = False
    """Whether its end is stored or queued: nothing more is written."""
