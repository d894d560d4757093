"""What a running study shows: `display` has the two ways to show it, `tally` counts."""

from rnn_study.progress.display import Observer, PlainProgress, Progress, observer, say

__all__ = ["Observer", "PlainProgress", "Progress", "observer", "say"]
