"""Which architectures learn to oscillate, and with which seeds? (the paper's Section 5.1)

`python studies/sine_wave.py --help` explains it; a few minutes on two cores give an answer.
"""

import sys
from dataclasses import replace

from rnn_study.cli import Preset, main
from rnn_study.config import Study
from rnn_study.execution import Execution

QUESTION = """\
Which recurrent networks learn to oscillate? The input is a constant, the frequency;
the answer is the sine wave of that frequency, for as long as the network runs. A
network that settles has nothing to oscillate with: how do the others begin to?"""

# The paper's text to the letter (Ribeiro et al., AISTATS 2020, Section 5.1), with validation data.
DECAY = (500, 1000, 2000)
PAPER = Study(
    name="sine-wave",
    task="sine",
    cells=("lstm", "stable_lstm", "orthogonal"),
    lengths=(400,),
    seeds=range(32),
    hidden=200,
    epochs=4000,
    batch=10,
    train_size=100,
    val_size=100,
    learning_rate=1e-3,
    decay_epochs={"stable_lstm": DECAY, "stable_lstm_provable": DECAY},
    dynamics_every=50,
)
LAPTOP = replace(
    PAPER, name="sine-wave-laptop", lengths=(100,), seeds=range(6), hidden=50, epochs=250,
    dynamics_every=25,
)  # fmt: skip
SMOKE = replace(
    LAPTOP, name="sine-wave-smoke", lengths=(50,), seeds=range(2), hidden=32, epochs=10,
    dynamics_every=5,
)  # fmt: skip
PRESETS = {
    "smoke": Preset(study=SMOKE, description="does it run here? under a minute on 2 cores"),
    "laptop": Preset(study=LAPTOP, description="shows the finding in 5 minutes on 2 cores"),
    "paper": Preset(
        study=PAPER,
        execution=Execution(pack_size=32, gpus_per_pack=1.0),
        description="the paper's Section 5.1, Figures 4 and 5, for a cluster with GPUs",
    ),
}

if __name__ == "__main__":
    sys.exit(main(PRESETS, QUESTION))
