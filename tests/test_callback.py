"""What is told of a pack that failed: of all that Ray writes about it, the line that names why."""

from __future__ import annotations

import pytest

from rnn_study.scheduling.callback import reason_of

ACTOR = (
    "\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=1234, ip=192.0.2.2, actor_id=0a1b, repr=train)"
)
RAISED = f"""\
{ACTOR}
  File "worker.py", line 79, in train_pack
    raise Wrong
ValueError: the first

During handling of the above exception, another exception occurred:

{ACTOR}
  File "worker.py", line 81, in train_pack
    write(data)
"""
AWAY = "rnn_study.storage.StorageAway: s3://studies/x could not be written at http://h: TOO_SKEWED"
BAD = "rnn_study.errors.InvalidInput: batch: 20 is not allowed; use at most 5"
EXISTS = "FileExistsError: [Errno 17] File exists: '/storage/checkpoints/23f2666004e12b24'"
CUDA = "torch.AcceleratorError: CUDA error: unknown error"
DIED = "The actor died unexpectedly before finishing this task."
FAILURES = {
    AWAY: f"{RAISED}{AWAY}",
    BAD: f"{RAISED}{BAD}",
    EXISTS: f"{RAISED}{EXISTS}",
    "MemoryError": f"{RAISED}MemoryError",
    CUDA: f"{RAISED}{CUDA}\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    DIED: f"{DIED}\n\tclass_name: ImplicitFunc\n\tpid: 1234\nThe actor is dead because: it died.",
}


@pytest.mark.parametrize("reason", FAILURES)
def test_the_reason_of_the_last_failure_is_told_in_a_line(reason):
    """Of what Ray Tune adds to a file at every failure."""
    earlier = f"{RAISED}KeyError: 'an earlier one'"
    texts = enumerate((earlier, FAILURES[reason]), start=1)
    written = "".join(f"Failure # {n} (occurred at 2026-11-26)\n{text}\n" for n, text in texts)
    assert reason_of(written) == reason
