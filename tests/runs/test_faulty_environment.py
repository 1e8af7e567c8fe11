"""An environment that hangs in `step`, and one that dies by a signal: it is restarted with its cause, and the host stays. One that fails at
its first step is not restarted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.system import events, orchestrate, processes_of

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(200)]

ENVIRONMENT = """
import ctypes, threading
from pathlib import Path

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

HERE = Path(__file__).parent


class Faulty(CartPoleEnv):
    steps = 0

    def step(self, action):
        Faulty.steps += 1
        if Faulty.steps == 200:
            if not (HERE / "hung").exists():
                (HERE / "hung").touch()
                threading.Event().wait()
            if not (HERE / "died").exists():
                (HERE / "died").touch()
                ctypes.string_at(0)
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info


def make(**options):
    return Faulty()
"""


def test_a_hang_and_a_segmentation_fault(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (tmp_path / "faulty.py").write_text(ENVIRONMENT)
    (tmp_path / "faulty.yaml").write_text("version: 2\nenvironment: {id: ./faulty.py:make}\nagents: {count: 1}\n")
    changes = [
        "environment.copies=4",
        "environment.step_timeout=1500ms",
        "agents.count=1",
        "agents.learner.hidden=[16]",
        "until={steps: 3000, time: 120s}",
        "evaluation={episodes: 0, final_episodes: 4}",
        "metrics.sinks=[csv]",
        "supervision={restart_delay: 200ms}",
    ]
    done = orchestrate(runs, "up", "faulty.yaml", "--name", "faulty", *changes, "--plain", timeout=190)
    directory = runs / "faulty"
    restarts = [event["text"] for event in events(directory, "node.restart", "env-0")]
    assert done.returncode == 0, (restarts, done.stdout[-3000:], done.stderr[-2000:])
    assert len(restarts) == 2, restarts
    assert "exit 20" in restarts[0] and "environment.step_timeout" in restarts[0]
    assert "killed by signal 11 (segmentation fault)" in restarts[1]
    assert not events(directory, "host.lost") and not events(directory, "node.restart", "agent-0")
    log = (directory / "nodes" / "env-0" / "log.txt").read_text()
    assert "faulty.py" in log and "Fatal Python error: Segmentation fault" in log, "both stacks are in the log"
    assert json.loads((directory / "run.json").read_text())["state"] == "DONE"
    assert processes_of(directory) == []


WRONG = """
from gymnasium.envs.classic_control import CartPoleEnv


class Wrong(CartPoleEnv):
    def step(self):
        return super().step(0)
"""


def test_an_exception_of_the_first_step_ends_the_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "wrong.yaml").write_text("version: 2\nenvironment: {id: ./wrong.py:Wrong}\nagents: {count: 1}\nuntil: {steps: 1000}\n")
    done = orchestrate(runs, "up", "wrong.yaml", "--name", "wrong", "--plain", timeout=190)
    assert done.returncode == 7, done.stderr[-2000:]
    reason = json.loads((runs / "wrong" / "run.json").read_text())["reason"]
    assert "TypeError: Wrong.step() takes 1 positional argument but 2 were given" in reason
    assert "orchestrate check-env ./wrong.py:Wrong" in reason
    assert not events(runs / "wrong", "node.restart") and processes_of(runs / "wrong") == []
