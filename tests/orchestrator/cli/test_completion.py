"""The shell completes names of runs, configuration keys and their values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAIN = str(ROOT / "configs" / "4agents_ring.yaml")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("ring-able-ant-0001", "ring-big-bee-0002", "spread-cold-cat-0003"):
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        (directory / "config.json").write_text("{}")
        (directory / "run.json").write_text(json.dumps({"state": "ENDED", "exit_code": 0}))
    return tmp_path


def completed(home: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    asked = {"_ORCHESTRATE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("orchestrate", *words)), "COMP_CWORD": str(len(words))}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **asked}
    command = [sys.executable, "-m", "orchestrator"]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("command", ["show", "ps", "attach", "logs", "down"])
def test_names_of_runs(home: Path, command: str) -> None:
    assert sorted(completed(home, command, "ring-")) == ["ring-able-ant-0001", "ring-big-bee-0002"]


def test_names_of_runs_in_another_folder(home: Path) -> None:
    (home / "runs").rename(home / "elsewhere")
    assert completed(home, "show", "ring-") == []
    assert completed(home, "--runs-dir", "elsewhere", "show", "spread") == ["spread-cold-cat-0003"]


def test_keys_are_those_of_the_components_that_the_file_chooses(home: Path) -> None:
    assert completed(home, "up", MAIN, "agents.learner.v") == ["agents.learner.value_range="]
    (home / "x.yaml").write_text("until: {steps: 5}\nenvironment: {id: landmarks}\nagents: {learner: {kind: ppo}}\n")
    assert completed(home, "validate", "x.yaml", "agents.learner.gae") == ["agents.learner.gae_lambda="]
    assert completed(home, "up", "missing.yaml", "agents.cou") == ["agents.count="]


def test_values_after_the_sign(home: Path) -> None:
    assert completed(home, "up", MAIN, "agents.learner.kind=im") == ["agents.learner.kind=impala"]
    assert completed(home, "up", MAIN, "clock", "=", "w") == ["wall"], "bash splits words at ="
    assert completed(home, "up", MAIN, "evaluation.aligned=") == ["evaluation.aligned=true", "evaluation.aligned=false"]


def test_names_of_shipped_configurations(home: Path) -> None:
    assert completed(home, "up", "odmar/fa") == ["odmar/far"]
    assert completed(home, "validate", "experiments/") == [], "these are not configurations of runs"
    assert completed(home, "up", "amigo/default", "agents.teacher.ki") == ["agents.teacher.kind="], "keys of what the name stands for"
