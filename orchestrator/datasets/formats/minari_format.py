"""Datasets in the format of Minari: one team episode with spaces of type Dict, whose entries are the agents.

Minari has one reward, one end and one length for an episode. What agents have of their own stands in `infos`, of which row t + 1 belongs to
step t, as row 0 is that of the reset:

    observations   {agent: [T + 1, ...]}    an agent that does not act keeps its newest observation
    actions        {agent: [T] or [T, A]}   and its null action
    rewards        [T]                      mean over the members of the episode
    terminations   [T]                      at the last step: all parts ended by their own outcome; otherwise truncations
    infos          {agent: {reward, alive, terminated, log_probability}}   each [T + 1]; `alive`: it acted at the step

Images are stored without loss (`jpeg_encoding` is off). `OUTPUT/data` is what Minari has as `data` below the name of a dataset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from orchestrator.datasets.formats.origin import KEY, Origin, fitted_actions, fitted_observations, need
from orchestrator.datasets.recording import Progress
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.manifest import DatasetError
from protocols.datasets.shard_episodes import ShardEpisode
from protocols.runtime.errors import UsageError
from protocols.spaces.layout import Layout

Array = NDArray[Any]
EXTRA, DATA, METADATA = "minari", "data", "metadata.json"
_STORAGE, _BUFFER = "minari.dataset.minari_storage", "minari.data_collector.episode_buffer"
_NUMBER, _BEHAVIOUR = f"{KEY}_episode", f"{KEY}_behaviour"
"""attributes of episodes"""
_CURE = "export the dataset anew"


def export_minari(dataset: Dataset, output: Path, name: str, progress: Progress) -> None:
    """Write all of `dataset` below `output`, under the name `name` of Minari. `UsageError` for a name that Minari refuses."""
    minari, storage, buffer = need("minari", EXTRA), need(_STORAGE, EXTRA), need(_BUFFER, EXTRA)
    need("h5py", EXTRA)
    try:
        need("minari.dataset.minari_dataset", EXTRA).parse_dataset_id(name)
    except (ValueError, TypeError):  # without a number, it makes one of None
        raise UsageError(f"--output: {name} is no name of a Minari dataset; write NAME-vNUMBER, for example {name}-v0") from None
    manifest = dataset.manifest
    layouts = {shard.agent: shard.layout for shard in manifest.shards}
    observed = spaces.Dict({agent: observation_space(layout) for agent, layout in layouts.items()})
    acted = spaces.Dict({agent: action_space(layout) for agent, layout in layouts.items()})
    output.mkdir(parents=True)
    store = storage.MinariStorage.new((output / DATA).resolve(), observed, acted, jpeg_encoding=False)
    store.update_metadata({"dataset_id": name, "minari_version": minari.__version__, KEY: Origin.of(manifest).text()})
    for done, parts in enumerate(dataset.joined()):
        team = _team(layouts, parts)
        store.update_episodes([buffer.EpisodeBuffer(**team)])
        first = next(iter(parts.values()))
        store.update_episode_metadata([{_NUMBER: first.number, _BEHAVIOUR: first.behaviour}], [done])
        progress("export", done + 1, manifest.episodes)


def observation_space(layout: Layout) -> spaces.Box:
    """Bytes, or numbers without bounds."""
    if layout.dtype == "u1":
        return spaces.Box(0, 255, tuple(layout.shape), np.uint8)
    return spaces.Box(-np.inf, np.inf, tuple(layout.shape), np.float32)


def action_space(layout: Layout) -> spaces.Space[Any]:
    """Discrete for one factor, MultiDiscrete for several, Box for continuous actions."""
    if not layout.actions:
        return spaces.Box(np.array(layout.low, np.float32), np.array(layout.high, np.float32), dtype=np.float32)
    return spaces.Discrete(layout.actions[0]) if len(layout.actions) == 1 else spaces.MultiDiscrete(layout.actions)


def _team(layouts: Mapping[str, Layout], parts: Mapping[str, ShardEpisode]) -> dict[str, Any]:
    """The arrays of an episode of all agents together."""
    steps = 1 + max(int(part.moment[-1]) for part in parts.values())
    observations, actions, infos = {}, {}, {}
    rewards = np.zeros(steps, np.float64)
    for agent, layout in layouts.items():
        part = parts.get(agent)
        observation = np.zeros((steps + 1, *layout.shape), np.uint8 if layout.dtype == "u1" else np.float32)
        action = np.repeat(layout.null_action[None], steps, axis=0)
        info = {name: np.zeros(steps + 1, kind) for name, kind in (("alive", bool), ("terminated", bool), ("reward", np.float32))}
        info["log_probability"] = np.full(steps + 1, np.nan, np.float32)
        if part is not None:
            newest = np.searchsorted(part.moment, np.arange(steps + 1), side="right") - 1
            newest[int(part.moment[-1]) + 1 :] = part.steps
            observation[:] = part.observation[np.maximum(newest, 0)]
            action[part.moment] = part.action
            rows = part.moment + 1
            info["alive"][rows], info["reward"][rows], info["log_probability"][rows] = True, part.reward, part.log_probability
            info["terminated"][rows[-1]] = part.terminated
            rewards += info["reward"][1:] / len(parts)
        observations[agent], infos[agent] = observation, info
        actions[agent] = action[:, 0].astype(np.int64) if len(layout.actions) == 1 else action
    last = np.arange(steps) == steps - 1
    over = all(part.terminated for part in parts.values())
    return {
        "observations": observations, "actions": actions, "rewards": rewards, "terminations": last & over,
        "truncations": last & (not over), "infos": infos,
    }  # fmt: skip


def is_minari(path: Path) -> bool:
    """Whether a directory has a dataset of Minari, or is its `data`."""
    return any((place / METADATA).is_file() and b'"data_format"' in (place / METADATA).read_bytes() for place in (path, path / DATA))


class MinariSource:
    """A dataset of Minari: one that was exported, one whose spaces have an entry for each agent, or one of a single agent."""

    def __init__(self, path: Path) -> None:
        need("minari", EXTRA)
        self._path = path if (path / METADATA).is_file() else path / DATA
        storage = need(_STORAGE, EXTRA).MinariStorage
        try:
            self._store = storage.read(self._path.resolve())
            metadata = self._store.metadata
            self._total = int(metadata["total_episodes"])
        except (ImportError, ValueError, KeyError, AssertionError, OSError) as error:
            raise DatasetError(f"{self._path / METADATA}: it can't be read ({error}); restore the dataset of Minari") from None
        self.origin = Origin.parse(metadata, str(self._path / METADATA))
        name = str(metadata.get("dataset_id", path.name))
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[-64:]
        self.behaviours = self.origin.behaviours if self.origin else [(plain or "minari", str(metadata.get("algorithm_name") or name))]

    def episodes(self, layouts: Mapping[str, Layout]) -> Iterator[dict[str, ShardEpisode]]:
        """All episodes; see `ImportedDataset`."""
        names, acting = (list(getattr(space, "spaces", ())) for space in (self._store.observation_space, self._store.action_space))
        if (names or len(layouts) > 1) and not set(names) == set(acting) == set(layouts):
            text = f"observation_space has the entries {', '.join(names) or 'of one agent'}, and the agents are {', '.join(layouts)}"
            cure = f"name the entries agent-0, agent-1, ..., and write agents.count: {len(names) or 1}"
            raise DatasetError(f"{self._path / METADATA}: {text}; {cure}")
        numbered = zip(self._store.get_episodes(range(self._total)), self._store.get_episode_metadata(range(self._total)), strict=True)
        try:
            for place, (found, attributes) in enumerate(numbered):
                number, behaviour = int(attributes.get(_NUMBER, place)), int(attributes.get(_BEHAVIOUR, 0))
                yield {
                    agent: part
                    for agent, layout in layouts.items()
                    if (part := self._part(found, agent, layout, len(layouts), number, behaviour)) is not None
                }
        except OSError as error:
            raise DatasetError(f"{self._path}: it can't be read ({error}); restore the dataset of Minari") from None

    def _part(self, found: Mapping[str, Any], agent: str, layout: Layout, agents: int, number: int, behaviour: int) -> ShardEpisode | None:
        """What an agent has of an episode; None where it is no member."""
        where = f"{self._path}: episode {found['id']}"
        several = isinstance(self._store.observation_space, spaces.Dict)
        observation = np.asarray(found["observations"][agent] if several else found["observations"])
        action = np.asarray(found["actions"][agent] if several else found["actions"])
        space = self._store.action_space[agent] if several else self._store.action_space
        steps = len(found["rewards"])
        info = ((found["infos"] or {}).get(agent) if several else None) or {}
        if agents > 1 and "reward" not in info:
            raise DatasetError(f"{where}: infos.{agent}.reward is missing, and rewards has the sum of all; write each agent's own rewards")
        alive = np.asarray(info.get("alive", np.ones(steps + 1, bool)))[1:]
        moment = np.flatnonzero(alive).astype(np.int32)
        if not len(moment):
            return None
        rows = moment + 1
        terminated = bool(info["terminated"][rows[-1]]) if "terminated" in info else bool(found["terminations"][-1])
        reward = np.asarray(info["reward"])[rows] if "reward" in info else np.asarray(found["rewards"])
        likely = np.asarray(info.get("log_probability", np.full(steps + 1, np.nan)))[rows].astype(np.float32)
        seen = fitted_observations(observation, layout, f"{where}: observations of {agent}")[np.append(moment, moment[-1] + 1)]
        moved = self.origin is None
        acted = fitted_actions(action - getattr(space, "start", 0), layout, moved, f"{where}: actions of {agent}")[moment]
        return ShardEpisode(number, behaviour, seen, acted, reward.astype(np.float32), terminated, moment, likely)
