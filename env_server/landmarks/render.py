"""A picture of one arena, rasterised with signed distances: coverage of a pixel is clip(1/2 - distance, 0, 1), distances in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.landmarks.geometry import RADIUS
from env_server.landmarks.physics import Bodies

SIZE = 480
"""pixels along one side"""
_FLOOR, _WALL, _LANDMARK, _TOUCHED, _INK = (246, 244, 238), (58, 64, 78), (176, 184, 196), (255, 205, 92), (34, 38, 48)
_AGENTS = ((31, 119, 200), (214, 69, 65), (38, 153, 96), (142, 84, 172), (230, 126, 34), (22, 145, 160))
_DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717")
"""0 ... 9, three pixels wide and five high: each character is a row as a binary number"""

Field = NDArray[np.float64]


class _Canvas:
    """Pixels with the origin at the lower left, painted over one another."""

    def __init__(self, scale: float) -> None:
        self.pixels: Field = np.full((SIZE, SIZE, 3), _FLOOR, np.float64)
        self.scale = scale
        steps = (np.arange(SIZE) + 0.5) / scale
        self.x, self.y = np.meshgrid(steps, steps[::-1])

    def paint(self, distance: Field, colour: tuple[int, int, int], opacity: float = 1.0) -> None:
        """Cover what lies inside (`distance` < 0, in room units)."""
        cover = opacity * np.clip(0.5 - distance * self.scale, 0.0, 1.0)[..., None]
        self.pixels += cover * (np.array(colour, np.float64) - self.pixels)

    def box(self, left: float, bottom: float, right: float, top: float, corner: float = 0.0) -> Field:
        """Distance to a box with rounded corners."""
        dx = np.abs(self.x - (left + right) / 2) - (right - left) / 2 + corner
        dy = np.abs(self.y - (bottom + top) / 2) - (top - bottom) / 2 + corner
        distance: Field = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner
        return distance

    def disc(self, x: float, y: float, radius: float) -> Field:
        """Distance to a disc."""
        distance: Field = np.hypot(self.x - x, self.y - y) - radius
        return distance

    def stroke(self, x: float, y: float, angle: float, length: float, width: float) -> Field:
        """Distance to a line with round ends that starts at (x, y)."""
        along = np.clip((self.x - x) * np.cos(angle) + (self.y - y) * np.sin(angle), 0, length)
        distance: Field = np.hypot(self.x - x - along * np.cos(angle), self.y - y - along * np.sin(angle)) - width / 2
        return distance

    def number(self, value: int, x: float, y: float, height: float) -> None:
        """A number centred at (x, y)."""
        text, dot = str(value), height / 5
        left = x - dot * (4 * len(text) - 1) / 2
        distance = np.full((SIZE, SIZE), np.inf)
        for digit in text:
            for row, bits in enumerate(_DIGITS[int(digit)]):
                for column in range(3):
                    if int(bits) >> (2 - column) & 1:
                        low, here = y + height / 2 - dot * (row + 1), left + dot * column
                        distance = np.minimum(distance, self.box(here, low, here + dot, low + dot))
            left += 4 * dot
        self.paint(distance - 0.02 * dot, _INK)


def draw(bodies: Bodies, copy: int, goals: Sequence[Sequence[int]], active: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`[480, 480, 3]`: walls, numbered landmarks (bright while touched), bodies with their heading (hollow when their part is over), and
    before each landmark one dot per body that wants it, in the body's colour. `goals[m]` are the landmarks of body m's goal."""
    geometry = bodies.geometry
    room, wall = geometry.room, geometry.wall
    canvas = _Canvas(SIZE / room)
    unit = room / 400
    canvas.paint(-canvas.box(wall, wall, room - wall, room - wall, 4 * unit), _WALL)
    touched = bodies.look()[1][copy].any(axis=0)
    for number, rectangle in enumerate(geometry.landmarks):
        box = canvas.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top, 4 * unit)
        canvas.paint(box - 1.5 * unit, _INK)
        canvas.paint(box, _TOUCHED if touched[number] else _LANDMARK)
        x, y = (rectangle.left + rectangle.right) / 2, (rectangle.bottom + rectangle.top) / 2
        canvas.number(number, x, y, 15 * unit)
        wanted_by = [body for body, goal in enumerate(goals) if number in goal]
        for place, body in enumerate(wanted_by):
            shift = (place - (len(wanted_by) - 1) / 2) * 15 * unit
            out = 11 * unit
            dx, dy = rectangle.inward
            px = (rectangle.right + out if dx > 0 else rectangle.left - out) if dx else x + shift
            py = (rectangle.top + out if dy > 0 else rectangle.bottom - out) if dy else y + shift
            canvas.paint(canvas.disc(px, py, 6 * unit), _AGENTS[body % len(_AGENTS)])
    for body in range(bodies.options.members):
        px, py = bodies.position[copy, body].tolist()
        heading = float(bodies.heading[copy, body])
        colour = _AGENTS[body % len(_AGENTS)]
        canvas.paint(canvas.disc(px + 2 * unit, py - 3 * unit, RADIUS), _INK, 0.18)
        canvas.paint(canvas.disc(px, py, RADIUS), colour)
        if body < len(active) and not active[body]:
            canvas.paint(canvas.disc(px, py, 0.72 * RADIUS), _FLOOR)
        nose = colour if not active[body] else (255, 255, 255)
        canvas.paint(canvas.stroke(px, py, heading, 0.62 * RADIUS, 0.26 * RADIUS), nose)
    return np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)
