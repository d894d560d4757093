"""Runs to tables: what a study found, by cell and length and over its seeds.

Every table takes the frame of `tracking.read_runs`, one row a run, and never depends on the order
of its rows. Rules that all follow, beside those of `grouping`:

- FAILED runs are counted as failed, and RUNNING, KILLED and SCHEDULED ones as unfinished; neither
  enters a statistic.
- A diverged seed is a finished one: it is unsolved, and its metric is the last finite value that
  was logged. Where no value was ever finite, it is left out of the quantiles and still counts in
  `seeds` and `diverged`.
- The task's metric says which value is better, and whether there is a goal that solves the task;
  where there is none, nothing is said about solving.
- Intervals are those of `statistics`, of 95%. Those that draw take a generator, by default always
  the same one, so that equal runs give equal tables; a condition's interval is the same whatever
  other conditions there are.

`tables`: by length and over the seeds; `cells`: cells against each other; `variance`: crossed
designs; `grouping`: which runs belong together.
"""

from rnn_study.aggregate.cells import cell_comparison, cell_summary
from rnn_study.aggregate.grouping import (
    CONDITION,
    SETTINGS,
    column_of,
    conditions,
    distinguishing,
    finished,
    flags,
    index,
    metric_of,
    one,
    trial_of,
    varying,
)
from rnn_study.aggregate.tables import (
    STATISTICS,
    length_table,
    runs,
    seed_sensitivity,
    seeds_needed,
)
from rnn_study.aggregate.variance import crossed, variance_split

__all__ = [
    "CONDITION",
    "SETTINGS",
    "STATISTICS",
    "cell_comparison",
    "cell_summary",
    "column_of",
    "conditions",
    "crossed",
    "distinguishing",
    "finished",
    "flags",
    "index",
    "length_table",
    "metric_of",
    "one",
    "runs",
    "seed_sensitivity",
    "seeds_needed",
    "trial_of",
    "variance_split",
    "varying",
]
