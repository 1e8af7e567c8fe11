"""Tic-tac-toe in the processes of a run: turns, action masks, and an agent that ignores its mask."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, events, metrics, orchestrate, processes_of

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(200)]
CONFIG = REPOSITORY / "configs" / "standard" / "tictactoe.yaml"
SHORT = [
    "until={episodes: 120, time: 90s}",
    "environment.copies=8",
    "agents.learner.hidden=[16]",
    "evaluation={every: 100000, episodes: 8, final_episodes: 8, aligned: false}",
    "metrics.every=200ms",
    "metrics.sinks=[csv]",
]
AGENTS = ("agent-0", "agent-1")


def test_two_learners_play_whole_games(tmp_path: Path) -> None:
    changes = ["agents.learner.learning_starts=200", "agents.learner.batch_size=32", "exchange.consensus.every={updates: 5}"]
    done = orchestrate(tmp_path / "runs", "up", str(CONFIG), "--name", "one", "--plain", *SHORT, *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "one"
    assert sum(metrics(directory, "env-0", "episodes")) >= 120 and "env.illegal_actions" not in (directory / "metrics.csv").read_text()
    assert all(5 <= length <= 9 for length in metrics(directory, "env-0", "length")), "moves of a game"
    assert all(total == 0 for total in metrics(directory, "env-0", "return")), "what one wins the other loses"
    steps = metrics(directory, "env-0", "steps")[-1]
    assert all(metrics(directory, agent, "updates")[-1] > 20 for agent in AGENTS)
    moves = sum(metrics(directory, agent, "buffer.transitions")[-1] for agent in AGENTS)
    assert 0.8 * steps < moves < 1.2 * steps, "a tick of waiting is no transition"
    assert not events(directory, "action.illegal") and processes_of(directory) == []


def test_an_agent_that_ignores_its_mask_ends_neither_game_nor_server(tmp_path: Path) -> None:
    for name in ("stubborn_learners.py", "stubborn_learner.py"):
        shutil.copy(REPOSITORY / "tests" / "runs" / "plugins" / name, tmp_path)
    changes = [
        *(change for change in SHORT if not change.startswith("agents.learner")),
        "agents.learner={kind: impala, hidden: [16], steps: 20}",
        "agents.overrides={agent-1: {learner: {kind: stubborn, learning_starts: 50}}}",
        "exchange.consensus=null",
        "plugins=[stubborn_learners]",
    ]
    done = orchestrate(tmp_path / "runs", "up", str(CONFIG), "--name", "one", "--plain", *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "one"
    (event,) = events(directory, "action.illegal")
    assert "agent-1" in event["text"]
    assert metrics(directory, "env-0", "env.illegal_actions")[-1] > 50
    assert all(5 <= length <= 9 for length in metrics(directory, "env-0", "length")), "illegal moves do not end games"
    assert metrics(directory, "agent-0", "updates")[-1] >= 3 and metrics(directory, "agent-0", "learner.loss.policy")
