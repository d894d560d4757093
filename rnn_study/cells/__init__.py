"""Recurrent architectures, one file each. `CELLS` is their only registry."""

from rnn_study.cells.cell import Cell, Parameters, Weights
from rnn_study.cells.lstm import LSTM
from rnn_study.cells.orthogonal import Orthogonal
from rnn_study.cells.stable_lstm import StableLSTM

CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "stable_lstm": StableLSTM("authors"),
    "stable_lstm_provable": StableLSTM("provable"),
    "orthogonal": Orthogonal(),
}

__all__ = ["CELLS", "LSTM", "Cell", "Orthogonal", "Parameters", "StableLSTM", "Weights"]
