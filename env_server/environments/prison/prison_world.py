"""Rules of the simplified prison: agents in corridors of their own, which touch both walls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.episode_draws import EpisodeDraws
from env_server.environments.world_copies import World
from protocols.spaces.layout import Layout, ObservationField

Floats = NDArray[np.float64]
STAY, LEFT, RIGHT = 0, 1, 2
LENGTH = 30.0
"""a corridor is [0, LENGTH]"""
CELLS = 30
TOUCHED = 2.0
"""a wall is touched by an agent that is nearer to it than this"""
ROUND = 2.0
"""reward for the second wall"""
_START = (10.0, 20.0)
_STRIDE, _SPREAD, _SIGHT = 5.0, 2.0, 2.0
_MOVE, _PLACES, _WEIGHTS, _WALLS, _AGAIN = 0, slice(1, 31), slice(31, 61), slice(61, 63), 63
_DRAWS = 64
"""random numbers of an agent in a step: standard normal ones, and the last one uniform in [0, 1)"""


def observation_layout() -> Layout:
    """32 numbers: cells of the corridor, from the left, and two that show which walls were touched; three actions."""
    fields = [
        ObservationField("position", 0, CELLS),
        ObservationField("touched_left", CELLS, 1),
        ObservationField("touched_right", CELLS + 1, 1),
    ]
    return Layout(shape=[CELLS + 2], fields=fields, actions=[3])


class PrisonWorld(World):
    """K copies of N corridors: `position[N, K]` in [0, 30], `touched[N, 2, K]`, the left and the right wall. No agent affects another.

    Actions are 0: stay, 1: left by |n|, 2: right by |n|, with n ~ N(5, 2^2). Agents start uniformly in [10, 20]. After the move an agent at
    x touches the left wall if x < 2, the right one if x > 28, and keeps both until it has touched both; it then starts anew. With p the
    distance to the wall that is missing, or to the farther one where both are, divided by 30, its reward is

        2        if it has touched both walls with this step,
        1 - p    if it has touched the first one with this step,
        -p       otherwise.

    It observes a noisy histogram of its position, 30 draws int(N(x, 2^2)), moved to the nearest of the cells 0 to 29, each of which adds
    |N(0, 1)| to its cell, and then |N(5, 2^2)| for each wall that it has touched, 0 for others.

    Source: the debugging environment of github.com/chappers/marl-offline-coordination, after PettingZoo's `prison` (removed in 1.18).
    """

    def __init__(self, agents: int, copies: int) -> None:
        self.layouts = [observation_layout()] * agents
        self.position: Floats = np.full((agents, copies), LENGTH / 2)
        self.touched = np.zeros((agents, 2, copies), bool)
        self.rounds = np.zeros((agents, copies), np.int64)
        """how often both walls were touched in the running episode"""
        self._draws = EpisodeDraws(copies, (agents, _DRAWS), self._draw)
        self._numbers: Floats = np.zeros((copies, agents, _DRAWS))
        """those that the newest observation uses"""

    def _draw(self, generator: np.random.Generator, steps: int) -> NDArray[Any]:
        shape = (steps, len(self.position))
        return np.concatenate([generator.standard_normal((*shape, _DRAWS - 1)), generator.random((*shape, 1))], axis=2)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """All agents of a copy start anew."""
        self.position[:, copy] = generator.uniform(*_START, len(self.position))
        self._numbers[copy] = self._draw(generator, 1)[0]
        self.touched[:, :, copy], self.rounds[:, copy] = False, 0
        self._draws.begin(copy, generator)

    def step(self, action: NDArray[Any]) -> Floats:
        """Rewards `[N, K]` of `action[N, K]`, 0 to 2."""
        self._numbers = self._draws.next()
        numbers = self._numbers.transpose(1, 2, 0)
        stride = np.abs(_STRIDE + _SPREAD * numbers[:, _MOVE])
        direction = (action == RIGHT).astype(np.float64) - (action == LEFT)
        self.position = np.clip(self.position + direction * stride, 0.0, LENGTH)
        before = self.touched.any(axis=1)
        self.touched |= np.stack([self.position < TOUCHED, self.position > LENGTH - TOUCHED], axis=1)
        both: NDArray[np.bool_] = np.logical_and(self.touched[:, 0], self.touched[:, 1])
        first = self.touched.any(axis=1) & ~before
        away = np.stack([self.position, LENGTH - self.position], axis=1) / LENGTH
        missing = np.where(self.touched, 0.0, away).max(axis=1)
        reward = np.where(both, ROUND, first - missing)
        self.rounds += both
        self.touched &= ~both[:, None]
        again = _START[0] + (_START[1] - _START[0]) * numbers[:, _AGAIN]
        self.position = np.where(both, again, self.position)
        return reward

    def observe(self) -> Sequence[NDArray[np.float32]]:
        """N arrays `[K, 32]`."""
        agents, copies = self.position.shape
        numbers = self._numbers.transpose(1, 0, 2)
        draws = self.position[:, :, None] + _SIGHT * numbers[..., _PLACES]
        cell = np.clip(np.trunc(draws), 0, CELLS - 1).astype(np.intp)
        row = np.arange(agents * copies)[:, None] * CELLS + cell.reshape(agents * copies, -1)
        weight = np.abs(numbers[..., _WEIGHTS]).ravel()
        seen = np.zeros((agents, copies, CELLS + 2), np.float32)
        seen[..., :CELLS] = np.bincount(row.ravel(), weight, agents * copies * CELLS).reshape(agents, copies, CELLS)
        walls = np.abs(_STRIDE + _SPREAD * numbers[..., _WALLS])
        seen[..., CELLS:] = np.where(self.touched.transpose(0, 2, 1), walls, 0.0)
        return list(seen)

    def metrics(self, copy: int) -> dict[str, float]:
        """`prison.rounds`: how often an agent touched both walls, mean over agents."""
        return {"prison.rounds": float(self.rounds[:, copy].mean())}
