"""Everything that draws: tables, histories, orbits and albums to pictures, on Axes or as a Figure.

No queries, no statistics (medians come from `aggregate`), no `pyplot`: nothing global is touched.
`runs`: a study's runs and their histories; `rates` and `searches`: against the learning rate;
`orbits`: orbits, exponents and cost functions; `portraits` and `language`: what a watched network
did; `looks`: colours, sizes, axes and legends.
"""

from rnn_study.figures import language, looks, orbits, portraits, rates, runs, searches
from rnn_study.figures.rates import metric_by_rate
from rnn_study.figures.runs import (
    metric_by_length,
    seed_histories,
    training_histories,
    validation_histories,
)

__all__ = [
    "language",
    "looks",
    "metric_by_length",
    "metric_by_rate",
    "orbits",
    "portraits",
    "rates",
    "runs",
    "searches",
    "seed_histories",
    "training_histories",
    "validation_histories",
]
