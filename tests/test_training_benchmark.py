"""`benchmarks/training.py` runs from end to end, small, and writes the rows that it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "training.py"
FIELDS = {
    "cell", "hidden", "length", "pack", "device", "updates_per_second", "rival",
    "rival_updates_per_second", "ratio", "bytes_per_member",
}  # fmt: skip


def test_it_writes_a_list_of_rows(tmp_path):
    small = ["--hidden", "3", "--lengths", "50", "--packs", "2", "--seconds", "0.01"]
    asked = ["--rivals", "serial", "vmap", "--json", str(tmp_path / "rows.json")]
    command = [sys.executable, str(SCRIPT), *small, *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["cell"], row["rival"]) for row in rows] == [
        ("lstm", "serial torch.nn.LSTM"), ("lstm", "vmap loop"),
        ("orthogonal", "serial loop"), ("orthogonal", "vmap loop"),
    ]  # fmt: skip
    for row in rows:
        assert row.keys() >= FIELDS
        assert row["updates_per_second"] > 0 and row["bytes_per_member"] > 0
        quotient = row["updates_per_second"] / row["rival_updates_per_second"]
        assert abs(row["ratio"] - quotient) < 0.01
