"""A teacher that ends episodes, through real processes: the environment server begins the next ones when the agent asks for it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
CONFIG = REPOSITORY / "configs" / "amigo" / "default.yaml"
SHORT = [
    "environment.id=minigrid:MiniGrid-DoorKey-5x5-v0",
    "environment.options.arguments={max_steps: 5000}",  # nothing but success and the teacher ends an episode
    "environment.copies=8",
    "agents.learner.steps=32",
    "agents.learner.epochs=1",
    "agents.learner.hidden=[32]",
    "agents.teacher.batch_size=8",
    "agents.teacher.reached=position",
    "evaluation={every: 1000000, episodes: 0, final_episodes: 0, aligned: false}",
    "until={steps: 8000}",
    "metrics.sinks=[]",
]


def play(runs: Path, name: str, *more: str) -> Path:
    done = orchestrate(runs, "up", str(CONFIG), "--name", name, *SHORT, *more, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / name


def learnt(directory: Path) -> str:
    return sha256(sorted((directory / "nodes" / "agent-0" / "checkpoints").glob("*.safetensors"))[-1].read_bytes()).hexdigest()


def known_and_played(directory: Path) -> list[tuple[int, int]]:
    """Training episodes that the agent has seen from their first observation to their end, and those that have ended, in order of time."""
    rows = map(json.loads, (directory / "nodes" / "agent-0" / "metrics.jsonl").read_text().splitlines())
    return [(row["episode"], int(row["value"])) for row in rows if row["name"] == "environment.episodes"]


def test_episodes_end_with_their_goals_and_two_runs_of_one_seed_are_equal(tmp_path: Path) -> None:
    ended = play(tmp_path / "runs", "ended", "agents.teacher.restart_episode=true")
    played = play(tmp_path / "runs", "played")
    assert min(metrics(ended, "env-0", "success")) < 1 == min(metrics(played, "env-0", "success"))
    assert 7900 <= metrics(ended, "agent-0", "environment.steps")[-1] <= 8100, "an episode that is left takes no step"
    assert sum(metrics(ended, "agent-0", "teacher.reached")) > 0
    for directory in (ended, played):
        assert known_and_played(directory)[-1][1] > 0
        assert all(known == all_of_them for known, all_of_them in known_and_played(directory)), "the first ones too"
    assert learnt(play(tmp_path / "runs", "again", "agents.teacher.restart_episode=true")) == learnt(ended) != learnt(played)


def test_restarts_come_through_links_that_lose_messages(tmp_path: Path) -> None:
    directory = play(
        tmp_path / "runs", "storm", "agents.teacher.restart_episode=true", "clock=wall",
        "network.links=[{id: storm, from: '*', to: '*', channels: [env], loss: 0.02}]",
    )  # fmt: skip
    assert min(metrics(directory, "env-0", "success")) < 1
