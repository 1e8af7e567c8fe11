"""ODMAR learns: minutes of real processes, so not in every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, metrics, orchestrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_agents_with_one_model_find_the_sites_within_a_thousand_steps(tmp_path: Path) -> None:
    """2,000 random steps and 1,000 of learning: more than the 392 of agents that settle on the nearest site (488 is the greatest)."""
    config = REPOSITORY / "configs" / "odmar" / "greedy.yaml"
    done = orchestrate(tmp_path / "runs", "up", str(config), "until.steps=3000", "--name", "smoke", timeout=1400)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "smoke"
    assert metrics(directory, "env-0", "eval.own.return")[-1] > 440
    assert metrics(directory, "agent-0", "statistics.origins")[-1] == 5
