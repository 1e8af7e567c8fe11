"""All messages after an episode, through real processes: they pass every guard, and one seed gives the same bytes twice."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from tests.runs.system import CONFIG, SMALL, metrics, orchestrate, processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(200)]
TELLING = [
    "exchange.hindsight={strategies: [future, joint, final, peer_goal]}",
    "agents.goals={kind: joint_learning_progress, window: 5}",
    "environment.options.room=170",
    "environment.options.margin=20",
    "environment.options.horizon=40",
    "until={episodes: 200, time: 90s}",
    "supervision.checkpoint_interval=30s",
    "clock=logical",
]


def digest(directory: Path) -> str:
    """Of all that the agents wrote and learnt."""
    agents = sorted(directory.glob("nodes/agent-*"))
    files = [path for agent in agents for path in (*sorted(agent.glob("checkpoints/*.safetensors")), agent / "metrics.jsonl")]
    assert len(files) >= 8
    return sha256(b"".join(sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def test_traces_between_processes_bit_for_bit(tmp_path: Path) -> None:
    runs, found = tmp_path / "runs", []
    for name in ("one", "two"):
        done = orchestrate(runs, "up", str(CONFIG), "--name", name, *SMALL, *TELLING)
        assert done.returncode == 0, done.stdout + done.stderr
        directory = runs / name
        for i in range(4):
            agent = f"agent-{i}"
            assert metrics(directory, agent, "hindsight.complete")[-1] > 20
            assert metrics(directory, agent, "hindsight.incomplete")[-1] == 0
            assert metrics(directory, agent, "updates")[-1] > 10
        assert processes_of(directory) == []
        found.append(digest(directory))
    assert found[0] == found[1]
