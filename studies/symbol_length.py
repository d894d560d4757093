"""How does training depend on architecture, sequence length and seed? (the paper's Table 1)

`python studies/symbol_length.py --help` explains it; a few minutes on two cores give an answer.
"""

import sys
from dataclasses import replace

from rnn_study.cli import Preset, main
from rnn_study.config import Study
from rnn_study.execution import Execution

QUESTION = """\
How does training a recurrent network depend on its architecture, the sequence
length and the seed? A network sees two marked symbols among distractors and tells
their order at the end; the longer the sequence, the further back it has to look."""

# The paper's text to the letter (Ribeiro et al., AISTATS 2020, Section 5.2 and Table 1).
PAPER = Study(
    name="symbol-length",
    task="symbol",
    cells=("lstm", "stable_lstm", "orthogonal"),
    lengths=(50, 100, 200, 300, 500),
    seeds=range(32),
    hidden=200,
    epochs=15_000,
    learning_rate=1e-2,
)
LAPTOP = replace(
    PAPER,
    name="symbol-length-laptop",
    lengths=(50, 60, 100),
    seeds=range(6),
    hidden=50,
    epochs=60,
    learning_rate={"lstm": 1e-2, "stable_lstm": 1e-2, "orthogonal": 3e-3},
)
SMOKE = replace(
    LAPTOP,
    name="symbol-length-smoke",
    lengths=(50,),
    seeds=range(2),
    hidden=32,
    epochs=10,
    train_size=200,
    val_size=200,
)
PRESETS = {
    "smoke": Preset(study=SMOKE, description="does it run here? under a minute on 2 cores"),
    "laptop": Preset(study=LAPTOP, description="shows the finding in 5 minutes on 2 cores"),
    "paper": Preset(
        study=PAPER,
        execution=Execution(pack_size=32, gpus_per_pack=1.0),
        description="the paper's Table 1, for a cluster with GPUs",
    ),
}

if __name__ == "__main__":
    sys.exit(main(PRESETS, QUESTION))
