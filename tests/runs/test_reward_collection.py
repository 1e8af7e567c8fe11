"""Reward collection through real processes: continuous actions, agents that all play together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, metrics, orchestrate, processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]
CONFIG = REPOSITORY / "configs" / "environments" / "reward_collection.yaml"
SHORT = [
    "until={episodes: 24, time: 60s}",
    "environment.copies=4",
    "environment.options.horizon=25",
    "evaluation={every: 100000, episodes: 4, final_episodes: 4, aligned: false}",
    "agents.learner={kind: ppo, steps: 20, epochs: 2, hidden: [16], evaluation: mode}",
    "metrics.every=200ms",
]


def test_five_agents_collect(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = orchestrate(runs, "up", str(CONFIG), "--name", "collect", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = runs / "collect"
    for figure in ("eval.own.return", "eval.own.sites.visited", "eval.own.length"):
        assert len(metrics(directory, "env-0", figure)) == 2, figure
    assert metrics(directory, "env-0", "eval.own.length") == [25, 25]
    visited = metrics(directory, "env-0", "sites.visited")
    assert visited and all(0 <= share <= 1 for share in visited)
    for i in range(5):
        agent = f"agent-{i}"
        assert metrics(directory, agent, "updates")[-1] >= 3 and metrics(directory, agent, "learner.loss.policy")
    assert processes_of(directory) == []
