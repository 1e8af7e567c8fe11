"""Whole episodes sent through real processes, under both clocks."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, events, metrics, orchestrate, processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
CONFIG = REPOSITORY / "configs" / "environments" / "reward_collection.yaml"
AGENTS = [f"agent-{i}" for i in range(3)]
SHORT = [
    "agents.count=3",
    "network.topology={kind: path}",
    "environment.copies=4",
    "environment.options.horizon=25",
    "evaluation={every: 100000, episodes: 4, final_episodes: 4, aligned: false}",
    "agents.learner={kind: sac, hidden: [16], batch_size: 32, learning_starts: 200, random_steps: 200, replay_ratio: 0.125}",
    "exchange.experience={transitions: 2000}",
    "metrics.every=200ms",
]
FAULTS = {
    "seed": 3,
    "links": [{"id": "wan", "from": "agent-*", "to": "agent-*", "loss": 0.2, "duplicate": {"p": 0.2, "gap": "10ms"}}],
    "events": [{"id": "crash", "at": {"step": 1500}, "process": {"target": "agent-1", "action": "kill", "restart_after": "300ms"}}],
}
LOGICAL = [*SHORT, "clock=logical", "until={steps: 3000, time: 90s}", "supervision.checkpoint_interval=1s", f"faults={json.dumps(FAULTS)}"]


def test_all_agents_learn_from_what_their_neighbours_lived(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = orchestrate(runs, "up", str(CONFIG), "--name", "shared", *SHORT, "until={episodes: 40, time: 60s}")
    assert done.returncode == 0, done.stdout + done.stderr
    directory = runs / "shared"
    for agent, neighbours in zip(AGENTS, (1, 2, 1), strict=True):
        imported, own = metrics(directory, agent, "buffer.imported"), metrics(directory, agent, "buffer.transitions")
        assert imported == sorted(imported) and imported[0] < imported[-1]
        assert imported[-1] > 0.6 * neighbours * own[-1] and imported[-1] <= 2000, "about as much of each neighbour as of its own"
        assert metrics(directory, agent, "updates")[-1] > 20 and metrics(directory, agent, "learner.loss")
    assert processes_of(directory) == []


def results(directory: Path) -> dict[str, str]:
    """Digests of parameters and metrics."""
    homes = [directory / "nodes" / agent for agent in AGENTS]
    kept = [path for home in homes for path in sorted([*(home / "checkpoints").iterdir(), home / "metrics.jsonl"])]
    return {f"{path.parents[1].name}/{path.name}": sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.mark.slow
def test_in_step_a_run_with_losses_and_a_death_repeats_itself(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        done = orchestrate(runs, "up", str(CONFIG), "--name", name, *LOGICAL, "--plain", timeout=110)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [event["node"] for event in events(runs / name, "node.restart")] == ["agent-1"]
    assert results(runs / "first") == results(runs / "second")
    middle = runs / "first"
    for agent in AGENTS:
        assert metrics(middle, agent, "buffer.imported")[-1] > 300, "also what was sent before the checkpoints in between"
    assert sum(metrics(middle, "agent-1", "experience.duplicate")) > 0
