"""`Task`: what every task says of itself; `SequenceTask`: the contract of those that draw theirs.

The other kind reads a text: `language.Language`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from rnn_study.errors import require
from rnn_study.tasks.metric import Metric

if TYPE_CHECKING:
    from rnn_study.trials import Trial

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class Sequences:
    """N sequences of T time steps and their targets, on the host."""

    inputs: np.ndarray
    """(N, T), or (N, T, I): what `Task.encode` takes."""
    targets: np.ndarray
    """(N,) for one target a sequence, (N, T) for one a step."""


class Task(ABC):
    """A data set, a loss and its metrics."""

    min_length: int = 1
    """Shortest sequences, time steps."""
    transient: int = 400
    """Steps under a constant input before orbits are taken to lie on an attractor."""
    metric: Metric
    """The metric that networks are compared by: the loss, or one of the scores."""
    reads_text: ClassVar[bool] = False
    """Whether it reads a corpus, in segments through which the state is carried."""

    @abstractmethod
    def check(self, trial: Trial) -> None:
        """Refuses settings that the task has no use for. Raises InvalidInput."""

    def cost(self, trial: Trial) -> float:
        """Floating-point operations a sequence and time step beside those of the recurrence."""
        return 0.0

    def measured(self, loss: np.ndarray) -> dict[str, np.ndarray]:
        """Scores, by name, that follow from the mean losses (S,) of a split."""
        return {}


class SequenceTask(Task):
    """Draws sequences. Stateless: data follow from seed, length and size.

    A new task says `inputs`, `answers`, `shown` and `metric`, implements what is abstract, and
    overrides the rest where it differs.

    `*T` in shapes: no axis, or T where the task reads the network out at every step.
    """

    inputs: int
    """I, input channels of the cell."""
    every_step: bool = False
    """Whether the read-out is at every step, or at the last alone."""
    answers: tuple[str, ...]
    """The names of the outputs, one each."""
    shown: tuple[str, ...]
    """Those of the `probes` that figures show; bifurcations are followed under the first."""

    @property
    def outputs(self) -> int:
        """O, outputs of the read-out."""
        return len(self.answers)

    def check(self, trial: Trial) -> None:
        """Whole batches of training data; nothing that only a text has."""
        require(
            trial.train_size % trial.batch == 0,
            "batch",
            trial.batch,
            f"use a divisor of train_size = {trial.train_size}",
        )
        for name in ("test_size", "dropout", "vocabulary", "words", "corpus"):
            value = getattr(trial, name)
            require(not value, name, value, "only a task that reads a text has it")

    @abstractmethod
    def sequences(self, seed: int, split: Split, length: int, size: int) -> Sequences:
        """The data that `seed` draws. Splits and lengths are independent draws."""

    @abstractmethod
    def encode(self, inputs: Tensor) -> Float[Tensor, "*batch I"]:
        """Stored inputs as input channels."""

    @abstractmethod
    def probes(self) -> dict[str, np.ndarray]:
        """Constant inputs under which attractors are watched, by name; (I,) each."""

    @abstractmethod
    def loss(self, outputs: Float[Tensor, "S B *T O"], targets: Tensor) -> Float[Tensor, "S B"]:
        """The loss of each sequence. `targets`: (S, B, *T)."""

    def scores(
        self, outputs: Float[Tensor, "S B *T O"], targets: Tensor
    ) -> dict[str, Float[Tensor, "S B"]]:
        """Metrics beside the loss, by name: each sequence's share in a mean over sequences."""
        return {}


def one_hot(tokens: Integer[Tensor, "*batch"], channels: int) -> Float[Tensor, "*batch I"]:
    """One channel a token, float32."""
    return torch.eye(channels, device=tokens.device)[tokens.long()]
