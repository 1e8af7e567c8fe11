import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIG = REPOSITORY / "configs" / "4agents_ring.yaml"

Orchestrate = Callable[..., subprocess.CompletedProcess[str]]


def environment(runs: Path) -> dict[str, str]:
    names = ("PATH", "HOME", "TMPDIR", "VIRTUAL_ENV", "LANG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "ORCHESTRATE_RUNS": str(runs), "COLUMNS": "160", "PYTHONPATH": str(REPOSITORY)}


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "orchestrator", *map(str, arguments)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def orchestrate(tmp_path: Path, runs: Path) -> Orchestrate:
    """Run `orchestrate ARGUMENTS` to its end in an empty directory, output piped."""

    def run(*arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(arguments), cwd=tmp_path, env=environment(runs), capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
