"""A game of independent steps with a wide basin of low reward and a narrow one of high reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.episode_draws import EpisodeDraws
from env_server.environments.particles.particle_physics import Floats
from env_server.environments.particles.particle_world import Disc, ParticleWorld
from env_server.environments.particles.settings import BasinsOptions
from protocols.spaces.layout import Layout, ObservationField

WIDE = (-0.5, 5.0, 0.32)
"""centre of the basin over the state, height, twice its variance"""
NARROW = (0.6, 10.0, 0.02)


def basin_reward(state: Floats, action: Floats) -> Floats:
    """`[K]` of `state[N, K]` and `action[N, K]`: max over the basins of height exp(-|action - centre state|^2 / width)."""
    values = [height * np.exp(-np.square(action - centre * state).sum(axis=0) / width) for centre, height, width in (WIDE, NARROW)]
    reward: Floats = np.maximum(*values)
    return reward


class BasinWorld(ParticleWorld):
    """At each step the state s is drawn anew, each component +1 or -1. Agent i sees s_i and chooses u_i in [-1, 1]; all are given

    max(5 exp(-|u + 0.5 s|^2 / 0.32), 10 exp(-|u - 0.6 s|^2 / 0.02)).
    """

    def __init__(self, options: BasinsOptions, agents: int, copies: int) -> None:
        layout = Layout(shape=[1], fields=[ObservationField("state", 0, 1, "", -1.0, 1.0)], low=[-1.0], high=[1.0])
        self.layouts = [layout] * agents
        self.state: Floats = np.ones((agents, copies))
        self._action: Floats = np.zeros((agents, copies))
        self._signs = EpisodeDraws(copies, (agents,), self._draw, block=26)

    def _draw(self, generator: np.random.Generator, steps: int) -> NDArray[Any]:
        return 2.0 * generator.integers(0, 2, (steps, len(self.state))) - 1.0

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """The first state is drawn."""
        self.state[:, copy] = self._draw(generator, 1)[0]
        self._action[:, copy] = 0.0
        self._signs.begin(copy, generator)

    def step(self, action: Floats) -> Floats:
        """Rewards `[N, K]` of `action[N, 1, K]`."""
        self._action = action[:, 0]
        reward = basin_reward(self.state, self._action)
        self.state = np.ascontiguousarray(self._signs.next().T)
        return np.broadcast_to(reward, self.state.shape)

    def observe(self) -> Sequence[NDArray[np.float32]]:
        """N arrays `[K, 1]`."""
        return list(self.state.astype(np.float32)[:, :, None])

    def scene(self, copy: int) -> list[Disc]:
        """The plane of the first two agents' actions: both basins for the coming state, and the last action."""
        state, action = ([*values[:2, copy].tolist(), 0.0][:2] for values in (self.state, self._action))
        discs = [(centre * state[0], centre * state[1], (width / 2) ** 0.5) for centre, _, width in (WIDE, NARROW)]
        return [Disc(*discs[0], "obstacle"), Disc(*discs[1], "landmark"), Disc(action[0], action[1], 0.04, "agent")]
