"""A picture of one world of reward collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.renderer import AGENTS, FLOOR, INK, Colour, Renderer
from protocols.spaces.reward_map import RewardMap

_WHITE, _LINE, _EDGE = (255, 255, 255), (205, 205, 200), (58, 64, 78)
_POOR, _RICH = (250, 236, 190), (240, 150, 20)
_MARGIN = 0.4


def _worth(share: float) -> Colour:
    """Pale for a site that is worth little, saturated for the best one."""
    red, green, blue = (round(poor + share * (rich - poor)) for poor, rich in zip(_POOR, _RICH, strict=True))
    return red, green, blue


def draw(sites: RewardMap, position: NDArray[Any], active: NDArray[np.bool_], trail: Sequence[NDArray[Any]] = ()) -> NDArray[np.uint8]:
    """`[480, 480, 3]`: sites in the size in which they pay, with their values, and agents at `position[N, 2]` (hollow where they are away)
    with the ways that they have come, the oldest place first in `trail`, each `[N, 2]`."""
    (left, bottom), (right, top) = sites.low, sites.high
    extent = max(right - left, top - bottom) + 2 * _MARGIN
    canvas = Renderer(extent, left - _MARGIN)
    for line in np.arange(np.ceil(left / 2) * 2, right, 2.0):
        canvas.paint(np.minimum(np.abs(canvas.x - line), np.abs(canvas.y - line)) - 0.01, _LINE, 0.5)
    canvas.paint(-canvas.box(left, bottom, right, top), _EDGE)
    for agent in range(len(position)):
        if len(trail) > 1:
            canvas.way(np.array([there[agent] for there in trail], np.float64), 0.14, AGENTS[agent % len(AGENTS)], 0.5)
    best = max(map(abs, sites.values), default=1.0) or 1.0
    for (x, y), value in zip(sites.sites, sites.values, strict=True):
        near = canvas.near(x, y, sites.radius + 1)
        near.paint(near.disc(x, y, sites.radius), INK, 0.7)
        near.paint(near.disc(x, y, sites.radius - 0.06), _worth(abs(value) / best))
        near.number(abs(value), x, y - sites.radius - 0.5, 0.5)
    for agent, (x, y) in enumerate(position.tolist()):
        colour = AGENTS[agent % len(AGENTS)]
        near = canvas.near(x, y, 0.5)
        near.paint(near.disc(x, y, 0.36), _WHITE)
        near.paint(near.disc(x, y, 0.29), colour)
        if not active[agent]:
            near.paint(near.disc(x, y, 0.19), FLOOR)
    return np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)
