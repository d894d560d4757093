"""Symbol classification, the temporal-order problem (paper, Section 5.2)."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from rnn_study.randomness import generator
from rnn_study.tasks.metric import Metric
from rnn_study.tasks.task import Sequences, SequenceTask, Split, one_hot


class Symbol(SequenceTask):
    """Which of p and q came first and which second, among the distractors a, b, c and d?

    Two relevant symbols stand at t1 in 10..18 and t2 in 40..49, counted from zero; the classes are
    (p, p), (p, q), (q, p) and (q, q). Inputs are one-hot over p, q, a, b, c, d; the read-out is at
    the last step. Chance is 0.25. First described by Hochreiter and Schmidhuber (1997).
    """

    symbols = "pqabcd"
    first = (10, 18)
    second = (40, 49)
    min_length = second[1] + 1
    inputs = len(symbols)
    answers = ("pp", "pq", "qp", "qq")
    shown = ("p", "b")
    metric = Metric(
        name="accuracy",
        title="accuracy",
        larger_is_better=True,
        baseline=0.25,
        baseline_name="chance",
        goal=1.0,
    )

    def sequences(self, seed: int, split: Split, length: int, size: int) -> Sequences:
        """Inputs (N, T) uint8, indices into `symbols`; targets (N,) int64, the class."""
        rng = generator(seed, "symbol", split, length)
        inputs = rng.integers(2, 6, (size, length), dtype=np.uint8)
        relevant = rng.integers(0, 2, (size, 2), dtype=np.uint8)
        rows = np.arange(size)
        for (low, high), symbol in zip((self.first, self.second), relevant.T, strict=True):
            inputs[rows, rng.integers(low, high + 1, size)] = symbol
        return Sequences(inputs, relevant @ np.array([2, 1]))

    def encode(self, inputs: Tensor) -> Float[Tensor, "*batch I"]:
        return one_hot(inputs, self.inputs)

    def probes(self) -> dict[str, np.ndarray]:
        """Each symbol for ever."""
        return dict(zip(self.symbols, np.eye(self.inputs), strict=True))

    def loss(
        self, outputs: Float[Tensor, "S B O"], targets: Integer[Tensor, "S B"]
    ) -> Float[Tensor, "S B"]:
        """Cross entropy, nats."""
        return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")

    def scores(
        self, outputs: Float[Tensor, "S B O"], targets: Integer[Tensor, "S B"]
    ) -> dict[str, Float[Tensor, "S B"]]:
        """The accuracy: one where the largest output is the class, else zero."""
        return {"accuracy": (outputs.argmax(-1) == targets).float()}
