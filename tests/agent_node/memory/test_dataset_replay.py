"""An agent's shard as its replay buffer: all its transitions and no other's, the same after a restart, and refused when it is another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.dataset_replay import DatasetReplay
from agent_node.memory.settings import PrioritizedReplaySettings
from agent_node.session.agent_components import AgentComponents
from agent_node.session.observation_features import Features
from agent_node.session.roles import REPLAY
from agent_node.session.training import create_trainer
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.datasets.manifest import DatasetError
from protocols.datasets.settings import DatasetSettings
from protocols.runtime.errors import ResourceError
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout
from tests.protocols.datasets.test_dataset_files import IMAGE, LAYOUTS, VECTOR, write

CONTEXTS: dict[str, Any] = {name: SimpleNamespace(name=name) for name in ("agent-0", "agent-1", "agent-9")}


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, list[Any]]:
    members = set(LAYOUTS)
    return tmp_path / "data", write(tmp_path / "data", [(0, 0, members, 5), (1, 0, members, 3), (2**32, 1, members, 4)], part_bytes=1)


def joined(directory: Path, agent: str = "agent-0", layout: Layout = VECTOR, **more: Any) -> DatasetReplay:
    replay = DatasetReplay(directory, Features(layout, 1), **more)
    replay.joined(CONTEXTS[agent])
    return replay


@pytest.mark.parametrize(("agent", "layout"), LAYOUTS.items())
def test_it_holds_the_own_shard(dataset: tuple[Path, list[Any]], agent: str, layout: Layout) -> None:
    directory, written = dataset
    replay = joined(directory, agent, layout)
    assert len(replay) == 12 and replay.episodes == 3
    sample = replay.sample(2000, np.random.default_rng(0))
    own = [episodes[agent] for episodes in written]
    observations = np.concatenate([one.observation[:-1].reshape(one.steps, -1) for one in own])
    following = np.concatenate([one.observation[1:].reshape(one.steps, -1) for one in own])
    rewards = np.concatenate([one.reward for one in own])
    ends = np.concatenate([np.arange(one.steps) == one.steps - 1 if one.terminated else np.zeros(one.steps) for one in own])
    rows = [int(np.flatnonzero(rewards == reward)[0]) for reward in sample.reward]
    assert set(rows) == set(range(12))
    assert np.array_equal(sample.observation[:, 0], observations[rows]) and np.array_equal(sample.next_observation[:, 0], following[rows])
    assert np.array_equal(sample.terminated, ends[rows])


def test_another_shard_is_refused(dataset: tuple[Path, list[Any]]) -> None:
    directory, _ = dataset
    with pytest.raises(ResourceError, match=r"shards\.agent-0\.layout\.shape"):
        joined(directory, "agent-0", IMAGE)
    with pytest.raises(DatasetError, match="agent-9 has no shard"):
        joined(directory, "agent-9")
    file = directory / "agent-0/00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="size"):
        joined(directory)
    joined(directory, "agent-1", IMAGE)  # an agent reads its own files only


def test_checkpoints_hold_the_digest_and_the_priorities(dataset: tuple[Path, list[Any]], tmp_path: Path) -> None:
    directory, _ = dataset
    priorities = PrioritizedReplaySettings()
    replay = joined(directory, priorities=priorities)
    rows = replay.sample(8, np.random.default_rng(0)).rows
    assert rows is not None
    replay.update_priorities(rows, np.linspace(1, 2, 8, dtype=np.float32))
    again = DatasetReplay(directory, Features(VECTOR, 1), priorities=priorities)
    again.load_state_dict(replay.state_dict())
    again.joined(CONTEXTS["agent-0"])
    first, second = (one.sample(64, np.random.default_rng(1)) for one in (replay, again))
    assert first.rows is not None and np.array_equal(first.rows, second.rows) and np.array_equal(first.weight, second.weight)
    write(tmp_path / "other", [(0, 0, set(LAYOUTS), 6)])
    other = DatasetReplay(tmp_path / "other", Features(VECTOR, 1), priorities=priorities)
    other.load_state_dict(replay.state_dict())
    with pytest.raises(ResourceError, match="digest differs"):
        other.joined(CONTEXTS["agent-0"])


def test_the_learner_is_updated_a_fixed_number_of_times(dataset: tuple[Path, list[Any]]) -> None:
    directory, _ = dataset
    settings = AgentSettings(learner=DoubleDQNSettings(hidden=[8], batch_size=8), goals=None)
    source = DatasetSettings(path=str(directory), updates_per_tick=3)
    components = AgentComponents(settings, ExchangeSettings(), VECTOR, 2, "agent-0", 0, dataset=source)
    replay = components[REPLAY]
    replay.joined(CONTEXTS["agent-0"])
    trainer = create_trainer(components, TimeShares())
    assert trainer.no_update_reason.endswith("raise until.steps")
    trainer.tick()
    trainer.tick()
    assert trainer.updates == 6 and not trainer.no_update_reason, "fewer transitions than learning_starts are no obstacle"
