"""Bodies in a room: discs that push forward or backward and turn, in K copies at once.

One step, with damping 0.9, thrust a1 and turn a2 in {-1, 0, 1}:
    heading += 0.285 a2;  v <- 0.9 v + a1 (cos heading, sin heading);  x <- x + v
then bodies are pushed out of each other, out of landmarks and walls. Along the normal of a contact the approaching speed comes back
times `restitution`; there is no friction. This is the published arena (Nisioti et al., arXiv 2211.06082) without its sub-steps.
"""

from __future__ import annotations

from itertools import combinations
from math import hypot

import numpy as np
from numpy.typing import NDArray

from env_server.environments.landmarks.room_geometry import RADIUS
from env_server.environments.landmarks.settings import LandmarksOptions
from protocols.spaces.layout import Layout, ObservationField

Floats = NDArray[np.float64]

DAMPING = 0.9
THRUST = 1.0
TURN = 0.285
TOP_SPEED = THRUST / (1 - DAMPING)
NULL = 0
"""index of the null action of each factor"""
FACTORS = (3, 3)
"""sizes of the two action factors: thrust and turn"""
EFFECT = np.array([0.0, 1.0, -1.0])
"""what the indices of a factor do: nothing, forward or left, backward or right"""


def observation_layout(options: LandmarksOptions) -> Layout:
    """What a body sees, without its goal: (distance / room, bearing) of every landmark, then of every other body."""
    names = [f"landmark_{j}" for j in range(options.landmarks)] + [f"other_{j}" for j in range(options.members - 1)]
    fields: list[ObservationField] = []
    for name in names:
        fields.append(ObservationField(f"{name}.distance", len(fields), 1))
        fields.append(ObservationField(f"{name}.bearing", len(fields), 1, "radian"))
    if options.velocity:
        fields.append(ObservationField("velocity.ahead", len(fields), 1))
        fields.append(ObservationField("velocity.left", len(fields), 1))
    return Layout(shape=[len(fields)], fields=fields, actions=list(FACTORS), goals=options.goal_space.info())


class Bodies:
    """M bodies in each of K rooms: `position[K, M, 2]`, `velocity[K, M, 2]`, `heading[K, M]` in radians."""

    def __init__(self, options: LandmarksOptions, copies: int) -> None:
        self.options = options
        self.geometry = options.geometry
        bodies = options.members
        centre = options.room / 2
        self.position: Floats = np.full((copies, bodies, 2), centre)
        self.velocity: Floats = np.zeros((copies, bodies, 2))
        self.heading: Floats = np.zeros((copies, bodies))
        rectangles = self.geometry.landmarks
        self._low = np.array([(r.left, r.bottom) for r in rectangles])
        self._high = np.array([(r.right, r.top) for r in rectangles])
        self._inward = np.array([r.inward for r in rectangles])
        self._pairs = list(combinations(range(bodies), 2))
        self._others = np.array([[(i + j) % bodies for j in range(1, bodies)] for i in range(bodies)], np.intp).reshape(bodies, bodies - 1)
        self._reach = RADIUS + options.margin

    def place(self, copy: int, generator: np.random.Generator) -> None:
        """Start one room at rest: positions uniform in the central 3/4 where nothing is touched or overlaps, headings uniform."""
        low, high = self.geometry.start_low, self.geometry.start_high
        placed: list[tuple[float, float]] = []
        for _ in range(10_000):
            if len(placed) == self.options.members:
                break
            x, y = generator.uniform(low, high, 2).tolist()
            if self._free(x, y) and all(hypot(x - a, y - b) > 2 * RADIUS for a, b in placed):
                placed.append((x, y))
        else:
            raise RuntimeError(f"no free start for {self.options.members} bodies in a room of {self.options.room:g}")
        self.position[copy] = placed
        self.velocity[copy] = 0.0
        self.heading[copy] = generator.uniform(-np.pi, np.pi, self.options.members)

    def _free(self, x: float, y: float) -> bool:
        """Whether a body at (x, y) touches no landmark."""
        nearest = ((min(max(x, r.left), r.right), min(max(y, r.bottom), r.top)) for r in self.geometry.landmarks)
        return all(hypot(x - a, y - b) > self._reach for a, b in nearest)

    def step(self, actions: NDArray[np.integer]) -> None:
        """Move all bodies by one step; `actions[K, M, 2]` holds the indices of thrust and turn."""
        effect = EFFECT[actions]
        heading = self.heading + TURN * effect[..., 1]
        self.heading = np.where(np.abs(heading) > np.pi, heading - np.copysign(2 * np.pi, heading), heading)
        ahead = np.stack([np.cos(self.heading), np.sin(self.heading)], axis=-1)
        self.velocity = DAMPING * self.velocity + THRUST * effect[..., :1] * ahead
        self.position = self.position + self.velocity
        for i, j in self._pairs:
            self._part(i, j)
        self._leave_landmarks()
        self._leave_walls()

    def _part(self, i: int, j: int) -> None:
        """Push two overlapping bodies of equal mass apart and let them bounce."""
        between = self.position[:, j] - self.position[:, i]
        distance = np.sqrt(np.einsum("kx,kx->k", between, between))
        hit = distance < 2 * RADIUS
        if not hit.any():
            return
        safe = np.where(distance > 0, distance, 1.0)
        normal = np.where((distance > 0)[:, None], between / safe[:, None], np.array([1.0, 0.0]))
        shift = np.where(hit, RADIUS - distance / 2, 0.0)[:, None] * normal
        self.position[:, i] -= shift
        self.position[:, j] += shift
        speed = np.einsum("kx,kx->k", self.velocity[:, j] - self.velocity[:, i], normal)
        impulse = np.where(hit & (speed < 0), -(1 + self.options.restitution) / 2 * speed, 0.0)[:, None] * normal
        self.velocity[:, i] -= impulse
        self.velocity[:, j] += impulse

    def _leave_landmarks(self) -> None:
        """Push bodies out of landmarks; one body overlaps at most one, so contributions may be summed."""
        away, distance = self._from_landmarks
        hit = distance < RADIUS
        if hit.any():
            inside = distance == 0
            normal = np.where(inside[..., None], self._inward, away / np.where(inside, 1.0, distance)[..., None])
            push = np.where(hit, RADIUS - distance, 0.0)[..., None] * normal
            self.position = self.position + push.sum(axis=2)
            speed = np.einsum("kmx,kmlx->kml", self.velocity, normal)
            change = np.where(hit & (speed < 0), -(1 + self.options.restitution) * speed, 0.0)[..., None] * normal
            self.velocity = self.velocity + change.sum(axis=2)

    def _leave_walls(self) -> None:
        low, high = self.geometry.low, self.geometry.high
        inside = np.minimum(np.maximum(self.position, low), high)
        # How far a body is pushed back shows which way the wall faces; only speed towards the wall turns round.
        bounce = (inside - self.position) * self.velocity < 0
        self.velocity = np.where(bounce, -self.options.restitution * self.velocity, self.velocity)
        self.position = inside

    @property
    def _from_landmarks(self) -> tuple[Floats, Floats]:
        """Vectors `[K, M, L, 2]` from the nearest point of each landmark to the centre of each body, and their lengths."""
        centre = self.position[:, :, None, :]
        away = centre - np.minimum(np.maximum(centre, self._low), self._high)
        return away, np.sqrt(np.einsum("kmlx,kmlx->kml", away, away))

    def look(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(observations `[K, M, D]` f4 as in `observation_layout`, touched `[K, M, L]` u1).

        Distances go from a body's centre to the nearest surface point of the object, bearings from its heading to that point; objects
        further away than `sight` (by default the side of the room) are zeros.
        """
        away, distance = self._from_landmarks
        touched = (distance <= self._reach).astype(np.uint8)
        toward, distances = -away, distance
        if self._others.shape[1]:
            others = self.position[:, self._others] - self.position[:, :, None]
            apart = np.sqrt(np.einsum("kmjx,kmjx->kmj", others, others)) - RADIUS
            toward = np.concatenate([toward, others], axis=2)
            distances = np.concatenate([distance, np.maximum(apart, 0.0)], axis=2)
        bearing = np.arctan2(toward[..., 1], toward[..., 0]) - self.heading[..., None]
        bearing = np.where(np.abs(bearing) > np.pi, bearing - np.copysign(2 * np.pi, bearing), bearing)
        seen = distances <= (self.options.sight or self.options.room)
        copies, bodies, objects = distances.shape
        observation = np.empty((copies, bodies, 2 * objects + 2 * self.options.velocity), np.float32)
        observation[..., 0 : 2 * objects : 2] = np.where(seen, distances / self.options.room, 0.0)
        observation[..., 1 : 2 * objects : 2] = np.where(seen, bearing, 0.0)
        if self.options.velocity:
            cos, sin = np.cos(self.heading), np.sin(self.heading)
            vx, vy = self.velocity[..., 0], self.velocity[..., 1]
            observation[..., -2] = (vx * cos + vy * sin) / TOP_SPEED
            observation[..., -1] = (vy * cos - vx * sin) / TOP_SPEED
        return observation, touched
