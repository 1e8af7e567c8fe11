"""A run that keeps its training episodes: the dataset of them is what its agents had in their replay buffers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent_node.session import checkpoints
from protocols.datasets.dataset_reader import Dataset
from tests.runs.system import orchestrate, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
SHORT = (
    "dataset=null", "record_episodes=true", "clock=logical", "until.steps=800", "environment.copies=8", "exchange.consensus=null",
    "evaluation={episodes: 4, final_episodes: 8, aligned: false}", "agents.learner.hidden=[16]", "supervision.checkpoint_interval=400ms",
)  # fmt: skip


@pytest.mark.parametrize("learner", ["double_dqn", "ppo"])
def test_the_whole_experience_is_kept(tmp_path: Path, learner: str) -> None:
    """Over several checkpoints, with the log-probabilities of the exploring policy; recording does not change the run."""
    runs = tmp_path / "runs"
    kind = "agents.learner.learning_starts=200" if learner == "double_dqn" else "agents.learner={kind: ppo, steps: 25, hidden: [16]}"
    done = orchestrate(runs, "up", "offline/spread", *SHORT, kind, "--name", "night", "--plain", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    done = orchestrate(runs, "dataset", "collect", "night", "-o", "data")
    assert done.returncode == 0 and "replay: " in done.stderr, done.stderr
    dataset = Dataset(tmp_path / "data")
    dataset.verify()
    for agent in dataset.manifest.agents:
        episodes = {one.number: one for one in dataset.episodes(agent)}
        assert list(episodes) == sorted(episodes) and len(episodes) >= 20
        assert len(list((runs / "night/nodes" / agent / "episodes").iterdir())) > 1
        likely = np.concatenate([one.log_probability for one in episodes.values()])
        assert np.isfinite(likely).all() and (likely <= 0).all() and likely.min() < -0.5
        held = checkpoints.read(max((runs / "night/nodes" / agent / "checkpoints").glob("*.json")))
        assert held.manifest["episodes"] == len(episodes)
        for start, end, number in held.tensors["replay/episodes"].tolist() if learner == "double_dqn" else ():
            for name, rows in (("observation", slice(start, end)), ("action", slice(start, end - 1)), ("reward", slice(start, end - 1))):
                assert np.array_equal(held.tensors[f"replay/{name}"][rows].numpy(), getattr(episodes[number], name))
    if learner == "double_dqn":
        plain = ("record_episodes=false", kind, "--name", "plain", "--plain")
        assert orchestrate(runs, "up", "offline/spread", *SHORT, *plain, timeout=150).returncode == 0
        assert results(runs / "night") == results(runs / "plain")
