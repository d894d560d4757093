"""Where does an LSTM of two units turn chaotic, and what does its cost function look like there?

`python studies/chaotic_lstm.py --help` explains it; it takes some 15 seconds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rnn_study.errors import require, require_whole
from rnn_study.flags import script

QUESTION = """\
Where does an LSTM of two units turn chaotic, and what does its cost function look like there?
Draws Figure 1 and Supplementary Figure 1 of Ribeiro et al. (AISTATS 2020): orbits, Lyapunov
exponents and mean square error of the networks s * theta_true against s, and the error on the plane
s1 * theta_true + s2 * theta_random. Writes PNG, PDF and the data as CSV; needs no Ray or MLflow."""


@dataclass(frozen=True)
class Settings:
    """What is drawn, and where it goes."""

    out: Path = Path.home() / "rnn-studies" / "chaotic-lstm"
    """The folder of the figures and tables; made if it is missing."""
    low: float = 0.5
    """The smallest s. The network rests at a fixed point there."""
    high: float = 2.0
    """The largest s. The network has a cycle of period 4 there."""
    values: int = 5000
    """How many values of s, evenly from low to high; all run as one pack: at most 50,000."""
    grid: int = 200
    """Points along each side of the plane, at most 2,000."""
    seed: int = 0
    """Draws theta_random, the second direction of the plane."""

    def __post_init__(self) -> None:
        require(0 < self.low < 100, "low", self.low, "use a number above 0 and below 100")
        allowed = f"use a number above low ({self.low:g}) and at most 100"
        require(self.low < self.high <= 100, "high", self.high, allowed)
        require_whole("values", self.values, 2, 50_000)
        require_whole("grid", self.grid, 2, 2_000)
        require_whole("seed", self.seed, 0)


def draw(settings: Settings) -> None:
    """Compute, write and tell."""
    from rnn_study.reporting import chaotic  # takes a second

    chaotic.write(**vars(settings))


if __name__ == "__main__":
    sys.exit(script.main(Settings, draw, QUESTION))
