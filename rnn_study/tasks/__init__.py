"""Tasks: a data set, a loss and its metrics, one file each. `TASKS` is their only registry."""

from rnn_study.tasks.metric import Metric
from rnn_study.tasks.sine import Sine
from rnn_study.tasks.symbol import Symbol
from rnn_study.tasks.task import Sequences, Split, Task

TASKS: dict[str, Task] = {
    "symbol": Symbol(),
    "sine": Sine(),
}

__all__ = ["TASKS", "Metric", "Sequences", "Sine", "Split", "Symbol", "Task"]
