"""Training of packs: many small networks as one stacked computation."""

from rnn_study.training.album import Album
from rnn_study.training.checkpoint import Checkpoint, Checkpoints
from rnn_study.training.epochs import Eager, Runner
from rnn_study.training.footprint import Footprint, bytes_per_member, footprint
from rnn_study.training.graphs import Replay
from rnn_study.training.loop import Epoch, Status, train
from rnn_study.training.members import History
from rnn_study.training.network import Network
from rnn_study.training.summary import summary

__all__ = [
    "Album",
    "Checkpoint",
    "Checkpoints",
    "Eager",
    "Epoch",
    "Footprint",
    "History",
    "Network",
    "Replay",
    "Runner",
    "Status",
    "bytes_per_member",
    "footprint",
    "summary",
    "train",
]
