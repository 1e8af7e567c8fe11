"""The shard of a dataset in place of a replay buffer that fills while the agent acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from agent_node.contracts import Array, State, arrays, tensors
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.memory.settings import PrioritizedReplaySettings
from agent_node.session.observation_features import Features
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.manifest import layout_difference
from protocols.runtime.errors import ResourceError

if TYPE_CHECKING:
    from agent_node.session.session_context import SessionContext


def open_dataset(directory: Path, agent: str, features: Features) -> Dataset:
    """The dataset; `ResourceError` where the agent's shard is missing or of another layout than that of `features`."""
    dataset = Dataset(directory)
    if text := layout_difference(dataset.manifest.shard(agent).layout, features.layout):
        raise ResourceError(f"{directory}: shards.{agent}.layout.{text}; use the environment of the dataset")
    return dataset


def shard_episodes(dataset: Dataset, agent: str, features: Features) -> Iterator[Episode]:
    """All episodes of the agent's shard. `DatasetError` where it is damaged."""
    for found in dataset.episodes(agent):
        yield Episode(found.number, features.flatten(found.observation), found.action, found.reward, found.terminated)


def encode_digest(digest: str) -> Array:
    """The digest of a dataset in a checkpoint."""
    return np.frombuffer(digest.encode(), np.uint8)


def check_digest(directory: Path, digest: str, stored: Array) -> None:
    """`ResourceError` where the dataset in `directory` has another `digest` than that in a checkpoint."""
    if stored.tobytes().decode() != digest:
        text = "it is not the dataset with which the run began (its digest differs)"
        raise ResourceError(f"{directory}: {text}; restore that dataset, or start another run")


class DatasetReplay(ReplayBuffer):
    """All episodes of the agent's own shard of the dataset in `directory`, read and checked when the agent joins. It never changes, so
    checkpoints hold its digest and, with priorities, these; a resumed agent refuses another dataset (`ResourceError`)."""

    def __init__(
        self,
        directory: Path,
        features: Features,
        held_out: float = 0.0,
        priorities: PrioritizedReplaySettings | None = None,
        returns_discount: float | None = None,
        next_actions: bool = False,
    ) -> None:
        self._directory, self._restored = directory, dict[str, torch.Tensor]()
        self._digest = ""
        self._allocate = partial(
            super().__init__,
            features=features,
            held_out=held_out,
            priorities=priorities,
            returns_discount=returns_discount,
            next_actions=next_actions,
        )
        self._allocate(1)

    def joined(self, context: SessionContext) -> None:
        """Read the shard. `DatasetError` where it is damaged or of another layout."""
        dataset = open_dataset(self._directory, context.name, self.features)
        shard, self._digest = dataset.manifest.shard(context.name), dataset.manifest.digest
        self._allocate(shard.steps + shard.episodes)
        for episode in shard_episodes(dataset, context.name, self.features):
            self.add(episode)
        self._restore()

    def episode_ended(self, episode: Episode) -> None:
        """Nothing is added to a dataset."""

    def state_dict(self) -> State:
        """The digest of the dataset, and the priorities."""
        state: dict[str, Array] = {"digest": encode_digest(self._digest)}
        if self._tree is not None:
            state |= {"priorities": self._tree.weights(np.arange(self.rows)), "greatest_priority": np.array([self._greatest_priority])}
        return tensors({name: array.copy() for name, array in state.items()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """What the shard is compared with when it is read."""
        self._restored = dict(state)

    def _restore(self) -> None:
        if not self._restored:
            return
        found, self._restored = arrays(self._restored), {}
        check_digest(self._directory, self._digest, found["digest"])
        if self._tree is not None:
            self._tree.update(np.arange(self.rows), found["priorities"])
            self._greatest_priority = float(found["greatest_priority"][0])
