"""Tasks: a data set, a loss and its metrics, one file each. `TASKS` is their only registry."""

from rnn_study.errors import InvalidInput
from rnn_study.tasks.language import Language
from rnn_study.tasks.metric import Metric
from rnn_study.tasks.sine import Sine
from rnn_study.tasks.symbol import Symbol
from rnn_study.tasks.task import Sequences, SequenceTask, Split, Task

TASKS: dict[str, Task] = {
    "symbol": Symbol(),
    "sine": Sine(),
    "language": Language(),
}

__all__ = [
    "TASKS",
    "Language",
    "Metric",
    "SequenceTask",
    "Sequences",
    "Sine",
    "Split",
    "Symbol",
    "Task",
    "sequence_task",
]


def sequence_task(name: str) -> SequenceTask:
    """The task of this name, which must be one that draws sequences. Raises InvalidInput."""
    task = TASKS.get(name)
    if not isinstance(task, SequenceTask):
        drawing = ", ".join(k for k, each in TASKS.items() if isinstance(each, SequenceTask))
        raise InvalidInput("task", name, f"choose from {drawing}")
    return task
