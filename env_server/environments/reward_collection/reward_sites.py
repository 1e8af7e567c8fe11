"""Positions of the sites, starts of the agents, and what an agent observes of them. Lengths are in units of one full action."""

from __future__ import annotations

from math import cos, isqrt, pi, sin

import numpy as np
from numpy.typing import NDArray

from env_server.environments.reward_collection.settings import RewardCollectionOptions
from protocols.runtime.seeds import Stream, generator
from protocols.spaces.layout import Layout, ObservationField
from protocols.spaces.reward_map import RewardMap

WORLD = 10.0
"""the plane is [-WORLD, WORLD]^2"""
RADIUS = 0.5
"""a site pays who is nearer than this"""
_START = 6.0
_FAR_START = 1.5
_VALUES = (0.1, 0.5, 1.0)
_FAR = (((-2.0, 0.0), 0.1), ((2.0, 0.0), 0.1), ((8.0, 8.0), 1.0))

Point = tuple[float, float]


def grid(count: int) -> tuple[Point, ...]:
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


def starts(options: RewardCollectionOptions, agents: int) -> NDArray[np.float64]:
    """`[N, 2]`: one agent at the origin; agent i of several at angle 2 pi i / N on a circle of radius 6, in the far layout 1.5."""
    if agents == 1:
        return np.zeros((1, 2))
    radius = _FAR_START if options.variant == "far" else _START
    angles = [2 * pi * i / agents for i in range(agents)]
    return np.array([(radius * cos(angle), radius * sin(angle)) for angle in angles])


def gains(options: RewardCollectionOptions, agents: int, seed: int) -> NDArray[np.float64]:
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
