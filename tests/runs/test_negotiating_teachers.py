"""Teachers that negotiate, through real processes: goals change hands over links that lose messages, and every teacher gets its reports."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, events, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
CONFIG = REPOSITORY / "configs" / "amigo" / "negotiated.yaml"
SHORT = [
    "environment.id=minigrid:MiniGrid-DoorKey-5x5-v0",
    "environment.copies=8",
    "agents.learner.steps=32",
    "agents.learner.epochs=1",
    "agents.learner.hidden=[32]",
    "agents.teacher.batch_size=8",
    "evaluation={every: 1000000, episodes: 1, final_episodes: 2, aligned: false}",
    "until={steps: 6000}",
    "metrics.sinks=[]",
]
AGENTS = ("agent-0", "agent-1")


def play(runs: Path, name: str, *more: str) -> Path:
    done = orchestrate(runs, "up", str(CONFIG), "--name", name, *SHORT, *more, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / name


def total(directory: Path, figure: str) -> float:
    return sum(metrics(directory, agent, figure)[-1] for agent in AGENTS)


def learnt(directory: Path) -> dict[str, str]:
    """Digests of what all agents and their teachers have become."""
    newest = {agent: sorted((directory / "nodes" / agent / "checkpoints").glob("*.safetensors"))[-1] for agent in AGENTS}
    return {agent: sha256(path.read_bytes()).hexdigest() for agent, path in newest.items()}


def test_goals_change_hands_and_two_runs_of_one_seed_are_equal(tmp_path: Path) -> None:
    first = play(tmp_path / "runs", "first")
    exchanged, reports = total(first, "goal_swap.exchanged"), total(first, "goal_swap.reports")
    assert exchanged >= 5, "an exchange counts at who awarded the goal, or at both where each had awarded the other's"
    assert exchanged <= reports + total(first, "goal_swap.active") + 2 and reports <= 2 * exchanged, "nothing was lost on the way"
    assert learnt(play(tmp_path / "runs", "second")) == learnt(first)
    assert learnt(play(tmp_path / "runs", "alone", "exchange.negotiation=null")) != learnt(first)


def test_lost_messages_and_a_death_stop_nobody(tmp_path: Path) -> None:
    directory = play(
        tmp_path / "runs", "storm", "supervision.checkpoint_interval=1s",
        "network.links=[{id: storm, from: 'agent-*', to: 'agent-*', delay: 20ms, loss: 0.3}]",
        "faults={events: [{id: crash, at: {step: 2500}, process: {target: agent-1, action: kill, restart_after: 300ms}}]}",
    )  # fmt: skip
    assert [event["node"] for event in events(directory, "node.restart")] == ["agent-1"]
    assert [event["node"] for event in events(directory, "node.restored")] == ["agent-1"], "no event for checkpoints without effect"
    assert total(directory, "goal_swap.exchanged") >= 1 and total(directory, "goal_swap.reports") >= 1
