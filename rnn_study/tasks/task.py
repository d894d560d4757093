"""`Task`: the contract of a data set with its loss and metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class Sequences:
    """N sequences of T time steps and their targets, on the host."""

    inputs: np.ndarray
    """(N, T), or (N, T, I): what `Task.encode` takes."""
    targets: np.ndarray
    """(N,) for one target a sequence."""


class Task(ABC):
    """A data set, a loss and its metrics. Stateless: data follow from seed, length and size."""

    min_length: int
    """Shortest sequences, time steps."""
    inputs: int
    """I, input channels of the cell."""
    outputs: int
    """O, outputs of the read-out."""
    metric: str
    """The metric that tables show; larger is better."""

    @abstractmethod
    def sequences(self, seed: int, split: Split, length: int, size: int) -> Sequences:
        """The data that `seed` draws. Splits and lengths are independent draws."""

    @abstractmethod
    def encode(self, inputs: Tensor) -> Float[Tensor, "*batch I"]:
        """Stored inputs as input channels."""

    @abstractmethod
    def loss(
        self, outputs: Float[Tensor, "S B O"], targets: Integer[Tensor, "S B"]
    ) -> Float[Tensor, "S B"]:
        """The loss of each sequence."""

    @abstractmethod
    def score(
        self, outputs: Float[Tensor, "S B O"], targets: Integer[Tensor, "S B"]
    ) -> Float[Tensor, "S B"]:
        """Each sequence's share in the metric, whose value is the mean over sequences."""

    @abstractmethod
    def solved(self, metric: np.ndarray) -> np.ndarray:
        """Whether a validation metric ends training, elementwise."""


def one_hot(tokens: Integer[Tensor, "*batch"], channels: int) -> Float[Tensor, "*batch I"]:
    """One channel a token, float32."""
    return torch.eye(channels, device=tokens.device)[tokens.long()]
