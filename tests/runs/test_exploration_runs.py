"""Counts of states and ranked episodes in real processes: their metrics appear, and imitation trains the policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.runs.system import REPOSITORY, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(320)]
SMALL = (
    "environment.id=minigrid:MiniGrid-Empty-5x5-v0",
    "environment.copies=8",
    "agents.learner.hidden=[32]",
    "evaluation={every: 100000, episodes: 4, final_episodes: 4}",
    "metrics.every=200ms",
    "clock=logical",  # the windows of metrics do not depend on the speed of the machine
)


def ran(tmp_path: Path, name: str, *overrides: str) -> Path:
    """The directory of a small run of a configuration of configs/amigo."""
    config = REPOSITORY / "configs" / "amigo" / f"{name}.yaml"
    done = orchestrate(tmp_path / "runs", "up", str(config), "--name", name, "--plain", *SMALL, *overrides, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "runs" / name


def test_states_are_counted_in_a_run(tmp_path: Path) -> None:
    directory = ran(tmp_path, "count", "until.steps=6000")
    states, reward = (metrics(directory, "agent-0", f"curiosity.{name}") for name in ("states", "reward"))
    assert 1 < states[0] <= states[-1] < 1000
    assert 0 < reward[-1] < reward[0] <= 0.1, "states become known"


def test_the_best_episodes_are_imitated_in_a_run(tmp_path: Path) -> None:
    """PPO makes one gradient step for each of at most 10 rollouts, which leaves the policy near its uniform distribution."""
    once = ("agents.learner.epochs=1", "agents.learner.minibatch_size=4096")
    few = ("agents.imitation.pairs=100", "agents.imitation.updates=5", "agents.imitation.batch_size=64")
    directory = ran(tmp_path, "ranked", "until.steps=10000", *once, *few)
    loss, entropy = metrics(directory, "agent-0", "imitation.loss"), metrics(directory, "agent-0", "learner.entropy")
    uniform = np.log(7)
    assert loss[-1] < 0.8 * uniform, "the policy repeats what is kept"
    assert entropy[-1] < 0.9 * uniform
    assert min(metrics(directory, "agent-0", "imitation.updates")) >= 5
    assert metrics(directory, "agent-0", "ranked.pairs")[-1] == 100
    kept = metrics(directory, "agent-0", "ranked.return")
    assert kept[-1] > max(kept[0], 0.8)
