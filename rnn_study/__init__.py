"""How training a recurrent network depends on architecture, length, learning rate and seed."""

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Study, Trial
from rnn_study.search import Search
from rnn_study.tasks import TASKS
from rnn_study.training import train

__all__ = ["CELLS", "TASKS", "Pack", "Search", "Study", "Trial", "train"]
