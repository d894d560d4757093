"""What networks do when their input is held constant, or their output fed back."""

from rnn_study.dynamics.attractors import Attractors, attractors
from rnn_study.dynamics.bifurcations import Bifurcation, bifurcations
from rnn_study.dynamics.classify import Classification, Kind, classify
from rnn_study.dynamics.contraction import Contraction, contraction, entropy_bound, expansion
from rnn_study.dynamics.fixed_points import FixedPoints, fixed_points
from rnn_study.dynamics.lyapunov import lyapunov_spectrum
from rnn_study.dynamics.orbits import advance, orbit, orbit_diagram
from rnn_study.dynamics.portrait import Portrait, portraits
from rnn_study.dynamics.smoothness import Smoothness, smoothness
from rnn_study.dynamics.step import (
    Read,
    Step,
    closed_loop,
    constant_input,
    iterate,
    read_out,
    whole,
)

__all__ = [
    "Attractors",
    "Bifurcation",
    "Classification",
    "Contraction",
    "FixedPoints",
    "Kind",
    "Portrait",
    "Read",
    "Smoothness",
    "Step",
    "advance",
    "attractors",
    "bifurcations",
    "classify",
    "closed_loop",
    "constant_input",
    "contraction",
    "entropy_bound",
    "expansion",
    "fixed_points",
    "iterate",
    "lyapunov_spectrum",
    "orbit",
    "orbit_diagram",
    "portraits",
    "read_out",
    "smoothness",
    "whole",
]
