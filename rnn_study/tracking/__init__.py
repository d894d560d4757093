"""MLflow in and out: `Tracker` writes a study's runs, `read_runs` and `read_histories` read them.

An MLflow experiment holds one run per declaration of a study (the parent) and one run per trial
id (its children). This package alone imports mlflow, and never its fluent interface.
"""

import rnn_study.tracking.environment  # noqa: F401  (first: it decides how mlflow is imported)
from rnn_study.tracking.description import describe, read_environment
from rnn_study.tracking.patience import TrackingError, patiently
from rnn_study.tracking.reader import (
    experiment_page,
    finished_trials,
    read_album,
    read_bifurcations,
    read_histories,
    read_runs,
)
from rnn_study.tracking.results import Results
from rnn_study.tracking.status import Status, read_status
from rnn_study.tracking.store import ALBUM, BIFURCATIONS, CONFIRMATION, GRID, SEARCH
from rnn_study.tracking.tracker import Tracker

__all__ = [
    "ALBUM",
    "BIFURCATIONS",
    "CONFIRMATION",
    "GRID",
    "SEARCH",
    "Results",
    "Status",
    "Tracker",
    "TrackingError",
    "describe",
    "experiment_page",
    "finished_trials",
    "patiently",
    "read_album",
    "read_bifurcations",
    "read_environment",
    "read_histories",
    "read_runs",
    "read_status",
]
