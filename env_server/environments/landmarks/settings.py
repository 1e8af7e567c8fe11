"""Options of the `landmarks` environment."""

from __future__ import annotations

from math import comb
from typing import Annotated, Literal

from pydantic import Field, model_validator

from env_server.environments.landmarks.room_geometry import RADIUS, Geometry, build
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Settings
from protocols.spaces.feature_sets import FeatureSets

_MOST_GOALS = 4096


class LandmarksOptions(Settings):
    """Cooperative landmarks: bodies in a room hold goals that are sets of landmarks to be touched at once."""

    kind: Literal["landmarks"] = "landmarks"
    """the registered name"""
    landmarks: Annotated[int, Field(ge=2, le=64)] = 3
    """landmarks along the walls; 3 and 6 stand as published"""
    room: Annotated[float, Field(ge=100, le=10_000)] = 400.0
    """side of the room; landmarks grow with it, bodies (radius 16) and speeds (at most 10 per step) do not"""
    horizon: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """steps after which an episode is cut off; null: 250 for up to 3 landmarks, else 500"""
    premium: Annotated[float, Field(gt=0, le=1e6)] = 2.0
    """beta: an individual goal pays 1 / premium, a cooperative one 1"""
    scheme: Literal["consistent", "original"] = "consistent"
    """consistent: an individual goal is reached when any body touches the landmark; original: only when its own body does"""
    largest: Annotated[int, Field(ge=1, le=8)] = 2
    """most landmarks in a goal"""
    smallest: Annotated[int, Field(ge=1, le=8)] = 1
    """fewest landmarks in a goal; 2 leaves only cooperative goals"""
    members: Annotated[int, Field(ge=1, le=64)] = 2
    """agents in one episode, drawn from the population along edges of the communication graph"""
    sight: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """distance beyond which an object is not seen (its distance and bearing are 0); null: the side of the room, as published"""
    velocity: bool = False
    """whether an agent sees its own velocity (ahead and to its left, 1 = top speed)"""
    restitution: Annotated[float, Field(ge=0, le=1)] = 0.25
    """share of the speed that is left after a collision"""
    margin: Annotated[float, Field(gt=0, le=100)] = 2.5
    """a body touches a landmark from this distance on"""

    @model_validator(mode="after")
    def _playable(self) -> LandmarksOptions:
        if self.smallest > self.largest:
            raise ValueError(f"smallest ({self.smallest}) must not exceed largest ({self.largest})")
        if self.largest > self.landmarks:
            raise ValueError(f"largest ({self.largest}) must not exceed landmarks ({self.landmarks})")
        if self.largest > self.members:
            raise ValueError(
                f"a goal of {self.largest} landmarks needs as many bodies, and an episode has {self.members}: "
                f"lower largest to {self.members} or raise members to {self.largest}"
            )
        goals = sum(comb(self.landmarks, size) for size in range(self.smallest, self.largest + 1))
        if goals > _MOST_GOALS:
            raise ValueError(f"there would be {goals} goals, more than {_MOST_GOALS}: lower landmarks or largest")
        start = self.geometry.start_high - self.geometry.start_low
        most = int((start / (4 * RADIUS)) ** 2)
        if start <= 0 or most < self.members:
            raise ValueError(f"{self.members} bodies do not fit into the start square of a room of {self.room:g}: enlarge room")
        return self

    @property
    def geometry(self) -> Geometry:
        """Walls and landmarks, built from `landmarks`, `room` and `margin`."""
        return build(self.landmarks, self.room, self.margin)

    @property
    def goal_space(self) -> FeatureSets:
        """The goals (sets of landmarks) and their reward rule."""
        return FeatureSets(self.landmarks, self.largest, self.premium, self.scheme, self.smallest)

    @property
    def time_limit(self) -> int:
        """Steps after which an episode is cut off."""
        return self.horizon if self.horizon is not None else (250 if self.landmarks <= 3 else 500)


register("environment", "landmarks", LandmarksOptions, "env_server.environments.landmarks.landmarks_environment:LandmarksFactory")
