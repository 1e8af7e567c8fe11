"""Sites, starts, gains, what an agent observes, and one step: all agents move simultaneously, then rewards are computed. Lengths are in
units of one full action."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, isqrt, pi, sin

import numpy as np
from numpy.typing import NDArray

from env_server.environments.reward_collection.settings import RewardCollectionOptions
from protocols.runtime.seeds import Stream, generator
from protocols.spaces.layout import Layout, ObservationField
from protocols.spaces.reward_map import RewardMap

Floats = NDArray[np.float64]
WORLD = 10.0
"""the plane is [-WORLD, WORLD]^2"""
RADIUS = 0.5
"""a site pays who is nearer than this"""
_START = 6.0
_FAR_START = 1.5
_VALUES = (0.1, 0.5, 1.0)
_FAR = (((-2.0, 0.0), 0.1), ((2.0, 0.0), 0.1), ((8.0, 8.0), 1.0))
_BLOCK = 32
"""steps of noise that are drawn at once"""


def grid(count: int) -> tuple[tuple[float, float], ...]:
    """`count` sites in rows from the lower left: ceil(sqrt(count)) columns and as many rows as needed; column c of C is at
    x = -WORLD + 2 WORLD (c + 1) / (C + 1), rows likewise."""
    columns = isqrt(count - 1) + 1
    rows = -(-count // columns)
    return tuple(
        (-WORLD + (j % columns + 1) * 2 * WORLD / (columns + 1), -WORLD + (j // columns + 1) * 2 * WORLD / (rows + 1)) for j in range(count)
    )


def reward_map(options: RewardCollectionOptions) -> RewardMap:
    """Sites, their values, and the rule by which they pay."""
    if options.variant == "far":
        sites, values = tuple(site for site, _ in _FAR), tuple(value for _, value in _FAR)
    else:
        sites = grid(options.grid_sites)
        values = tuple(_VALUES[j % len(_VALUES)] for j in range(len(sites)))
    return RewardMap(sites, values, RADIUS, (-WORLD, -WORLD), (WORLD, WORLD), options.action_cost, options.exclusive)


def starts(options: RewardCollectionOptions, agents: int) -> Floats:
    """`[N, 2]`: one agent at the origin; agent i of several at angle 2 pi i / N on a circle of radius 6, in the far layout 1.5."""
    if agents == 1:
        return np.zeros((1, 2))
    radius = _FAR_START if options.variant == "far" else _START
    angles = [2 * pi * i / agents for i in range(agents)]
    return np.array([(radius * cos(angle), radius * sin(angle)) for angle in angles])


def gains(options: RewardCollectionOptions, agents: int, seed: int) -> Floats:
    """g `[N, 2]`, drawn from N(1, gain_std^2): of agent i by (seed, i) alone, however many others there are."""
    drawn = [generator(seed, f"agent-{i}", Stream.ENVIRONMENT).standard_normal(2) for i in range(agents)]
    return 1.0 + options.gain_std * np.array(drawn)


def observation_layout(options: RewardCollectionOptions) -> Layout:
    """An agent sees its own position (x, y) and acts by a displacement in [-1, 1]^2. The layout contains the positions of rewards; an
    agent may use them or not."""
    return Layout(
        shape=[2],
        fields=[ObservationField("position", 0, 2, "", -WORLD, WORLD)],
        low=[-1.0, -1.0],
        high=[1.0, 1.0],
        reward_map=reward_map(options).info(),
    )


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
