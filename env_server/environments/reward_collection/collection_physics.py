"""One step: all agents move simultaneously, then rewards are computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.reward_collection.reward_sites import gains, reward_map, starts
from env_server.environments.reward_collection.settings import RewardCollectionOptions

Floats = NDArray[np.float64]
_BLOCK = 32
"""steps of noise that are drawn at once"""


class CollectionPhysics:
    """K copies of a plane with N agents: `position[K, N, 2]`, `visited[K, S]` (sites visited in this episode). `seed` fixes
    the gains `[N, 2]`, the same in all copies and episodes."""

    def __init__(self, options: RewardCollectionOptions, agents: int, copies: int, seed: int) -> None:
        self.options = options
        self.map = reward_map(options)
        self.gains = gains(options, agents, seed)
        self.active: NDArray[np.bool_] = np.ones(agents, bool)
        """`[N]`: agents that are there; the others neither move nor earn, and share no site"""
        self._starts = starts(options, agents)
        self._shape = (copies, agents, 2)
        self._low, self._high = np.array(self.map.low), np.array(self.map.high)
        self._generators: Sequence[np.random.Generator] = ()
        self._noise: Floats = np.zeros((0, *self._shape))
        self.begin()

    def begin(self, generators: Sequence[np.random.Generator] = ()) -> None:
        """All agents of all copies go to their starts. `generators[k]` makes the noise of copy k's episode, where there is any."""
        self.position: Floats = np.broadcast_to(self._starts, self._shape).copy()
        self.visited: NDArray[np.bool_] = np.zeros((self._shape[0], len(self.map.sites)), bool)
        self._generators = generators
        self._noise = self._noise[:0]

    def step(self, action: NDArray[np.float32]) -> Floats:
        """Own rewards `[K, N]` of `action[K, N, 2]`, a, which is first moved into [-1, 1]^2 (NaN: to 0):

        p <- clip(p + g a + w, low, high),  w ~ N(0, process_noise^2) on each axis;  reward as in `RewardMap`, at the new p.
        """
        there = self.active[:, None]
        usable = there & ~np.isnan(action)
        used = np.where(usable, np.minimum(np.maximum(action, -1.0), 1.0), 0.0).astype(np.float64)
        moved = self.position + self.gains * used
        if self.options.process_noise:
            moved += self.options.process_noise * there * self._draw()
        self.position = np.minimum(np.maximum(moved, self._low), self._high)
        covered = self.map.covered(self.position) & there
        crowd = covered.sum(axis=1, keepdims=True)
        self.visited |= crowd[:, 0] > 0
        return self.map.pay(covered, used, crowd)

    def _draw(self) -> Floats:
        """Standard normal numbers `[K, N, 2]`: the next of every copy's own generator."""
        if not len(self._noise):
            blocks = [generator.standard_normal((_BLOCK, *self._shape[1:])) for generator in self._generators]
            self._noise = np.stack(blocks, axis=1)
        now: Floats = self._noise[0]
        self._noise = self._noise[1:]
        return now
