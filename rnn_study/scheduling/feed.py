"""`Feed`: hands Ray Tune the packs of an agenda as they become due."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from rnn_study.scheduling.agenda import Agenda


class Feed(Searcher):
    """A Tune searcher that searches nothing itself: the agenda knows what is next.

    (Tune's own OptunaSearch holds one search, beside which it can run no grid.)
    """

    def __init__(self, agenda: Agenda) -> None:
        super().__init__()
        self._agenda = agenda

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher to restore it, which is never asked of it here."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The next pack; None to be asked again; FINISHED after the last."""
        job = self._agenda.next()
        if job is not None:
            return job.config
        return Searcher.FINISHED if self._agenda.over else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the listener tells the agenda."""

    def save(self, checkpoint_path: str) -> None:
        """An empty file, where Tune wants one."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("running the study again is the only recovery")
