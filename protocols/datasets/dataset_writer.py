"""A dataset is written beside its place and moved there when it is complete."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import numpy as np

from protocols.datasets.manifest import (
    Behaviour,
    DatasetEnvironment,
    DatasetError,
    Manifest,
    PartFile,
    ReturnStatistics,
    Shard,
    write_manifest,
)
from protocols.datasets.shard_episodes import ShardEpisode, decode_part, encode_part
from protocols.spaces.layout import Layout

PART_BYTES = 64 * 2**20
"""arrays of an agent's episodes in memory before its next file is written"""


class DatasetWriter:
    """Writes episodes of agents with these `layouts`; use it as a context. The directory exists after `close`, and never in part: where
    the context ends without it, nothing is left. `DatasetError` where `directory` exists."""

    def __init__(
        self, directory: Path, environment: DatasetEnvironment, layouts: Mapping[str, Layout], seed: int, part_bytes: int = PART_BYTES
    ) -> None:
        if directory.exists():
            raise DatasetError(f"{directory} exists, and datasets are never overwritten; remove it, or choose another name")
        self._directory, self._environment, self._layouts, self._seed = directory, environment, layouts, seed
        self._part_bytes = part_bytes
        self._temporary = directory.with_name(f".{directory.name}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)  # of a process that was killed
        try:
            for agent in layouts:
                (self._temporary / agent).mkdir(parents=True)
        except OSError as error:
            raise DatasetError(f"{directory} can't be written: {error.strerror}; choose another place") from None
        self._behaviours: list[tuple[str, str]] = []
        self._returns: list[list[float]] = []
        self._steps: list[int] = []
        self._own_returns: dict[str, list[list[float]]] = {agent: [] for agent in layouts}
        self._waiting: dict[str, list[ShardEpisode]] = defaultdict(list)
        self._waiting_bytes: dict[str, int] = defaultdict(int)
        self._parts: dict[str, list[PartFile]] = {agent: [] for agent in layouts}
        self._newest = -1

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def begin_behaviour(self, name: str, policy: str) -> int:
        """The episodes that follow were played by another policy; its place in `Manifest.behaviours`."""
        self._behaviours.append((name, policy))
        self._returns.append([])
        self._steps.append(0)
        for own in self._own_returns.values():
            own.append([])
        return len(self._behaviours) - 1

    def add(self, parts: Mapping[str, ShardEpisode]) -> None:
        """One episode: the parts of its members, which have the same number and behaviour. `ValueError` where they have not, or where
        the number is not above that of the episode before; `DatasetError` for arrays that the layout does not allow."""
        numbers, behaviours = ({part.number for part in parts.values()}, {part.behaviour for part in parts.values()})
        if len(numbers) != 1 or behaviours != {len(self._behaviours) - 1} or min(numbers) <= self._newest:
            raise ValueError("the parts of an episode have one number, above those before, and the behaviour that was begun last")
        self._newest = numbers.pop()
        for agent, part in parts.items():
            self._own_returns[agent][-1].append(part.total_reward)
            self._waiting[agent].append(part)
            self._waiting_bytes[agent] += part.size
            if self._waiting_bytes[agent] >= self._part_bytes:
                self._write(agent)
        self._returns[-1].append(float(np.mean([part.total_reward for part in parts.values()])))
        self._steps[-1] += sum(part.steps for part in parts.values())

    def _write(self, agent: str) -> None:
        episodes = self._waiting.pop(agent, [])
        self._waiting_bytes[agent] = 0
        if episodes:
            content, file = encode_part(episodes), f"{agent}/{len(self._parts[agent]):05}.safetensors"
            for _ in decode_part(content, self._layouts[agent], len(self._behaviours), file):
                pass  # what readers would refuse is not written
            (self._temporary / file).write_bytes(content)
            steps = sum(episode.steps for episode in episodes)
            digest = sha256(content).hexdigest()
            self._parts[agent].append(PartFile(file=file, sha256=digest, size=len(content), episodes=len(episodes), steps=steps))

    def close(self) -> Manifest:
        """Write what is left and the manifest, and move the directory to its place. `DatasetError` where a behaviour has no episode."""
        if not self._behaviours or not all(self._returns):
            empty = ", ".join(name for (name, _), found in zip(self._behaviours, self._returns, strict=True) if not found)
            raise DatasetError(f"{self._directory}: no episode of {empty or 'any behaviour'} was recorded; ask for more episodes")
        for agent in self._layouts:
            self._write(agent)
        behaviours = [
            Behaviour(name=name, policy=policy, episodes=len(returns), steps=steps, returns=ReturnStatistics.of(returns))
            for (name, policy), returns, steps in zip(self._behaviours, self._returns, self._steps, strict=True)
        ]
        shards = [
            Shard(
                agent=agent,
                layout=layout,
                episodes=sum(part.episodes for part in self._parts[agent]),
                steps=sum(part.steps for part in self._parts[agent]),
                returns=[float(np.mean(own)) if own else None for own in self._own_returns[agent]],
                parts=self._parts[agent],
            )
            for agent, layout in self._layouts.items()
        ]
        manifest = Manifest(
            environment=self._environment,
            seed=self._seed,
            episodes=sum(behaviour.episodes for behaviour in behaviours),
            steps=sum(behaviour.steps for behaviour in behaviours),
            software=_software(self._environment.id),
            behaviours=behaviours,
            shards=shards,
        )
        manifest = write_manifest(self._temporary, manifest)
        self._temporary.rename(self._directory)
        return manifest


def _software(environment: str) -> dict[str, str]:
    """Versions of this software, and of the package that has the environment."""
    found = {}
    for name in ("murmuration-rl", "numpy", environment.partition(":")[0].partition(".")[0]):
        try:
            found[name] = version(name)
        except (PackageNotFoundError, ValueError):
            continue
    return found
