"""The experience of an agent in files, as it is made (`record_episodes`); `orchestrate dataset collect` joins those of all agents."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from agent_node.contracts import Component, State
from agent_node.memory.episode import Episode
from protocols.datasets.dataset_writer import PART_BYTES
from protocols.datasets.shard_episodes import ShardEpisode, encode_part
from protocols.runtime.atomic_files import write_whole
from protocols.spaces.layout import Layout

logger = logging.getLogger(__name__)


class EpisodeRecording(Component):
    """Writes every own training episode to `directory/NNNNN.safetensors`, in the order in which they end (format of
    `protocols.datasets.shard_episodes`). They are written with each checkpoint, and earlier where they have `part_bytes`; a file that can't
    be written is tried again then. Files are never changed: an agent that goes on from a checkpoint appends to those that there are, and
    of two episodes of one number the later one counts."""

    def __init__(self, directory: Path, layout: Layout, part_bytes: int = PART_BYTES) -> None:
        self._directory, self._layout, self._part_bytes = directory, layout, part_bytes
        self._episodes: list[ShardEpisode] = []
        self._bytes = 0

    def episode_ended(self, episode: Episode) -> None:
        """Keep a training episode. The log-probability is unknown where the environment's stand-in acted."""
        if episode.evaluation or episode.moment is None:
            return
        likely = episode.extras.get("log_probability", np.full(episode.steps, np.nan, np.float32)).reshape(-1).copy()
        if episode.substituted is not None:
            likely[episode.substituted] = np.nan
        observation = episode.observation.reshape(-1, *self._layout.shape)
        part = ShardEpisode(episode.number, 0, observation, episode.action, episode.reward, episode.terminated, episode.moment, likely)
        self._episodes.append(part)
        self._bytes += part.size
        if self._bytes >= self._part_bytes:
            self._write()

    def state_dict(self) -> State:
        """No tensors: with a checkpoint the episodes before it are in files."""
        self._write()
        return {}

    def _write(self) -> None:
        if not self._episodes:
            return
        try:
            self._directory.mkdir(exist_ok=True)
            number = 1 + max((int(path.stem) for path in self._directory.glob("*.safetensors")), default=-1)
            write_whole(self._directory / f"{number:05}.safetensors", encode_part(self._episodes))
        except OSError as error:
            logger.warning("%d episodes can't be written to %s: %s; they are kept in memory", len(self._episodes), self._directory, error)
            return
        self._episodes, self._bytes = [], 0
