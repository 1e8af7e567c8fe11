"""A picture of one arena."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.landmarks.body_physics import Bodies
from env_server.environments.landmarks.room_geometry import RADIUS
from env_server.environments.renderer import AGENTS, FLOOR, INK, Renderer

_WALL, _LANDMARK, _TOUCHED = (58, 64, 78), (176, 184, 196), (255, 205, 92)


def draw(bodies: Bodies, copy: int, goals: Sequence[Sequence[int]], active: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`[480, 480, 3]`: walls, numbered landmarks (bright while touched), bodies with their heading (hollow when their part is over), and
    before each landmark one dot per body whose goal contains it, in the body's colour. `goals[m]` are the landmarks of body m's goal."""
    geometry = bodies.geometry
    room, wall = geometry.room, geometry.wall
    canvas = Renderer(room)
    unit = room / 400
    canvas.paint(-canvas.box(wall, wall, room - wall, room - wall, 4 * unit), _WALL)
    touched = bodies.look()[1][copy].any(axis=0)
    for number, rectangle in enumerate(geometry.landmarks):
        x, y = (rectangle.left + rectangle.right) / 2, (rectangle.bottom + rectangle.top) / 2
        near = canvas.near(x, y, max(rectangle.right - x, rectangle.top - y) + 4 * unit)
        box = near.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top, 4 * unit)
        near.paint(box - 1.5 * unit, INK)
        near.paint(box, _TOUCHED if touched[number] else _LANDMARK)
        near.near(x, y, 15 * unit).number(number, x, y, 15 * unit)
        wanted_by = [body for body, goal in enumerate(goals) if number in goal]
        for place, body in enumerate(wanted_by):
            shift = (place - (len(wanted_by) - 1) / 2) * 15 * unit
            out = 11 * unit
            dx, dy = rectangle.inward
            px = (rectangle.right + out if dx > 0 else rectangle.left - out) if dx else x + shift
            py = (rectangle.top + out if dy > 0 else rectangle.bottom - out) if dy else y + shift
            near = canvas.near(px, py, 8 * unit)
            near.paint(near.disc(px, py, 6 * unit), AGENTS[body % len(AGENTS)])
    for body in range(bodies.options.members):
        px, py = bodies.position[copy, body].tolist()
        heading = float(bodies.heading[copy, body])
        colour = AGENTS[body % len(AGENTS)]
        near = canvas.near(px, py, RADIUS + 6 * unit)
        near.paint(near.disc(px + 2 * unit, py - 3 * unit, RADIUS), INK, 0.18)
        near.paint(near.disc(px, py, RADIUS), colour)
        if body < len(active) and not active[body]:
            near.paint(near.disc(px, py, 0.72 * RADIUS), FLOOR)
        nose = colour if not active[body] else (255, 255, 255)
        near.paint(near.stroke(px, py, heading, 0.62 * RADIUS, 0.26 * RADIUS), nose)
    return np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)
