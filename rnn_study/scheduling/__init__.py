"""Ray Tune runs the packs of a study; nothing else imports ray or optuna."""

from rnn_study.scheduling.interruption import Interrupted
from rnn_study.scheduling.plan import Plan, plan
from rnn_study.scheduling.run import Report, run

__all__ = ["Interrupted", "Plan", "Report", "plan", "run"]
