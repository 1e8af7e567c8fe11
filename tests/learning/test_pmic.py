"""PMIC learns: minutes of real processes, so not in every run of the tests."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, metrics, orchestrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_three_processes_learn_cooperative_navigation_within_40000_steps(tmp_path: Path) -> None:
    """Four times the updates of the shipped configuration. Uniform forces are given -232, the metrics of a run add up three agents."""
    config = REPOSITORY / "configs" / "pmic" / "navigation.yaml"
    given = [
        "agents.learner.replay_ratio=0.08",
        "until.steps=40000",
        "evaluation={every: {steps: 20000}, episodes: 128, final_episodes: 512}",
    ]
    done = orchestrate(tmp_path / "runs", "up", str(config), *given, "--name", "smoke", "--plain", timeout=1400)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "smoke"
    assert metrics(directory, "env-0", "eval.own.return")[-1] / 3 >= -210
    for agent in ("agent-0", "agent-1", "agent-2"):
        rows = map(json.loads, (directory / "nodes" / agent / "metrics.jsonl").read_text().splitlines())
        assert all(math.isfinite(row["value"]) for row in rows if row["name"].startswith(("mi.", "learner.", "return")))
        assert metrics(directory, agent, "updates")[-1] > 2500 and metrics(directory, agent, "mi.bonus.std")[-1] > 0
