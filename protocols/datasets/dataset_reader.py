"""A dataset is read shard by shard, and everything that its manifest states is checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from math import isclose
from pathlib import Path

import numpy as np

from protocols.datasets.manifest import MANIFEST, DatasetError, PartFile, ReturnStatistics, Shard, read_manifest
from protocols.datasets.shard_episodes import CURE, ShardEpisode, decode_part

_TOLERANCE = 1e-6
"""relative and absolute, of returns that are computed again"""


class Dataset:
    """The dataset in `directory`. `DatasetError` where its manifest is missing or damaged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory)

    def episodes(self, agent: str) -> Iterator[ShardEpisode]:
        """All episodes of an agent's shard, in the order of recording. Each file is checked before its episodes are returned, and the
        counts and returns of the shard at the end: `DatasetError` where a file is missing, or the manifest states something else."""
        shard, behaviours = self.manifest.shard(agent), len(self.manifest.behaviours)
        returns: list[list[float]] = [[] for _ in range(behaviours)]
        for part in shard.parts:
            count = steps = 0
            for episode in decode_part(self._content(part), shard.layout, behaviours, part.file):
                count, steps = count + 1, steps + episode.steps
                returns[episode.behaviour].append(episode.total_reward)
                yield episode
            for name, found, said in (("episodes", count, part.episodes), ("steps", steps, part.steps)):
                if found != said:
                    raise self._wrong(f"shards.{agent}.parts.{name}", f"{part.file} has {found}, not {said}")
        self._check_shard(shard, returns)

    def joined(self) -> Iterator[dict[str, ShardEpisode]]:
        """All episodes by number, with the parts of their members by agent; checks as in `episodes`. `DatasetError` where the numbers in a
        shard do not rise."""
        shards = {agent: self.episodes(agent) for agent in self.manifest.agents}
        heads = {agent: episode for agent, shard in shards.items() if (episode := next(shard, None)) is not None}
        while heads:
            number = min(episode.number for episode in heads.values())
            parts = {agent: episode for agent, episode in heads.items() if episode.number == number}
            yield parts
            for agent in parts:
                following = next(shards[agent], None)
                if following is None:
                    del heads[agent]
                elif following.number <= number:
                    raise DatasetError(f"{self.directory / agent}: episode: {following.number} follows {number}; {CURE}")
                else:
                    heads[agent] = following

    def _content(self, part: PartFile) -> bytes:
        path = self.directory / part.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path}: {error.strerror}; {CURE}") from None
        if len(content) != part.size:
            raise DatasetError(f"{path}: size: it has {len(content)} bytes, and by the manifest {part.size}; {CURE}")
        if sha256(content).hexdigest() != part.sha256:
            raise DatasetError(f"{path}: sha256: its content is not that of the manifest; {CURE}")
        return content

    def _check_shard(self, shard: Shard, returns: list[list[float]]) -> None:
        if shard.episodes != sum(part.episodes for part in shard.parts) or shard.steps != sum(part.steps for part in shard.parts):
            raise self._wrong(f"shards.{shard.agent}.episodes", "the numbers of its files have another sum")
        if len(shard.returns) != len(returns):
            raise self._wrong(f"shards.{shard.agent}.returns", f"it has {len(shard.returns)} entries for {len(returns)} behaviours")
        for place, (found, said) in enumerate(zip(returns, shard.returns, strict=True)):
            mean = float(np.mean(found)) if found else None
            if (mean is None) != (said is None) or (mean is not None and said is not None and not _same(mean, said)):
                name = self.manifest.behaviours[place].name
                raise self._wrong(f"shards.{shard.agent}.returns", f"its mean return under {name} is {mean}, not {said}")

    def _wrong(self, field: str, text: str) -> DatasetError:
        cure = "the manifest does not describe these files: make the dataset anew"
        return DatasetError(f"{self.directory / MANIFEST}: {field}: {text}; {cure}")

    def verify(self) -> None:
        """Read everything. `DatasetError` names the first file or field that is wrong: digests, sizes, arrays, counts, returns, and
        episodes whose parts in different shards do not belong together."""
        manifest = self.manifest
        behaviour_of: dict[int, int] = {}
        sums: dict[int, list[float]] = defaultdict(list)
        steps = [0] * len(manifest.behaviours)
        for agent in manifest.agents:
            seen: set[int] = set()
            for episode in self.episodes(agent):
                if episode.number in seen or behaviour_of.setdefault(episode.number, episode.behaviour) != episode.behaviour:
                    text = f"{agent} has episode {episode.number} twice, or another shard has it with another behaviour"
                    raise DatasetError(f"{self.directory / agent}: episode: {text}; {CURE}")
                seen.add(episode.number)
                sums[episode.number].append(episode.total_reward)
                steps[episode.behaviour] += episode.steps
        returns: list[list[float]] = [[] for _ in manifest.behaviours]
        for number, found in sums.items():
            returns[behaviour_of[number]].append(float(np.mean(found)))
        for place, behaviour in enumerate(manifest.behaviours):
            field = f"behaviours.{behaviour.name}"
            if len(returns[place]) != behaviour.episodes or steps[place] != behaviour.steps:
                text = f"there are {len(returns[place])} episodes of {steps[place]} steps, not {behaviour.episodes} of {behaviour.steps}"
                raise self._wrong(f"{field}.episodes", text)
            actual, said = ReturnStatistics.of(returns[place]), behaviour.returns
            for name in ("mean", "std", "quantiles"):
                mine, other = np.atleast_1d(getattr(actual, name)), np.atleast_1d(getattr(said, name))
                if not all(map(_same, mine.tolist(), other.tolist())):
                    raise self._wrong(f"{field}.returns.{name}", f"computed from the shards it is {getattr(actual, name)}")
        if (manifest.episodes, manifest.steps) != (len(sums), sum(steps)):
            raise self._wrong("episodes", f"there are {len(sums)} of {sum(steps)} steps, not {manifest.episodes} of {manifest.steps}")

    def size(self, agents: Iterable[str] | None = None) -> int:
        """Bytes of the shards of these agents; of all without."""
        names = set(self.manifest.agents if agents is None else agents)
        return sum(part.size for shard in self.manifest.shards if shard.agent in names for part in shard.parts)


def _same(first: float, second: float) -> bool:
    return isclose(first, second, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
