"""What a result was made with: versions, code and machine, for the record of a study."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "rnn_study", "torch", "triton", "numpy", "ray", "mlflow", "optuna", "pandas", "scipy",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Names and values as text: Python, packages, git commit, host and processor."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
        "host": platform.node(),
        "processor": _processor(),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """The commit of the code that runs, marked where it was changed since."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return "unknown: git is not installed"
    except subprocess.TimeoutExpired:
        return "unknown: git did not answer"
    return done.stdout.strip() or "unknown: not a git clone"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
