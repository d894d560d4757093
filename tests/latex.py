"""Tables in LaTeX: their form, and that they compile."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")


def assert_is_latex(text: str) -> None:
    """Balanced, with as many cells in each row as columns are declared, and nothing unescaped."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    (sides,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert lines[0] == rf"\begin{{tabular}}{{{sides}}}"
    assert lines[-1] == r"\end{tabular}"
    for rule in ("toprule", "midrule", "bottomrule"):
        assert lines.count(rf"\{rule}") == 1
    for line in lines:
        assert line.count("{") == line.count("}")
        assert not re.search(r"(?<!\\)[_%#]", line)
        assert not re.search(r"[<>]", line.replace("$>$", ""))
        if line.endswith(r"\\"):
            wide = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert line.count("&") + 1 + wide == len(sides)


def assert_compiles(tables: Iterable[str], folder: Path) -> None:
    """With the packages that their comments name, all in one document."""
    body = "\n\n".join(tables)
    packages = "".join(sorted(set(re.findall(r"^% (\\usepackage\{\w+\})$", body, re.M))))
    assert packages == r"\usepackage{booktabs}"
    text = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (folder / "tables.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (folder / "tables.pdf").read_bytes().startswith(b"%PDF")
