"""The native library: compiled once for a processor, loaded with ctypes, called on tensors.

It is made when it is first needed, for the instructions of the processor at hand, and kept in
`$XDG_CACHE_HOME/rnn_study` (by default `~/.cache/rnn_study`) under a name that depends on the
sources, the compiler, its flags and the processor. It appears there by a rename, so any number of
processes may make it at once.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from rnn_study.errors import InvalidInput

SWITCH = "RNN_STUDY_NATIVE"
"""Environment variable: `0` for torch's operations instead of the native library; default `1`."""
SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math")
_FLAGS_OF_X86 = ("-mprefer-vector-width=512",)
LANES = 16
"""Numbers to whose multiples rows of its own matrices are padded (`LANES` in the sources)."""
TILES_PAY = 10_000
"""Weights of a step from which its products are faster on the matrix units than on vectors."""
_log = logging.getLogger(__name__)


class Shape(ctypes.Structure):
    """Of a scan: S, T, B, I and H."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("members", "steps", "batch", "inputs", "hidden")
    )


class Outputs(ctypes.Structure):
    """Gradients of the outputs (S, T, B, H): an address, and the strides of the first three."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("member", "step", "sequence")),
    )


def outputs(d: Tensor | None) -> Outputs:
    """Of a tensor (S, T, B, H) whose last axis is contiguous, or of None. It must be kept alive."""
    if d is None:
        return Outputs(None, 0, 0, 0)
    return Outputs(d.data_ptr(), *d.stride()[:3])


class Library:
    """The loaded functions."""

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(str(path))
        self.tiles = hasattr(self._functions, "tiles_allowed")
        """Whether there are matrix units to use."""
        if self.tiles and not self._functions.tiles_allowed():
            self.tiles = False
            _log.warning("the system does not let this process use the processor's matrix units")

    def call(
        self, name: str, shape: Shape, weight: Tensor, *given: Tensor | Outputs | int | float | None
    ) -> None:
        """Calls a function, in the type of `weight`, on contiguous tensors.

        If `weight` is (S, K, N) and large, it multiplies on matrix units where there are any.

        Raises MemoryError where it finds none for its own work.
        """
        kind = str(weight.dtype).removeprefix("torch.")
        large = weight.dim() == 3 and weight[0].numel() >= TILES_PAY
        if self.tiles and kind == "float32" and large:
            kind = "tiles"
        values = [_value(one) for one in given]
        if getattr(self._functions, f"{name}_{kind}")(shape, *values):
            raise MemoryError(f"no memory for {name} on {shape.hidden} units")


def _value(given: Tensor | Outputs | int | float | None) -> ctypes._SimpleCData | Outputs | None:
    if isinstance(given, Tensor):
        assert given.is_contiguous()
        return ctypes.c_void_p(given.data_ptr())
    if isinstance(given, float):
        return ctypes.c_double(given)
    return ctypes.c_long(given) if isinstance(given, int) else given


def for_tensor(x: Tensor) -> Library | None:
    """The library, if it works on such a tensor: float32 or float64 on a CPU; else None.

    None also if it is switched off or cannot be made here, which a warning tells once a process.
    Raises InvalidInput if the switch has another value than 0 and 1.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return None
    return _loaded() if switched_on() else None


def switched_on() -> bool:
    """Whether `RNN_STUDY_NATIVE` asks for the native library; InvalidInput for other values."""
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise InvalidInput(SWITCH, value, "use 1 for the native library, 0 for torch's operations")
    return value == "1"


@cache
def _loaded() -> Library | None:
    found = compiler()
    if found is None:
        _log.warning(
            "no C++ compiler (c++, g++, clang++): CPU training runs slower, on torch's operations; "
            "install one, or set %s=0 to do without this warning",
            SWITCH,
        )
        return None
    try:
        return load(found)
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or ""
        reason = f"{error} {said.strip()[:2000]}"
    except OSError as error:
        reason = str(error)
    _log.warning(
        "the native library cannot be made here: CPU training runs slower, on torch's operations; "
        "set %s=0 to do without this warning. %s",
        SWITCH,
        reason,
    )
    return None


def compiler() -> str | None:
    """The path of `$CXX`, or of the first C++ compiler there is."""
    names = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def load(compiler: str, sources: Path = SOURCES) -> Library:
    """The library of these sources, compiled unless it was before.

    Raises OSError or subprocess.SubprocessError if it cannot be.
    """
    flags = FLAGS + (_FLAGS_OF_X86 if platform.machine() in ("x86_64", "AMD64") else ())
    name = f"{_key(compiler, flags, sources)}.so"
    folder = _folder()
    if folder is not None:
        kept = folder / name
        if not kept.exists():
            _compile(compiler, flags, sources, kept)
        return Library(kept)
    with tempfile.TemporaryDirectory(prefix="rnn_study-") as own:  # loaded, it needs no file
        kept = Path(own) / name
        _compile(compiler, flags, sources, kept)
        return Library(kept)


def _key(compiler: str, flags: tuple[str, ...], sources: Path) -> str:
    """Of everything that the result depends on."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60)
    parts = [version.stdout, " ".join(flags).encode(), _processor().encode()]
    for path in _files(sources):
        parts += [path.name.encode(), path.read_bytes()]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()[:32]


def _files(sources: Path) -> list[Path]:
    return sorted(path for path in sources.iterdir() if path.suffix in (".h", ".cpp"))


def _processor() -> str:
    """What `-march=native` depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() + platform.node()
    of_first = cpuinfo.read_text().split("\n\n")[0].splitlines()
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU")
    return "\n".join(line for line in of_first if line.startswith(wanted))


def _folder() -> Path | None:
    """Where libraries are kept; None, with a warning, if nothing can be written there."""
    try:
        root = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(root) if root else Path.home() / ".cache") / "rnn_study"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        _log.warning("the native library is compiled anew in every process: %s", error)
        return None


def _compile(compiler: str, flags: tuple[str, ...], sources: Path, to: Path) -> None:
    _log.info("compiling the native library with %s", compiler)
    handle, name = tempfile.mkstemp(dir=to.parent, suffix=".so")
    os.close(handle)
    made = Path(name)
    try:
        files = [str(path) for path in _files(sources) if path.suffix == ".cpp"]
        command = [compiler, *flags, "-w", "-shared", "-fPIC", *files, "-o", name]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        made.chmod(0o755)
        made.replace(to)  # whole or not at all
    finally:
        made.unlink(missing_ok=True)
