"""`orchestrate why` on a real run, in which one process after another is made to stand still."""

from __future__ import annotations

import json
import os
import re
import signal
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.launch.process_control import sweep
from orchestrator.results.run_directories import read
from orchestrator.run_server.waits.run_questions import WhyReport, why
from protocols.runtime.errors import UsageError
from tests.runs.system import CONFIG, eventually, orchestrate, pids

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(300)]

ROOM = textwrap.dedent(
    """
    import time
    from pathlib import Path

    import numpy as np
    from gymnasium import spaces
    from pettingzoo import ParallelEnv

    STANDS = Path(__file__).with_name("stands")


    def stand_still():
        while STANDS.exists():
            time.sleep(0.02)


    class Room(ParallelEnv):
        metadata = {"name": "room_v0"}

        def __init__(self, agents=2):
            self.possible_agents = [f"walker_{i}" for i in range(agents)]
            self._observed, self._acted = spaces.Box(0.0, 1.0, (1,), np.float32), spaces.Discrete(2)

        def observation_space(self, agent):
            return self._observed

        def action_space(self, agent):
            return self._acted

        def reset(self, seed=None, options=None):
            self.agents, self.steps = list(self.possible_agents), 0
            return {name: np.zeros(1, np.float32) for name in self.agents}, {name: {} for name in self.agents}

        def step(self, actions):
            stand_still()
            self.steps += 1
            names, over = self.agents, self.steps >= 20
            self.agents = [] if over else names
            each = lambda value: dict.fromkeys(names, value)
            return {name: np.zeros(1, np.float32) for name in names}, each(0.0), each(False), each(over), each({})
    """
)
SETTINGS = (
    "environment.id=my_room:Room", "environment.options={agents: 2}", "environment.copies=2", "environment.deadline=100s", "agents.count=2",
    "agents.goals=null", "agents.world_model=null", "agents.learner.hidden=[8]", "exchange.negotiation=null", "exchange.hindsight=null",
    "exchange.consensus=null", "evaluation={every: 1000000, episodes: 2, final_episodes: 2}", "metrics.sinks=[csv]",
    "until={time: 10min}", "supervision={suspect: 100s, dead: 200s}",
)  # fmt: skip
LONG = 60.0


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Path]:
    """A run of that name: its directory."""
    (tmp_path / "my_room.py").write_text(ROOM)
    runs = tmp_path / "runs"
    try:
        done = orchestrate(runs, "up", str(CONFIG), *SETTINGS, "-d", "--name", "night")
        assert done.returncode == 0, done.stdout + done.stderr
        yield runs / "night"
    finally:
        (tmp_path / "stands").unlink(missing_ok=True)
        sweep(runs / "night")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def named(directory: Path, expected: str, node: str | None = None) -> WhyReport:
    """The report whose first sentence matches; it may take some time until waits are long enough."""
    newest: list[str] = []

    def matches() -> WhyReport | None:
        report = why(directory, node)
        newest[:] = [text for _, text in report.chains]
        return report if re.search(expected, newest[0]) else None

    try:
        report: WhyReport = eventually(expected, matches, LONG)
    except AssertionError as error:
        raise AssertionError(f"{error}; the newest sentences are {newest}") from None
    return report


def test_processes_that_stand_still_are_named(night: Path, tmp_path: Path) -> None:
    runs, process = night.parent, pids(night)
    quiet = named(night, "no process waits longer than usual")
    assert quiet.state == "training" and {"run", "local", "env-0", "agent-0", "agent-1"} == set(quiet.nodes)

    (tmp_path / "stands").touch()
    expected = (
        r"agent-\d waits for the observation after tick \d+ from env-0 .* of 100 s\); env-0 stands still in a step of the environment"
    )
    report = named(night, expected + r" for .*; its stack: stand_still in my_room\.py:\d+; agent-\d waits for the same")
    assert report.chains[0][0] == "bad" and any("Room.step in" in frame for frame in report.stacks["env-0"])
    (wait,) = [wait for wait in report.nodes["agent-0"] if wait.peers == ("env-0",)]
    assert wait.deadline is not None and wait.deadline - wait.since == pytest.approx(100.0, abs=1.0)
    told = orchestrate(runs, "why", "night", "env-0")
    assert told.returncode == 0 and "stand_still in my_room.py" in told.stdout and "Room.step in " in told.stdout, told.stdout + told.stderr
    (tmp_path / "stands").unlink()

    with stopped(process["agent-1"]):
        named(night, r"env-0 waits for the actions of tick \d+.* from agent-1 .*; agent-1 does not answer: stopped \(SIGSTOP\)")
        answer = json.loads(orchestrate(runs, "why", "night", "--json").stdout)
        assert answer["run"] == "night" and answer["chains"][0]["level"] == "bad" and "stopped (SIGSTOP)" in answer["chains"][0]["text"]
        assert answer["nodes"]["env-0"][0]["peers"] == ["agent-1"]
    with stopped(process["local"]):
        named(night, r"^local does not answer: stopped \(SIGSTOP\)$", "local")
    with stopped(int(read(night).record["pid"])):
        named(night, r"^the run server does not answer: stopped \(SIGSTOP\)$")

    with pytest.raises(UsageError, match='no node "agent-7"'):
        why(night, "agent-7")
    assert orchestrate(runs, "down", "night", "--now").returncode == 0
    assert orchestrate(runs, "why", "night").stdout.startswith("good night has ended: ")
