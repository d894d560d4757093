"""`Interrupted`: why a study ended before its end; `Signals`: raises it at a safe place."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Interrupted(BaseException):
    """The driver has to stop; the same command goes on from there.

    Not an Exception: Ray Tune must not take it for a failure of its own and clean up for a while.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Signals:
    """SIGINT and SIGTERM raise Interrupted in the main thread while this context is entered.

    At once, or, while `deferred`, at the next `check`: Ray's calls cannot be broken off. A second
    signal raises at once in any case. Entered after Ray has started, which resets the handlers. In
    another thread than the main one nothing changes.
    """

    def __init__(self) -> None:
        self.deferred = False
        self._pending: Interrupted | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                self._previous[name] = signal.signal(name, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, handler in self._previous.items():
            signal.signal(name, handler)  # type: ignore[arg-type]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around what may wait for long and can be broken off: signals are not deferred there."""
        before, self.deferred = self.deferred, False
        try:
            self.check()
            yield
        finally:
            self.deferred = before

    def check(self) -> None:
        """Raises what was deferred."""
        if self._pending is not None:
            raise self._pending

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self._pending is None
        self._pending = Interrupted(f"Stopped by {signal.Signals(number).name}.", 128 + number)
        if not (self.deferred and first):
            raise self._pending
