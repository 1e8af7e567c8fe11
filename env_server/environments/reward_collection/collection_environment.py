"""K copies of reward collection, in which all agents of the run play together."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, TickResult
from env_server.environments.environment_factory import EnvironmentContext
from env_server.environments.episode_schedule import EpisodicCopies, episode_generator
from env_server.environments.reward_collection.collection_physics import CollectionPhysics, observation_layout
from env_server.environments.reward_collection.settings import RewardCollectionOptions
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream

VISITED = "sites.visited"
"""metric: share of the sites that an agent visited at least once in an episode"""
_TRAILED = 64
"""copies of which pictures show the ways"""
_TRAIL = 128
"""steps of a way that are kept"""


class VectorRewardCollection(EpisodicCopies):
    """The `reward_collection` environment for a whole run.

    Gains are drawn from the seed of `reset`, and evaluations have those of training. Only the horizon ends episodes, so all copies begin
    and end theirs at the same ticks. They go on when an agent is absent: it stays where it was, earns nothing, and continues from there
    when it returns.
    """

    def __init__(self, options: RewardCollectionOptions, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        super().__init__(dict.fromkeys(agents, observation_layout(options)), copies, seed)
        self.options = options
        self._present = np.ones(len(self.agents), bool)
        self._start_anew()

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        self._worlds = CollectionPhysics(self.options, len(self.agents), self.copies, self._seed)
        self._evaluation = np.zeros(self.copies, bool)
        self._marks = np.zeros(self.copies, np.uint16)
        self._earned = np.zeros((self.copies, len(self.agents)))
        self._steps = self.options.horizon
        self._trail: deque[NDArray[np.float32]] = deque(maxlen=_TRAIL)

    @property
    def gains(self) -> NDArray[np.float64]:
        """What each agent's actuators make of its action, `[N, 2]`."""
        return self._worlds.gains

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of all copies by `actions[agent][K, 2]`, or, where the last tick ended their episodes, the start of the next ones.
        Displacements beyond [-1, 1] are moved to the nearest bound."""
        if self._steps >= self.options.horizon:
            return self._begin()
        action = np.zeros((self.copies, len(self.agents), 2), np.float32)
        for i, agent in enumerate(self.agents):
            if agent in actions:
                action[:, i] = actions[agent]
        self._worlds.active = self._present
        own = self._worlds.step(action)
        self._earned += own
        self._steps += 1
        self._follow()
        over = self._steps >= self.options.horizon
        if over:
            self._record()
        given = own if self.options.reward == "own" else np.broadcast_to(own.sum(axis=1, keepdims=True), own.shape)
        return self._outcome(given, Flag.TRUNCATED | Flag.OVER if over else Flag(0))

    def _begin(self) -> TickResult:
        self._episode = np.arange(self._next_episode, self._next_episode + self.copies)
        self._next_episode += self.copies
        self._evaluation = np.array([self._schedule.draw()[0] for _ in range(self.copies)])
        self._marks = np.where(self._evaluation, Flag.MEMBER | Flag.EVALUATION, Flag.MEMBER).astype(np.uint16)
        noisy = self._episode.tolist() if self.options.process_noise else []
        self._worlds.begin([episode_generator(self._seed, episode, Stream.ENVIRONMENT) for episode in noisy])
        self._earned[:] = 0.0
        self._steps = 0
        self._trail.clear()
        self._follow()
        return self._outcome(np.zeros_like(self._earned), Flag.FIRST)

    def _follow(self) -> None:
        self._trail.append(self._worlds.position[:_TRAILED].astype(np.float32))

    def _record(self) -> None:
        """Own rewards, whatever the agents were given, and `sites.visited`."""
        members, lengths = self.agents, (self._steps,) * len(self.agents)
        visited = self._worlds.visited.mean(axis=1).tolist()
        rows = zip(self._episode.tolist(), self._earned.tolist(), self._evaluation.tolist(), visited, strict=True)
        self._records += [
            EpisodeRecord(episode, members, tuple(earned), lengths, evaluation, metrics={VISITED: share})
            for episode, earned, evaluation, share in rows
        ]

    def _outcome(self, reward: NDArray[np.float64], flag: Flag) -> TickResult:
        seen = np.ascontiguousarray(self._worlds.position.transpose(1, 0, 2), np.float32)
        given = np.ascontiguousarray(reward.T, np.float32)
        flags = np.empty(given.shape, np.uint16)
        flags[:] = self._marks | np.uint16(flag)
        return TickResult({name: AgentBatch(seen[i], given[i], flags[i]) for i, name in enumerate(self.agents)}, self._episode.copy())

    # --- presence, pictures -----------------------------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Set the agents that move and earn from the next step on."""
        self._present = np.array([agent in agents for agent in self.agents])

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of one copy; of the first 64 with the ways of the agents."""
        from env_server.environments.reward_collection.collection_rendering import draw

        trail = [there[copy] for there in self._trail] if copy < _TRAILED else []
        return draw(self._worlds.map, self._worlds.position[copy], self._present, trail)

    def close(self) -> None:
        """Nothing is held."""


def create(context: EnvironmentContext) -> VectorRewardCollection:
    """The environment of the settings."""
    return VectorRewardCollection(context.options, context.agents, context.copies, context.seed)
