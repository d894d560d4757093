"""How do networks that write text differ, in perplexity and in what they repeat? (Section 5.3)

`python studies/language_model.py --help` explains it; some minutes on two cores give an answer.
"""

import sys
from dataclasses import replace
from pathlib import Path

from rnn_study.cli import Preset, main
from rnn_study.config import Study
from rnn_study.execution import Execution

QUESTION = """\
How well do recurrent networks predict the next word, and what do they do when they
read their own words? A network that settles repeats itself: after how many words,
and in how long a cycle? Without --data it reads a small text of the project's own."""

# The paper's text to the letter (Ribeiro et al., AISTATS 2020, Section 5.3); it ends by its rate.
PAPER = Study(
    name="language-model",
    task="language",
    cells=("lstm", "stable_lstm", "orthogonal"),
    lengths=(80,),
    seeds=range(3),
    hidden=800,
    epochs=1000,
    batch=100,
    train_size=0,
    val_size=0,
    learning_rate=1e-3,
    decay_epochs=(),
    patience=7,
    least_rate=1e-7,
    dropout=0.5,
    dynamics_every=3,
    words=("is", "Valkyria", "<unk>", "<eos>"),
)
LAPTOP = replace(
    PAPER, name="language-model-laptop", lengths=(35,), hidden=64, epochs=30, batch=20, patience=2,
    learning_rate=3e-3, orthogonal_rate=0.1, dropout=0.2,
)  # fmt: skip
SMOKE = replace(
    LAPTOP, name="language-model-smoke", lengths=(20,), seeds=range(2), hidden=32, epochs=4,
    train_size=4000, val_size=1000, test_size=1000, dynamics_every=2,
)  # fmt: skip
PRESETS = {
    "smoke": Preset(study=SMOKE, description="does it run here? about a minute on 2 cores"),
    "laptop": Preset(study=LAPTOP, description="shows the differences in minutes on 2 cores"),
    "paper": Preset(
        study=PAPER,
        data=Path("wikitext-2"),
        execution=Execution(pack_size=3, gpus_per_pack=1.0, checkpoint_seconds=600.0),
        description="the paper's Section 5.3, Figures 8 and 9: WikiText-2 in --data, and a GPU",
    ),
}

if __name__ == "__main__":
    sys.exit(main(PRESETS, QUESTION))
