"""Trains the language model of the paper (Section 5.3) on one GPU with the training core alone.

    python benchmarks/gpu_language.py --data DIR --cells lstm --tf32 --seconds 400 --json FILE

Needs torch, NumPy and the core, as `gpu.py` does. Some seeds of each architecture train as a pack,
one architecture after the other, until their rate is least or the time is over. For each epoch it
prints the seconds and the perplexities of each seed; at the end, per architecture, the test
perplexity at the epoch of the best validation. The file is written after each epoch. The networks
are trained as those of `studies/language_model.py --preset paper`, which have other ids, for it
watches attractors too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gpu_setting import about, require_device
from json_files import require_writable, write_json

from rnn_study.cells import CELLS
from rnn_study.config import Pack, Trial
from rnn_study.errors import InvalidInput, require, require_member, require_positive
from rnn_study.tasks.corpus import Corpus, read_texts, tokenise
from rnn_study.training import train

OK, FAILED, REFUSED = 0, 1, 2


def main(argv: list[str] | None = None) -> int:
    """Trains, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the text")
    parser.add_argument("--device", default="cuda", help="cuda or cpu, default cuda")
    parser.add_argument("--cells", nargs="+", default=["lstm"], help=f"of {', '.join(CELLS)}")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each, default 3")
    parser.add_argument("--hidden", type=int, default=800, help="units, default 800 as the paper")
    parser.add_argument("--rate", type=float, default=1e-3, help="first learning rate")
    parser.add_argument("--orthogonal-rate", type=float, default=1.0, help="of it, in the skew")
    parser.add_argument("--patience", type=int, default=7, help="epochs without gain, default 7")
    parser.add_argument("--epochs", type=int, default=1000, help="at most, default 1000")
    parser.add_argument("--seconds", type=float, default=500.0, help="for each cell, default 500")
    parser.add_argument("--tf32", action="store_true", help="multiply in TF32")
    parser.add_argument("--json", type=Path, help="also write what is found to this file")
    options = parser.parse_args(argv)
    try:
        require_device(options.device)
        for cell in options.cells:
            require_member("cells", cell, CELLS)
        require_positive("seconds", options.seconds)
        exact = options.device == "cpu"
        require(not (exact and options.tf32), "tf32", True, "leave it out: it needs a GPU")
        require_writable(options.json)
        corpus = tokenise(read_texts(options.data))
        packs = {cell: pack(cell, corpus, options) for cell in options.cells}
    except InvalidInput as refused:
        print("error:", refused, file=sys.stderr)
        return REFUSED
    found: dict[str, list[dict[str, Any]]] = {cell: [] for cell in packs}
    given = {k: v for k, v in vars(options).items() if k not in ("json", "data")}
    head = {**about(options.device), "options": given}
    with tempfile.TemporaryDirectory() as folder:
        corpus.save(Path(folder))
        for cell, each in packs.items():
            for row in trained(each, Path(folder), options):
                found[cell].append(row)
                if options.json:
                    write_json(options.json, {**head, "epochs": found})
    print("\narchitecture, epochs, seconds an epoch and network, test perplexity of each seed")
    for cell, epochs in found.items():
        if not epochs:
            print(f"{cell:22} no epoch of all its networks together")
            continue
        seconds = np.median([epoch["seconds"] for epoch in epochs])
        perplexities = "  ".join(f"{perplexity:.1f}" for perplexity in at_best(epochs))
        print(f"{cell:22} {len(epochs):4} {seconds:8.2f}   {perplexities}")
    return OK if all(found.values()) else FAILED


def pack(cell: str, corpus: Corpus, options: argparse.Namespace) -> Pack:
    """The trials of an architecture. Raises InvalidInput."""
    return Pack(
        tuple(
            Trial(
                task="language", cell=cell, length=80, learning_rate=options.rate, seed=seed,
                hidden=options.hidden, batch=100, vocabulary=len(corpus.words), dropout=0.5,
                train_size=len(corpus.tokens["train"]), val_size=len(corpus.tokens["valid"]),
                test_size=len(corpus.tokens["test"]), corpus=corpus.id,
                patience=options.patience, least_rate=1e-7, decay_epochs=(),
                orthogonal_rate=options.orthogonal_rate if cell == "orthogonal" else 1.0,
                epochs=options.epochs, tf32=options.tf32,
            )
            for seed in range(options.seeds)
        )
    )  # fmt: skip


def trained(pack: Pack, folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What each epoch showed, while there is time. A network that leaves ends the training, and
    memory that runs out: all networks of an epoch have equal places in the lists."""
    end = time.monotonic() + options.seconds
    slowest, began = 0.0, time.monotonic()
    for number, epoch in enumerate(train(pack, options.device, corpora=folder), 1):
        if len(epoch.trials) < len(pack.trials):
            break
        row = {
            name: epoch.metrics[name].tolist()
            for name in ("train_perplexity", "val_perplexity", "test_perplexity", "learning_rate")
        }
        row["seconds"] = float(epoch.metrics["seconds"].mean())
        shown = "   ".join(
            f"{rate:.0e} {val:7.1f} {test:7.1f}"
            for rate, val, test in zip(
                row["learning_rate"], row["val_perplexity"], row["test_perplexity"], strict=True
            )
        )
        print(f"{pack.trials[0].cell} {number:3} {row['seconds']:7.2f} s   {shown}", flush=True)
        yield row
        slowest, began = max(slowest, time.monotonic() - began), time.monotonic()
        if began + slowest > end:
            break


def at_best(epochs: list[dict[str, Any]]) -> list[float]:
    """(S,) Test perplexities, each at the epoch of its best validation perplexity."""
    val, test = (np.array([e[f"{k}_perplexity"] for e in epochs]) for k in ("val", "test"))
    return test[val.argmin(0), np.arange(val.shape[1])].tolist()


if __name__ == "__main__":
    sys.exit(main())
