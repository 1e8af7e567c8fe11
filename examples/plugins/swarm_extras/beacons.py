"""Vectorised environment `beacons`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, TickResult
from env_server.environments.environment_factory import EnvironmentContext
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.layout import Layout, ObservationField
from swarm_extras.components import BeaconOptions

MOVES = np.array([[0, 0], [0.1, 0], [-0.1, 0], [0, 0.1], [0, -0.1]], np.float32)
CORNERS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)


class Beacons:
    """Each agent moves in the square [-1, 1]^2 by steps of 0.1 and is rewarded 1 in each step that ends near its own beacon.

    Observation: own position and beacon, `[4]`. Actions: stay, or a step in one of four directions. All episodes last `horizon` steps.
    """

    def __init__(self, options: BeaconOptions, agents: Sequence[str], copies: int, seed: int) -> None:
        self.agents, self.copies = tuple(agents), copies
        self._options = options
        self.reset(seed)

    def layout(self, agent: str) -> Layout:
        """The same for all agents."""
        fields = [ObservationField(name, start, 2, low=-1.0, high=1.0) for name, start in (("position", 0), ("beacon", 2))]
        return Layout(shape=[4], fields=fields, actions=[len(MOVES)])

    # --- steps --------------------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int, first_episode: int = 0) -> TickResult:
        """Start every copy again."""
        self._seed, self._next = seed, first_episode
        self._evaluations = 0
        self._records: list[EpisodeRecord] = []
        return self._begin()

    def _begin(self) -> TickResult:
        self._episode = np.arange(self._next, self._next + self.copies, dtype=np.int64)
        self._next += self.copies
        starts = [
            np.random.default_rng([self._seed, episode]).uniform(-1, 1, (2, len(self.agents), 2)) for episode in self._episode.tolist()
        ]
        self.position, self.beacon = np.array(starts, np.float32).swapaxes(0, 1)
        chosen = min(self._evaluations, self.copies)
        self._evaluations -= chosen
        self._evaluation = np.arange(self.copies) < chosen
        self._returns, self._steps = np.zeros((self.copies, len(self.agents)), np.float32), 0
        return self._result(np.zeros_like(self._returns), Flag.FIRST)

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of all copies, or the start of their next episodes. Agents without an action stay."""
        if self._steps == self._options.horizon:
            return self._begin()
        for i, agent in enumerate(self.agents):
            if agent in actions:
                self.position[:, i] = np.clip(self.position[:, i] + MOVES[actions[agent][:, 0]], -1, 1)
        reward = (np.linalg.norm(self.position - self.beacon, axis=-1) <= self._options.radius).astype(np.float32)
        self._returns += reward
        self._steps += 1
        if self._steps < self._options.horizon:
            return self._result(reward, Flag(0))
        lengths = (self._steps,) * len(self.agents)
        for episode, returns, evaluation in zip(self._episode.tolist(), self._returns.tolist(), self._evaluation.tolist(), strict=True):
            self._records.append(EpisodeRecord(episode, self.agents, tuple(returns), lengths, evaluation))
        return self._result(reward, Flag.TRUNCATED | Flag.OVER)

    def _result(self, reward: NDArray[np.float32], flag: Flag) -> TickResult:
        flags = (np.where(self._evaluation, Flag.EVALUATION, 0) | Flag.MEMBER | flag).astype(np.uint16)
        seen = np.concatenate([self.position, self.beacon], axis=-1)
        batches = {agent: AgentBatch(seen[:, i].copy(), reward[:, i].copy(), flags.copy()) for i, agent in enumerate(self.agents)}
        return TickResult(batches, self._episode.copy())

    # --- the run ----------------------------------------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Absent agents stay where they are."""

    def finished(self) -> list[EpisodeRecord]:
        """Episodes that ended since the last call."""
        records, self._records = self._records, []
        return records

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """The next `episodes` episodes are evaluations."""
        self._evaluations += episodes

    def render(self, copy: int) -> NDArray[np.uint8]:
        """Beacons are grey, agents are blue."""
        picture = np.full((100, 100, 3), 255, np.uint8)
        for places, colour in ((self.beacon[copy], (160, 160, 160)), (self.position[copy], (40, 60, 160))):
            for x, y in ((places + 1) * 48).astype(int).tolist():
                picture[y : y + 4, x : x + 4] = colour
        return picture

    def close(self) -> None:
        """Nothing is open."""


def create(context: EnvironmentContext) -> Beacons:
    """The implementation that is registered."""
    return Beacons(context.options, context.agents, context.copies, context.seed)


def nearest_corner(environment: Beacons, agent: str, observation: Array) -> NDArray[np.int64]:
    """Achieved goals, a function for `environment.goals.of`: the corner within 0.4 of the agent in each copy, `[K]`; -1: none."""
    distances = np.linalg.norm(observation[:, None, :2] - CORNERS, axis=-1)
    nearest: NDArray[np.int64] = np.where(distances.min(axis=1) <= 0.4, distances.argmin(axis=1), -1)
    return nearest
