"""A picture of one particle world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.particles.particle_world import Disc
from env_server.environments.renderer import AGENTS, INK, Colour, Renderer

_COLOURS: dict[str, Colour] = {"prey": (70, 200, 90), "landmark": (255, 205, 92), "obstacle": (120, 126, 138)}
_EDGE: Colour = (205, 205, 200)
_LEAST = 1.2
_MARGIN = 0.1


def draw(discs: Sequence[Disc]) -> NDArray[np.uint8]:
    """`[480, 480, 3]`: the square [-1, 1]^2 and all discs, those behind first; the picture widens so that each is in it."""
    reach = max([_LEAST, *(max(abs(disc.x), abs(disc.y)) + disc.radius + _MARGIN for disc in discs)])
    canvas = Renderer(2 * reach, -reach)
    canvas.paint(np.abs(canvas.box(-1, -1, 1, 1)) - 0.5 / canvas.scale, _EDGE)
    agents = 0
    for disc in discs:
        colour = _COLOURS[disc.role] if disc.role != "agent" else AGENTS[agents % len(AGENTS)]
        agents += disc.role == "agent"
        near = canvas.near(disc.x, disc.y, disc.radius + 3 / canvas.scale)
        near.paint(near.disc(disc.x, disc.y, disc.radius), INK)
        near.paint(near.disc(disc.x, disc.y, disc.radius - 1.5 / canvas.scale), colour)
    return np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)
