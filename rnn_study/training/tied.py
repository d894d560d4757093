"""`TiedNetwork`: words in by an embedding, words out by a softmax that shares its matrix."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rnn_study.cells.cell import Parameters, uniform
from rnn_study.config import Trial
from rnn_study.errors import require
from rnn_study.randomness import generator
from rnn_study.tasks import TASKS, Task
from rnn_study.training.cross_entropy import linear_cross_entropy
from rnn_study.training.network import Layout, Network
from rnn_study.training.streams import Segment
from rnn_study.trials import LEVELS

EMBEDDED = 0.1
"""Initial embeddings are uniform within plus or minus this."""


class TiedNetwork(Layout):
    """The parameters beside the cell's are `embed` (V, H) and `b_out` (V)."""

    loss = staticmethod(linear_cross_entropy)
    """Of one member after another."""

    def __init__(self, trial: Trial) -> None:
        require(trial.vocabulary > 0, "corpus", trial.corpus, "choose a text first: --data DIR")
        self._task = TASKS[trial.task]
        self.vocabulary = trial.vocabulary
        self.dropped = round(trial.dropout * LEVELS)
        """Of `LEVELS`, how many are left out."""
        super().__init__(trial)

    @property
    def task(self) -> Task:
        return self._task

    def init(self, trial: Trial) -> dict[str, np.ndarray]:
        rng = generator(trial.seed, "weights", trial.cell, trial.hidden)
        made = {
            **self.cell.init(rng, trial.hidden, trial.hidden),
            "embed": uniform(rng, EMBEDDED, trial.vocabulary, trial.hidden),
            "b_out": np.zeros(trial.vocabulary, dtype=np.float32),
        }
        packed = {name: torch.from_numpy(array)[None] for name, array in made.items()}
        self.project_(packed)
        return made

    def remembered(self, row: Float[Tensor, "P"]) -> dict[str, np.ndarray]:
        """Nothing: its embeddings are millions of numbers, and its last checkpoint has them."""
        return {}

    @property
    def scale(self) -> float:
        """What inputs and outputs of the cell are multiplied by where dropout leaves them in."""
        return LEVELS / (LEVELS - self.dropped)

    def largest_input(self, params: Parameters) -> Float[Tensor, "S"]:
        """The largest absolute value that can enter the cell, in training too."""
        return params["embed"].abs().amax((1, 2)) * self.scale

    @torch.no_grad()
    def project_(self, params: Parameters) -> None:
        self.cell.project_(params, self.largest_input(params))

    def read(
        self,
        params: Parameters,
        segment: Segment,
        state: Float[Tensor, "S B D"],
        noise: UInt8[Tensor, "S 2 T B H"] | None = None,
    ) -> tuple[Float[Tensor, "S"], Float[Tensor, "S B D"]]:
        """The mean cross entropy a word, nats, and the last state.

        `noise`: bytes that decide what dropout leaves out before and after the cell.
        """
        embeddings = params["embed"].unbind()
        # not F.embedding: its gradient may read on the host how many words there are, on CUDA
        x = torch.stack([each[segment.inputs] for each in embeddings])
        if noise is not None:
            x = self._kept(x, noise[:, 0])
        seen, state = self.cell.scan(self.cell.weights(params), x, state)
        if noise is not None:
            seen = self._kept(seen, noise[:, 1])
        targets = segment.targets.flatten().long()
        rows = zip(seen.flatten(1, 2), embeddings, params["b_out"], strict=True)
        return torch.stack([self.loss(*row, targets) for row in rows]), state

    def _kept(self, values: Tensor, noise: Tensor) -> Tensor:
        return values * ((noise >= self.dropped) * self.scale)


def network_of(trial: Trial) -> Layout:
    """The network of a trial: one that reads words for a text, else one with a linear read-out."""
    return (TiedNetwork if TASKS[trial.task].reads_text else Network)(trial)
