"""Joint experience through real processes: a team under the logical clock repeats itself, loses a member and gets it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_node.session.checkpoints import read_newest
from tests.runs.system import events, metrics, orchestrate, processes_of, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
AGENTS = [f"agent-{i}" for i in range(3)]
TEAM = """
version: 2
until: {steps: 1600, time: 90s}
environment: {id: "particles:simple_spread", copies: 4, options: {horizon: 10}}
agents: {count: 3, learner: {kind: maddpg, hidden: [16, 16], batch_size: 32, learning_starts: 200}}
evaluation: {every: 100000, episodes: 4, final_episodes: 4}
metrics: {every: 500ms}
"""
FAULTS = {
    "seed": 5,
    "links": [{"id": "wan", "from": "agent-*", "to": "agent-*", "loss": 0.1, "duplicate": {"p": 0.1, "gap": "10ms"}}],
    "events": [{"id": "crash", "at": {"step": 700}, "process": {"target": "agent-1", "action": "kill", "restart_after": "300ms"}}],
}


@pytest.fixture
def team(tmp_path: Path) -> Path:
    path = tmp_path / "team.yaml"
    path.write_text(TEAM)
    return path


def test_a_team_learns_from_joint_episodes_in_real_time(team: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = orchestrate(runs, "up", str(team), "--name", "real", "--plain", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for agent in AGENTS:
        complete, incomplete = (metrics(runs / "real", agent, f"joint.{name}")[-1] for name in ("complete", "incomplete"))
        assert complete > 20 and incomplete <= 0.2 * complete
        assert metrics(runs / "real", agent, "joint.snapshots")[-1] >= 2, "of two members"
        assert metrics(runs / "real", agent, "updates")[-1] > 0
    assert processes_of(runs / "real") == []


def test_in_step_a_run_with_losses_and_a_death_repeats_itself(team: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    logical = ["clock=logical", "supervision.checkpoint_interval=1s", f"faults={json.dumps(FAULTS)}"]
    for name in ("first", "second"):
        done = orchestrate(runs, "up", str(team), "--name", name, *logical, "--plain", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [event["node"] for event in events(runs / name, "node.restart")] == ["agent-1"]
    assert results(runs / "first") == results(runs / "second") != {}
    for agent in AGENTS:
        assert metrics(runs / "first", agent, "updates")[-1] > 20
        assert metrics(runs / "first", agent, "joint.complete")[-1] > 10


def test_a_member_that_is_killed_in_mid_episode_ends_that_episode_for_all(team: Path, tmp_path: Path) -> None:
    """PMIC in real time: step 700 of 4 copies is in the middle of an episode of 10 steps. All members hold the same joint episodes, none of
    those that the death ended, and learn on after it."""
    runs, crash = tmp_path / "runs", {"events": FAULTS["events"]}
    given = [
        "agents.replay_reward={kind: mutual_information, least_episodes: 3, warm_up: 1, batch_size: 32}",
        "exchange.consensus={groups: [mi_low, mi_up], every: {updates: 10}}",
        "environment.options={horizon: 10, actions: continuous, reward: team}",
        f"faults={json.dumps(crash)}",
        "supervision.checkpoint_interval=500ms",
        "until={steps: 4000, time: 120s}",
    ]
    done = orchestrate(runs, "up", str(team), "--name", "death", "--plain", *given, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [event["node"] for event in events(runs / "death", "node.restart")] == ["agent-1"]
    held = {agent: read_newest(runs / "death" / "nodes" / agent / "checkpoints") for agent in AGENTS}
    numbers = {}
    for agent, checkpoint in held.items():
        assert checkpoint is not None
        numbers[agent] = set(checkpoint.tensors["joint_replay/episodes"][:, 2].tolist())
        assert metrics(runs / "death", agent, "updates")[-1] > 50
        assert metrics(runs / "death", agent, "mi.bonus.std")[-1] > 0
    one, other = numbers["agent-0"], numbers["agent-2"]
    for agent in ("agent-0", "agent-2"):
        dropped = [metrics(runs / "death", agent, f"joint.{name}")[-1:] for name in ("peer_lost", "incomplete")]
        assert sum(map(sum, dropped)) >= 4, "the episodes of the four copies that the death ended"
    assert one == other and max(one) - min(one) + 1 - len(one) >= 4, "their numbers are missing everywhere"
    assert numbers["agent-1"] <= one and max(numbers["agent-1"]) == max(one), "and the restarted member takes part again"
