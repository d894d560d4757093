"""The word-level language model (paper, Section 5.3): which word comes next in a text?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rnn_study.errors import require
from rnn_study.tasks.metric import Metric
from rnn_study.tasks.task import Task

if TYPE_CHECKING:
    from rnn_study.trials import Trial


class Language(Task):
    """Every word is an input, and the next one the answer.

    The text stands in `batch` streams of equal length, which are read side by side in segments of
    `length` words; the state at the end of a segment is where the next begins, in training and in
    validation. Words enter by an embedding as wide as the hidden layer, whose matrix the softmax
    shares. The loss is the mean cross entropy a word, in nats; the perplexity is its exponential.
    A uniform guess has the perplexity of the vocabulary's size.

    The texts are a `Corpus`; a trial names it by its content, and whoever trains it says where it
    lies.
    """

    transient = 1500
    reads_text = True
    metric = Metric(
        name="perplexity",
        title="perplexity",
        larger_is_better=False,
        baseline=None,  # `texts.metric` has that of a text
        baseline_name="",
        logarithmic=True,
        digits=3,
        precision=0.05,
        relative=True,
        tested=True,
    )

    def check(self, trial: Trial) -> None:
        watched = trial.dynamics_every > 0
        require(not watched or len(trial.words) > 0, "words", (), "name words to watch")
        mean = trial.batch_loss == "mean"
        require(mean, "batch_loss", trial.batch_loss, "a text's loss is the mean over its words")

    def cost(self, trial: Trial) -> float:
        """The products of the softmax."""
        return 2.0 * trial.hidden * trial.vocabulary

    def measured(self, loss: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(over="ignore"):
            return {"perplexity": np.exp(loss)}
