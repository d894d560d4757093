"""Ray Tune runs the packs of a study; nothing else imports ray or optuna."""

from rnn_study.scheduling.interruption import Interrupted
from rnn_study.scheduling.outcomes import Outcomes
from rnn_study.scheduling.plan import Plan, Searching, plan
from rnn_study.scheduling.run import Report, run

__all__ = ["Interrupted", "Outcomes", "Plan", "Report", "Searching", "plan", "run"]
