"""Sine-wave generation (paper, Section 5.1), after Sussillo and Barak (Neural Comput. 25, 2013)."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rnn_study.randomness import generator
from rnn_study.tasks.metric import Metric
from rnn_study.tasks.task import Sequences, SequenceTask, Split


class Sine(SequenceTask):
    """A constant input names a frequency w: answer with sin(w t) at the steps t = 1, 2, 3, ...

    The input is w itself, in radians a step, uniform within `band`: periods of 16 to 32 steps. The
    read-out is at every step, the loss the mean square error over all of them. The network has to
    oscillate by itself, which one with a single attracting fixed point does only for a while.
    Always answering zero has the error 0.5, to within 0.5 / `length`.

    The paper trains on 100 sequences and has no others; its histories are of the training error.
    Here validation sequences have frequencies of the same band, drawn by a generator of their own,
    so that they lie between those trained. The authors' code takes 100 equally spaced frequencies
    and also trains an initial state for each sequence; the text says neither, and nor do we.
    """

    band = (math.pi / 16, math.pi / 8)
    min_length = 32  # one period of the slowest
    inputs = 1
    every_step = True
    answers = ("y",)
    shown = ("0.218",)
    transient = 1200
    metric = Metric(
        name="loss",
        title="mean square error",
        larger_is_better=False,
        baseline=0.5,
        baseline_name="always zero",
        logarithmic=True,
    )

    def sequences(self, seed: int, split: Split, length: int, size: int) -> Sequences:
        """Inputs (N, T), the frequency at every step, and targets (N, T), its sine; float32."""
        rng = generator(seed, "sine", split, length)
        frequencies = rng.uniform(*self.band, (size, 1))
        targets = np.sin(frequencies * np.arange(1, length + 1))
        inputs = np.repeat(frequencies, length, axis=1)
        return Sequences(inputs.astype(np.float32), targets.astype(np.float32))

    def encode(self, inputs: Tensor) -> Float[Tensor, "*batch I"]:
        return inputs[..., None]

    def probes(self) -> dict[str, np.ndarray]:
        """Ten frequencies, evenly over the band; the paper's figure shows the second, 0.218."""
        return {f"{w:.3f}": np.array([w]) for w in np.linspace(*self.band, 10)}

    def loss(
        self, outputs: Float[Tensor, "S B T O"], targets: Float[Tensor, "S B T"]
    ) -> Float[Tensor, "S B"]:
        """Mean square error over the steps."""
        return (outputs.squeeze(-1) - targets).square().mean(-1)
