"""Runs of the example package to their end: installed with entry points, and as a module in the working directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.example_package import CONFIGS, copied, installed
from tests.runs.system import command, environment, events, metrics

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(300)]
SHORT = ["until={steps: 4000, time: 150s}", "evaluation={every: 100000, episodes: 4, final_episodes: 4}", "metrics.every=200ms"]
SHOWN = {
    "beacons": "consensus.rounds",
    "direct": "negotiated",
    "encoder": "consensus.rounds",
    "frontier": "goals.entropy",
    "median_step": "consensus.rounds",
    "rare_states": "curiosity.cells",
    "return_sharing": "returns.best",
    "ridge": "world_model.transitions",
}
"""metric of an agent that shows that the component was used"""


def up(directory: Path, config: Path, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`orchestrate up` in `directory`; `path` is on the import path."""
    runs = directory / "runs"
    variables = environment(runs)
    if path is not None:
        variables["PYTHONPATH"] += os.pathsep + str(path)
    return subprocess.run(
        command("up", str(config), "--plain", "--name", "one", *SHORT, *words),
        cwd=directory,
        env=variables,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def from_working_directory(tmp_path: Path, config: Path) -> subprocess.CompletedProcess[str]:
    copied(tmp_path)
    return up(tmp_path, config, "plugins=[swarm_extras]")


def from_installation(tmp_path: Path, config: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "site-packages").mkdir()
    installed(tmp_path / "site-packages")
    return up(tmp_path, config, path=tmp_path / "site-packages")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("start", [from_working_directory, from_installation])
def test_every_configuration_runs_to_its_end(
    tmp_path: Path, config: Path, start: Callable[[Path, Path], subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "configs").mkdir()
    for path in CONFIGS:
        shutil.copy(path, tmp_path / "configs")
    done = start(tmp_path, tmp_path / "configs" / config.name)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "one"
    found = re.search(r"training is over after (\d+) steps", done.stdout)
    assert found is not None and int(found[1]) >= 4000, done.stdout
    for agent in ("agent-0", "agent-1", "agent-2"):
        assert any(value != 0 for value in metrics(directory, agent, SHOWN[config.stem])), SHOWN[config.stem]
    assert events(directory, "node.dead") == []


RAISING = '''
from typing import Literal

from agent_node.learners.settings import DoubleDQNSettings
from protocols.runtime.component_registry import register


class RaisingSettings(DoubleDQNSettings):
    """Raises an exception after 50 updates."""

    kind: Literal["raising"] = "raising"


register("learner", "raising", RaisingSettings, "raising_learner:RaisingLearner")
'''
LEARNER = '''
from agent_node.learners.double_dqn import DoubleDQN


class RaisingLearner(DoubleDQN):
    """Only in agent-1."""

    def learn(self, batch):
        if self.updates >= 50:
            raise ZeroDivisionError("no more updates")
        return super().learn(batch)
'''


def test_an_exception_in_a_component_ends_its_agent_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    (tmp_path / "raising_learner.py").write_text(LEARNER)
    shutil.copytree(CONFIGS[0].parent, tmp_path / "configs")
    copied(tmp_path)
    done = up(
        tmp_path,
        tmp_path / "configs" / "beacons.yaml",
        "plugins=[swarm_extras, raising]",
        "agents.overrides={agent-1: {learner: {kind: raising, hidden: [32], batch_size: 64, learning_starts: 500}}}",
        "exchange.consensus=null",
        "supervision={max_restarts: 0, min_agents: 1}",
        "until={steps: 12000, time: 150s}",
    )
    text = done.stdout + done.stderr
    log = (tmp_path / "runs" / "one" / "nodes" / "agent-1" / "log.txt").read_text()
    assert "Traceback (most recent call last)" in log and "raising_learner.py" in log
    assert log.rstrip().splitlines()[-1] == "ZeroDivisionError: no more updates"
    lines = [line for line in text.splitlines() if "ZeroDivisionError" in line]
    assert len(lines) == 1 and "agent-1 dead" in lines[0] and "ZeroDivisionError: no more updates" in lines[0], text
    assert "Traceback" not in text and done.returncode == 0, text
