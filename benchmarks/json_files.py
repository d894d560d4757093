"""The files that benchmarks write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rnn_study.errors import InvalidInput
from rnn_study.training.files import write_atomically


def require_writable(path: Path | None) -> None:
    """Raises InvalidInput if nothing can be written to the file; leaves it as it is."""
    if path is None:
        return
    try:
        path.open("a").close()
    except OSError as error:
        reason = f"it cannot be written: {error.strerror}"
        raise InvalidInput("json", str(path), reason) from error


def write_json(path: Path, found: Any) -> None:
    """All of it or nothing."""
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
