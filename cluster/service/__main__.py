"""`python -m cluster.service start | stop | status`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from cluster.service.part import Broken, Part
from cluster.service.parts import PARTS, require_addresses, require_programs
from cluster.service.settings import Settings
from rnn_study.errors import InvalidInput, require_member
from rnn_study.flags import script

FAILED = 1
TEXT = """\
{verb} the service that a group shares: PostgreSQL, an object store, MLflow, a Ray head."""


def main(argv: Sequence[str]) -> int:
    """0: done; 1: a part does not start or end, or is not well; 2: the input cannot be used."""
    verbs = {"start": start, "stop": stop, "status": status}
    verb = argv[0] if argv else ""
    try:
        require_member("verb", verb, verbs)
        return script.main(Settings, verbs[verb], TEXT.format(verb=verb), argv[1:])
    except InvalidInput as refused:
        print(f"error: {refused}", file=sys.stderr)
        return script.REFUSED
    except Broken as broken:
        print(f"error: {broken}", file=sys.stderr)
        return FAILED


def start(settings: Settings) -> None:
    """Starts what is not running, all or nothing, and prints how to use it."""
    require_addresses(settings)
    require_programs()
    parts = [make(settings) for make in PARTS]
    due = [part for part in parts if not part.processes()]
    for part in due:
        part.require_ports()
    settings.prepare()
    try:
        for part in parts:
            began = time.monotonic()
            if part in due:
                part.start()
            elif not part.well():
                raise Broken(f"{part.name} runs but is not well:\n{part.last_words()}")
            print(f"  {part.name:<9} {_said(part in due, time.monotonic() - began)}", flush=True)
    except BaseException:
        for part in reversed(due):
            part.stop()
        raise
    print(_how(settings))


def stop(settings: Settings) -> None:
    """Ends everything; data stays."""
    for make in reversed(PARTS):
        part = make(settings)
        ran = bool(part.processes())
        part.stop()
        print(f"  {part.name:<9} {'ended' if ran else 'was not running'}", flush=True)
    print(f"Data stays in {settings.folder}; the same start brings it back.")


def status(settings: Settings) -> None:
    """Says which parts are well; Broken if one is not."""
    ill = []
    for part in (make(settings) for make in PARTS):
        word = _state(part)
        ill += [part.name] * (word != "well")
        print(f"  {part.name:<9} {word}", flush=True)
    if ill:
        raise Broken(f"not well: {', '.join(ill)}")


def _state(part: Part) -> str:
    if not part.processes():
        return "not running"
    return "well" if part.well() else "runs, but does not answer"


def _said(started: bool, seconds: float) -> str:
    return f"well after {seconds:.0f} s" if started else "was running"


def _how(settings: Settings) -> str:
    return f"""\
Jobs and dashboard  {settings.jobs}
MLflow              {settings.mlflow}   user study; password in client.env
Object store        {settings.s3}   checkpoints in s3://studies
Token of Ray        {settings.token}
For users           {settings.client}   (all of the above as variables; keep it secret)

Submit a study, in a clone with its environment activated:
  . {settings.client}
  ray job submit --working-dir . -- python studies/symbol_length.py --preset smoke"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
