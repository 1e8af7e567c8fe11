"""The notebook in examples/ runs from the first cell to the last."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "first_run.ipynb"


def cells() -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def program() -> str:
    """The code cells as one program, which prints the value of each cell as a notebook shows it."""
    lines = []
    for cell in cells():
        tree = ast.parse(cell)
        if isinstance(tree.body[-1], ast.Expr):
            *before, last = tree.body
            lines += [ast.unparse(ast.Module(before, [])), f"print(repr({ast.unparse(last)}))"]
        else:
            lines.append(cell)
    return "\n".join(lines)


def test_it_holds_no_outputs() -> None:
    contents = json.loads(NOTEBOOK.read_text())
    assert not [cell for cell in contents["cells"] if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.runs
@pytest.mark.timeout(300)
@pytest.mark.cluster
def test_all_cells_run(tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program()], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("<Run ring-") and ": done, runs/" in lines[0]
    assert any(line.startswith("(<Policy of agent-0: observation (8,) float32") for line in lines)
    assert (tmp_path / "return.png").read_bytes().startswith(b"\x89PNG")
    assert "success" in done.stdout and done.stderr == ""
