"""Pictures, rasterised with signed distances: coverage of a pixel is clip(1/2 - distance, 0, 1), distances in pixels."""

from __future__ import annotations

from copy import copy
from itertools import pairwise
from math import atan2, hypot

import numpy as np
from numpy.typing import NDArray

SIZE = 480
"""pixels along one side"""
Colour = tuple[int, int, int]
FLOOR: Colour = (246, 244, 238)
INK: Colour = (34, 38, 48)
AGENTS: tuple[Colour, ...] = ((31, 119, 200), (214, 69, 65), (38, 153, 96), (142, 84, 172), (230, 126, 34), (22, 145, 160))
_DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717")
"""0 ... 9, three pixels wide and five high: each character is a row as a binary number"""
_GLYPHS = {str(n): tuple(f"{int(row):03b}".replace("1", "#") for row in rows) for n, rows in enumerate(_DIGITS)} | {".": (*"0000", "#")}

Field = NDArray[np.float64]


class Renderer:
    """A square of the plane, [low, low + extent]^2, on `SIZE` x `SIZE` pixels; things are painted over one another."""

    def __init__(self, extent: float, low: float = 0.0) -> None:
        self.pixels: Field = np.full((SIZE, SIZE, 3), FLOOR, np.float64)
        self.scale = SIZE / extent
        """pixels in a unit of length"""
        steps = low + (np.arange(SIZE) + 0.5) / self.scale
        self.x, self.y = np.meshgrid(steps, steps[::-1])

    def part(self, left: float, bottom: float, right: float, top: float) -> Renderer:
        """The pixels of that rectangle, as a canvas of its own: what is painted on it is painted here."""
        part = copy(self)
        columns = slice(*np.searchsorted(self.x[0], (left, right)).tolist())
        rows = slice(*(len(self.y) - np.searchsorted(self.y[::-1, 0], (top, bottom))).tolist())
        part.pixels, part.x, part.y = self.pixels[rows, columns], self.x[rows, columns], self.y[rows, columns]
        return part

    def near(self, x: float, y: float, reach: float) -> Renderer:
        """The `part` of a square around (x, y)."""
        return self.part(x - reach, y - reach, x + reach, y + reach)

    def paint(self, distance: Field, colour: Colour, opacity: float = 1.0) -> None:
        """Cover the inside (`distance` < 0, in units of length)."""
        cover = opacity * np.clip(0.5 - distance * self.scale, 0.0, 1.0)[..., None]
        self.pixels += cover * (np.array(colour, np.float64) - self.pixels)

    def box(self, left: float, bottom: float, right: float, top: float, corner: float = 0.0) -> Field:
        """Distance to a box with rounded corners."""
        dx = np.abs(self.x - (left + right) / 2) - (right - left) / 2 + corner
        dy = np.abs(self.y - (bottom + top) / 2) - (top - bottom) / 2 + corner
        distance: Field = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner
        return distance

    def disc(self, x: float, y: float, radius: float) -> Field:
        """Distance of every pixel to the edge of a disc, in units of the scene; negative inside."""
        distance: Field = np.hypot(self.x - x, self.y - y) - radius
        return distance

    def stroke(self, x: float, y: float, angle: float, length: float, width: float) -> Field:
        """Distance to a line with round ends that starts at (x, y)."""
        along = np.clip((self.x - x) * np.cos(angle) + (self.y - y) * np.sin(angle), 0, length)
        distance: Field = np.hypot(self.x - x - along * np.cos(angle), self.y - y - along * np.sin(angle)) - width / 2
        return distance

    def number(self, value: float, x: float, y: float, height: float, colour: Colour = INK) -> None:
        """A number that is not negative, centred at (x, y), in as few digits as it has."""
        text, dot = f"{value:g}", height / 5
        widths = [len(_GLYPHS[character][0]) for character in text]
        left = x - dot * (sum(widths) + len(text) - 1) / 2
        distance = np.full(self.x.shape, np.inf)
        for character, width in zip(text, widths, strict=True):
            for row, cells in enumerate(_GLYPHS[character]):
                for column in range(width):
                    if cells[column] == "#":
                        low, here = y + height / 2 - dot * (row + 1), left + dot * column
                        distance = np.minimum(distance, self.box(here, low, here + dot, low + dot))
            left += dot * (width + 1)
        self.paint(distance - 0.02 * dot, colour)

    def way(self, points: Field, width: float, colour: Colour, opacity: float) -> None:
        """A line through `points[n, 2]`."""
        distance = np.full(self.x.shape, np.inf)
        reach = width / 2 + 2 / self.scale
        field = copy(self)
        field.pixels = distance
        for (x0, y0), (x1, y1) in pairwise(points.tolist()):
            near = field.part(min(x0, x1) - reach, min(y0, y1) - reach, max(x0, x1) + reach, max(y0, y1) + reach)
            stroke = near.stroke(x0, y0, atan2(y1 - y0, x1 - x0), hypot(x1 - x0, y1 - y0), width)
            np.minimum(near.pixels, stroke, out=near.pixels)
        self.paint(distance, colour, opacity)
