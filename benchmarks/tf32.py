"""What TF32 does to the perplexity of language models, on a CPU that imitates it.

    RNN_STUDY_NATIVE=0 python benchmarks/tf32.py --data DIR --json FILE

Networks with the same seeds train twice on the start of a text, as `--preset laptop` of
`studies/language_model.py`: in float32, and with every factor of every matrix product, forward and
backward, cut to the ten bits that TF32 keeps of a fraction (tensor cores sum in float32, as is done
here). Prints test perplexities at the epoch of the best validation, and the mean difference of the
pairs with its 95% interval. `gpu_language.py --tf32` has the speed, on a GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_language import at_best
from json_files import require_writable, write_json
from rivals import one_thread
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Trial
from rnn_study.environment import environment
from rnn_study.errors import InvalidInput, require, require_member
from rnn_study.native.library import SWITCH
from rnn_study.statistics import mean
from rnn_study.tasks.corpus import Corpus, read_texts, tokenise
from rnn_study.training import train

OK, REFUSED = 0, 2
KEPT = -(1 << 13)
"""A mask of the bits of a float32 number that TF32 keeps."""
PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}
"""Operations of torch that multiply matrices, and which of their arguments the factors are."""


class CutFactors(TorchDispatchMode):
    """Within it matrix products take their factors as tensor cores do in TF32."""

    products = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        factors = PRODUCTS.get(operation.overloadpacket.__name__.rstrip("_"), ())
        self.products += bool(factors)
        args = [cut(arg) if k in factors else arg for k, arg in enumerate(args)]
        return operation(*args, **(kwargs or {}))


def cut(x: torch.Tensor) -> torch.Tensor:
    """x of float32 without the last 13 bits of each fraction."""
    return (x.contiguous().view(torch.int32) & KEPT).view(torch.float32)


def main(argv: list[str] | None = None) -> int:
    """Trains, prints and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the text")
    parser.add_argument("--cells", nargs="+", default=["lstm", "stable_lstm", "orthogonal"])
    parser.add_argument("--seeds", type=int, default=8, help="networks of each, default 8")
    parser.add_argument("--epochs", type=int, default=10, help="default 10")
    parser.add_argument("--words", type=int, default=50_000, help="to train on, default 50000")
    parser.add_argument("--json", type=Path, help="also write what is found to this file")
    options = parser.parse_args(argv)
    one_thread()
    try:
        switched = os.environ.get(SWITCH)
        require(switched == "0", SWITCH, switched, "use 0: torch's products alone are imitated")
        for cell in options.cells:
            require_member("cells", cell, CELLS)
        require_writable(options.json)
        corpus = tokenise(read_texts(options.data))
        packs = {cell: pack(cell, corpus, options) for cell in options.cells}
    except InvalidInput as refused:
        print("error:", refused, file=sys.stderr)
        return REFUSED
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        corpus.save(Path(folder))
        for cell, each in packs.items():
            rows.append(compared(cell, each, Path(folder)))
            print(shown(rows[-1]), flush=True)
            if options.json:
                write(options, rows)
    return OK


def compared(cell: str, pack: Pack, folder: Path) -> dict[str, Any]:
    """The perplexities of each seed both ways, and the mean difference with its interval."""
    exact = perplexities(pack, folder)
    with CutFactors() as mode:
        rough = perplexities(pack, folder)
    if not mode.products:
        raise RuntimeError("no product was imitated")
    difference = [round(float(x), 3) for x in mean(rough - exact)]
    found = {"float32": exact.round(2).tolist(), "tf32": rough.round(2).tolist()}
    return {"cell": cell, **found, "difference": difference}


def write(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """What is found so far, and with what."""
    given = {k: v for k, v in vars(options).items() if k not in ("json", "data")}
    here = environment()
    about = {key: here[key] for key in ("torch", "processor", "git_commit")}
    write_json(options.json, {**about, "options": given, "rows": rows})


def pack(cell: str, corpus: Corpus, options: argparse.Namespace) -> Pack:
    """The trials of an architecture. Raises InvalidInput."""
    return Pack(
        tuple(
            Trial(
                task="language", cell=cell, length=35, learning_rate=3e-3, seed=seed, hidden=64,
                batch=20, vocabulary=min(4000, len(corpus.words)), dropout=0.2, corpus=corpus.id,
                train_size=min(options.words, len(corpus.tokens["train"])),
                val_size=min(options.words // 5, len(corpus.tokens["valid"])),
                test_size=min(options.words // 5, len(corpus.tokens["test"])),
                patience=2, least_rate=1e-7, decay_epochs=(), epochs=options.epochs,
                orthogonal_rate=0.1 if cell == "orthogonal" else 1.0,
            )
            for seed in range(options.seeds)
        )
    )  # fmt: skip


def perplexities(pack: Pack, folder: Path) -> np.ndarray:
    """(S,) Test perplexities, each at the epoch of its best validation perplexity."""
    began, epochs = time.monotonic(), []
    for epoch in train(pack, "cpu", corpora=folder):
        epochs.append(epoch.metrics)
        print(f"{pack.trials[0].cell}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return np.array(at_best(epochs))


def shown(row: dict[str, Any]) -> str:
    """Two lines of perplexities and one of their differences."""
    value, low, high = row["difference"]
    lines = [
        f"{row['cell']:12} {kind:8} " + "  ".join(f"{p:6.1f}" for p in row[kind])
        for kind in ("float32", "tf32")
    ]
    return "\n".join([*lines, f"{'':12} TF32 adds {value:.2f} [{low:.2f}, {high:.2f}]"])


if __name__ == "__main__":
    sys.exit(main())
