"""Where walls and landmarks stand. Pure arithmetic, without numpy, so that checking a configuration stays cheap.

Lengths are in units of the published arena: a body has radius 16 in every room, only walls and landmarks grow with the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import hypot

RADIUS = 16.0
"""radius of a body"""
PUBLISHED_ROOM = 400.0
"""side of the published room"""
_WALL = 10.0
_DEPTH = 20.0
_WIDTHS = (100.0, 80.0, 60.0, 40.0, 20.0, 10.0)


@dataclass(frozen=True)
class Rectangle:
    """An axis-parallel landmark that stands against a wall; `inward` points from that wall into the room."""

    left: float
    bottom: float
    right: float
    top: float
    inward: tuple[float, float]

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float, inward: tuple[float, float]) -> Rectangle:
        """From its centre and extent."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2, inward)

    def scaled(self, factor: float) -> Rectangle:
        """A rectangle with position and size multiplied by `factor`."""
        return Rectangle(self.left * factor, self.bottom * factor, self.right * factor, self.top * factor, self.inward)

    def gap(self, other: Rectangle) -> float:
        """Distance between the nearest points of two rectangles; 0 where they touch or overlap."""
        x = max(0.0, other.left - self.right, self.left - other.right)
        y = max(0.0, other.bottom - self.top, self.bottom - other.top)
        return hypot(x, y)


_LEFT, _RIGHT, _LOW, _HIGH = (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)

_PUBLISHED = {
    3: (
        Rectangle.around(15, 350, 30, 100, _LEFT),
        Rectangle.around(200, 15, 100, 30, _LOW),
        Rectangle.around(385, 350, 30, 100, _RIGHT),
    ),
    6: (
        Rectangle.around(50, 390, 100, 20, _HIGH),
        Rectangle.around(10, 200, 20, 100, _LEFT),
        Rectangle.around(50, 10, 100, 20, _LOW),
        Rectangle.around(350, 10, 100, 20, _LOW),
        Rectangle.around(390, 200, 20, 100, _RIGHT),
        Rectangle.around(350, 390, 100, 20, _HIGH),
    ),
}
"""The two arenas of Nisioti et al., arXiv 2211.06082, in a room of side 400."""


def _evenly(count: int, width: float) -> tuple[Rectangle, ...]:
    """`count` landmarks of that width spread over the walls left, right, low, high of the published room, each wall evenly filled."""
    room, depth = PUBLISHED_ROOM, min(_DEPTH, width / 2)
    rectangles: list[Rectangle] = []
    for wall, inward in enumerate((_LEFT, _RIGHT, _LOW, _HIGH)):
        here = count // 4 + (wall < count % 4)
        across = depth / 2 if wall % 2 == 0 else room - depth / 2
        for j in range(here):
            along = room * (j + 0.5) / here
            if wall < 2:
                rectangles.append(Rectangle.around(across, along, depth, width, inward))
            else:
                rectangles.append(Rectangle.around(along, across, width, depth, inward))
    return tuple(rectangles)


def smallest_gap(rectangles: tuple[Rectangle, ...]) -> float:
    """Distance between the two nearest landmarks."""
    return min(a.gap(b) for a, b in combinations(rectangles, 2))


@dataclass(frozen=True)
class Geometry:
    """A square room `[0, room]^2` with walls of thickness `wall` inside it, and its landmarks.

    Positions of bodies' centres lie in `[low, high]^2`; episodes start in `[start_low, start_high]^2`, the central 3/4 of the room.
    """

    room: float
    wall: float
    landmarks: tuple[Rectangle, ...]

    @property
    def low(self) -> float:
        """Smallest coordinate that the centre of a body can have: the wall's thickness plus the body's radius."""
        return self.wall + RADIUS

    @property
    def high(self) -> float:
        """Largest coordinate that the centre of a body can have: the room's side minus the wall's thickness and the body's radius."""
        return self.room - self.wall - RADIUS

    @property
    def start_low(self) -> float:
        """Smallest coordinate of a centre at the start."""
        return max(self.room / 8, self.low)

    @property
    def start_high(self) -> float:
        """Largest coordinate of a centre at the start."""
        return min(self.room * 7 / 8, self.high)


def build(landmarks: int, room: float, margin: float) -> Geometry:
    """The published arena for 3 or 6 landmarks, scaled with room / 400; for other numbers landmarks evenly along the four walls, as
    wide as possible up to a quarter of the room.

    A body must never touch two landmarks at once, which holds iff every two are more than 2 (radius + margin) apart; a `ValueError`
    gives the size that the room needs where they are not.
    """
    scale, apart = room / PUBLISHED_ROOM, 2 * (RADIUS + margin)
    published = _PUBLISHED.get(landmarks)
    layouts = [published] if published else [_evenly(landmarks, width) for width in _WIDTHS]
    best = 0.0
    for layout in layouts:
        gap = smallest_gap(layout)
        best = max(best, gap)
        if gap * scale > apart:
            return Geometry(room, _WALL * scale, tuple(rectangle.scaled(scale) for rectangle in layout))
    if best == 0:
        raise ValueError(f"{landmarks} landmarks do not fit along the walls: use fewer landmarks")
    needed = int(apart / best * PUBLISHED_ROOM) + 1
    raise ValueError(
        f"{landmarks} landmarks in a room of {room:g} stand so close that one body could touch two of them: "
        f"use a room of at least {needed} or fewer landmarks"
    )
