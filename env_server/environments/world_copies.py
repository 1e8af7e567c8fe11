"""K copies of one world, in which all agents of the run play together until a horizon: episodes, flags and records around its rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, TickResult
from env_server.environments.episode_schedule import HoldableCopies, episode_generator
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from protocols.spaces.layout import Layout


class World(ABC):
    """The rules of K copies of one world with N agents; `layouts[N]`. Steps move all copies, those too whose result is not used."""

    layouts: Sequence[Layout]

    @abstractmethod
    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """An episode begins in that copy; all its random numbers come from `generator`."""

    @abstractmethod
    def step(self, action: NDArray[Any]) -> NDArray[np.float64]:
        """Rewards `[N, K]` of the actions of all agents, as `WorldCopies.decode` makes them."""

    @abstractmethod
    def observe(self) -> Sequence[NDArray[np.float32]]:
        """What each agent sees, N arrays `[K, F]`, which the caller may keep."""

    def members(self, copy: int) -> NDArray[np.bool_] | bool:
        """`[N]`: agents that take part in the episode that has just begun in that copy; True: all."""
        return True

    def metrics(self, copy: int) -> Mapping[str, float]:
        """What else is measured of the episode that ends now in that copy."""
        return {}


class WorldCopies(HoldableCopies):
    """A `VectorEnvironment` of the copies of one world. Only the horizon ends episodes. The body of an agent whose process is absent stays
    in the world. Rows of agents that are no members of an episode are without `Flag.MEMBER`."""

    def __init__(self, world: World, horizon: int, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        """`world` has as many agents and copies."""
        self.episode_limit: int | None = horizon
        self._horizon, self._rules = horizon, world
        super().__init__(dict(zip(agents, world.layouts, strict=True)), copies, seed)
        self._start_anew()

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        self._steps = np.zeros(self.copies, np.int64)
        self._marks = np.zeros(self.copies, np.uint16)
        self._earned = np.zeros((len(self.agents), self.copies))
        self._member = np.ones((len(self.agents), self.copies), bool)

    @abstractmethod
    def decode(self, actions: Mapping[str, Array]) -> NDArray[Any]:
        """What `World.step` takes, from `actions[agent][K, A]`. `ValueError` for unknown discrete actions."""

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every copy by `actions[agent][K, A]`, or the start of its next episode where the last tick ended one. Continuous
        actions beyond their bounds are moved to the nearest one. `ValueError` for an unknown discrete one."""
        waiting = np.array(self._over)
        playing = ~waiting
        reward = np.zeros_like(self._earned)
        marks = np.where(playing, self._marks, 0).astype(np.uint16)
        if playing.any():
            reward[:, playing] = self._rules.step(self.decode(actions))[:, playing]
            reward *= self._member
            self._earned += reward
            self._steps += playing
            over = playing & (self._steps >= self._horizon)
            marks[over] |= np.uint16(Flag.TRUNCATED | Flag.OVER)
            for copy in np.flatnonzero(over).tolist():
                self._end(copy)
        starting = waiting & ~self._hold
        for copy in np.flatnonzero(starting).tolist():
            self._begin(copy)
        marks[starting] = self._marks[starting] | np.uint16(Flag.FIRST)
        self._episode[waiting & ~starting] = -1
        given = reward.astype(np.float32)
        batches = zip(self.agents, self._rules.observe(), given, self._member * marks, strict=True)
        return TickResult({name: AgentBatch(seen, own, flags) for name, seen, own, flags in batches}, self._episode.copy())

    def choices(self, actions: Mapping[str, Array], count: int) -> NDArray[np.intp]:
        """`[N, K]` of discrete actions 0 to `count` - 1; 0 for agents without one."""
        chosen = np.zeros((len(self.agents), self.copies), np.intp)
        for i, agent in enumerate(self.agents):
            if agent in actions:
                chosen[i] = actions[agent][:, 0]
                if chosen[i].min() < 0 or chosen[i].max() >= count:
                    copy = int(np.flatnonzero((chosen[i] < 0) | (chosen[i] >= count))[0])
                    raise ValueError(f"{agent} chose {chosen[i, copy]} in copy {copy}; actions are 0 to {count - 1}")
        return chosen

    def _begin(self, copy: int) -> None:
        """The next episode of a copy."""
        self._rules.begin(copy, episode_generator(self._seed, self._next_number(copy), Stream.ENVIRONMENT))
        self._marks[copy] = Flag.MEMBER | (Flag.EVALUATION if self._schedule.draw()[0] else 0)
        self._member[:, copy] = self._rules.members(copy)
        self._steps[copy] = 0
        self._earned[:, copy] = 0.0

    def _end(self, copy: int) -> None:
        self._over[copy] = True
        taking = self._member[:, copy].tolist()
        members, earned = tuple(compress(self.agents, taking)), tuple(compress(self._earned[:, copy].tolist(), taking))
        lengths = (int(self._steps[copy]),) * len(members)
        evaluation, metrics = bool(self._marks[copy] & Flag.EVALUATION), self._rules.metrics(copy)
        self._records.append(EpisodeRecord(int(self._episode[copy]), members, earned, lengths, evaluation, metrics=metrics))

    def set_present(self, agents: Collection[str]) -> None:
        """Bodies of absent agents stay, so nothing changes."""

    def close(self) -> None:
        """Nothing is held."""
