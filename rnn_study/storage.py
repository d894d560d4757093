"""Storage by address: a folder, or `s3://BUCKET/PREFIX` on any server that speaks S3.

The server and the keys of a bucket come from the environment, as everywhere: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION. Every node needs them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rnn_study.errors import Away, InvalidInput, require
from rnn_study.training.files import Files, Folder

S3 = "s3://"
TRIES = 8
"""How often a request is sent to a server that does not answer, over about a minute."""
_ALLOWED = "use a folder, or s3://BUCKET/PREFIX"


class StorageAway(Away):
    """A bucket cannot be reached or refuses. No OSError: nothing is damaged, and nobody must go on
    as if a file were not there."""


def parse(address: str | Path) -> str | Path:
    """An `s3://` address as text without a slash at its end, a folder as an absolute path.

    InvalidInput where it is neither.
    """
    text = str(address)
    if "://" not in text:
        try:
            folder = Path(address).expanduser().resolve()
        except (RuntimeError, ValueError, OSError) as error:  # an unknown user, a loop of links
            raise InvalidInput("storage", text, f"{_ALLOWED} ({error})") from error
        allowed = (
            "use a folder without ? and % in its path, which MLflow would read as an address's"
        )
        require(not {*"?%"} & {*str(folder)}, "storage", str(folder), allowed)
        return folder
    names = text.removeprefix(S3).rstrip("/").split("/")
    if not text.startswith(S3) or {"", ".", ".."} & set(names):
        raise InvalidInput("storage", text, _ALLOWED)
    return text.rstrip("/")


def files(address: str | Path) -> Files:
    """The files at an address."""
    place = parse(address)
    return Folder(place) if isinstance(place, Path) else Bucket(place)


def local(address: str | Path) -> Path:
    """The folder itself; of a bucket, where this machine keeps its copies and prepares files."""
    place = parse(address)
    if isinstance(place, Path):
        return place
    return Path.home() / ".cache" / "rnn_study" / hashlib.sha256(place.encode()).hexdigest()[:16]


def check(address: str | Path) -> None:
    """Tries to write there and leaves nothing; InvalidInput where that fails."""
    place = parse(address)
    if isinstance(place, Path):
        _check_folder(place)
        return
    bucket, probe = Bucket(place, tries=1), f".rnn_study_{os.urandom(8).hex()}"
    try:
        bucket.write(probe, b"")
        bucket.remove(probe)
    except StorageAway as error:
        allowed = f"use a bucket that you can write to ({error})"
        raise InvalidInput("storage", place, allowed) from None


def _check_folder(folder: Path) -> None:
    """Tries it in the deepest folder that exists: permissions alone do not tell."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(prefix=".rnn_study_", dir=existing):
            pass
    except OSError as error:
        reason = f"{existing}: {(error.strerror or str(error)).lower()}"
        allowed = f"use a folder that you can write to ({reason})"
        raise InvalidInput("storage", str(folder), allowed) from None


def publish(paths: Iterable[Path], address: str) -> None:
    """Copies files to an address."""
    for path in paths:
        files(address).write(path.name, path.read_bytes())


def clear(address: str) -> None:
    """Deletes a folder and all that is in it, if it is there."""
    place = parse(address)
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
    else:
        Bucket(place).clear()


class Bucket(Files):
    """Objects under a prefix, in the place of a folder's files.

    An object is there whole or not at all, and once `write` returns the server has it; what was
    written is what the next read and the next listing see. Raises StorageAway where the server does
    not answer or refuses; FileNotFoundError is its answer that an object is not there.
    """

    def __init__(self, address: str, tries: int = TRIES) -> None:
        self._address = address
        self._path = address.removeprefix(S3)
        self._tries = tries

    def read(self, name: str) -> bytes:
        return self._ask("read", name, lambda s3, path: s3.open_input_stream(path).readall())

    def write(self, name: str, data: bytes) -> None:
        def put(s3: Any, path: str) -> None:
            # no `with`: it would close, and so complete, an object whose writing failed
            stream = s3.open_output_stream(path)
            stream.write(data)
            stream.close()

        try:
            self._ask("written", name, put)
        except FileNotFoundError as error:
            raise StorageAway(f"there is no bucket for {self}") from error

    def names(self) -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        infos = self._ask(
            "listed",
            "",
            lambda s3, path: s3.get_file_info(FileSelector(path, allow_not_found=True)),
        )
        return sorted(info.base_name for info in infos if info.type == FileType.File)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._ask("removed", name, lambda s3, path: s3.delete_file(path))

    def tidy(self) -> None:
        """Does nothing: no object is half-written."""

    def clear(self) -> None:
        """Deletes all objects under the prefix."""
        self._ask("cleared", "", lambda s3, path: s3.delete_dir_contents(path, missing_dir_ok=True))

    def within(self, folder: str) -> Bucket:
        return Bucket(f"{self._address}/{folder}", self._tries)

    def __str__(self) -> str:
        return self._address

    def _ask(self, done: str, name: str, request: Any) -> Any:
        path = f"{self._path}/{name}" if name else self._path
        try:
            return request(file_system(self._tries), path)
        except FileNotFoundError:
            raise
        except OSError as error:
            server = endpoint() or "AWS"
            reason = _short(str(error))
            raise StorageAway(f"{S3}{path} could not be {done} at {server}: {reason}") from error


def endpoint() -> str | None:
    """The address of the S3 server, from the environment; None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def file_system(tries: int = TRIES) -> Any:
    """Arrow's S3 client, with the server and the keys of the environment."""
    return _file_system(tries, endpoint())


@cache
def _file_system(tries: int, server: str | None) -> Any:
    from pyarrow import fs  # takes a second, and a folder needs none of it

    return fs.S3FileSystem(
        endpoint_override=server,
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        allow_delayed_open=True,  # one request an object: no part of it can be left behind
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=tries),
        connect_timeout=5,
        request_timeout=30,
    )


def _short(text: str) -> str:
    """Arrow's account of an error without its preamble."""
    _, mark, reason = text.partition("AWS Error ")
    reason = " ".join((reason if mark else text).split()).partition(" (Request ID")[0]
    return reason if len(reason) <= 200 else f"{reason[:200]}..."
