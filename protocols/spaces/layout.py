"""Description of observations, actions, goals and rewards, which the environment server sends to an agent in `Joined`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Count


class ObservationField(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Part of an observation vector: components `start` to `start + size`. Fields in radians are circular. Components lie between `low` and
    `high`; equal ones mean unknown bounds."""

    name: Annotated[str, Meta(max_length=64)]
    start: Count
    size: Count
    unit: Literal["", "radian"] = ""
    low: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0
    high: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0


class FeatureSetsInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="feature_sets"):
    """Parameters of `protocols.spaces.feature_sets.FeatureSets`."""

    features: Annotated[int, Meta(ge=1, le=64)]
    largest: Annotated[int, Meta(ge=1, le=8)] = 2
    premium: Annotated[float, Meta(gt=0, le=1e6)] = 2.0
    scheme: Literal["consistent", "original"] = "consistent"
    smallest: Annotated[int, Meta(ge=1, le=8)] = 1


class DiscreteGoalsInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="discrete"):
    """Parameters of `protocols.spaces.discrete_goals.DiscreteGoals`."""

    count: Annotated[int, Meta(ge=1, le=4096)]
    rule: Literal["own", "any", "exclusive"] = "own"
    reward: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    ends: bool = True
    mixed: bool = False


class VectorGoalsInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="vector"):
    """Parameters of `protocols.spaces.vector_goals.VectorGoals`; `low` and `high` have one entry for each component."""

    low: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(min_length=1, max_length=256)]
    high: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(min_length=1, max_length=256)]
    threshold: Annotated[float, Meta(ge=0, le=1e12)] = 0.05
    rule: Annotated[str, Meta(max_length=256)] = ""
    arguments: Annotated[str, Meta(max_length=4096)] = "{}"
    reward: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    ends: bool = True
    mixed: bool = False


GoalSpaceInfo = FeatureSetsInfo | DiscreteGoalsInfo | VectorGoalsInfo
"""Parameters of a goal space: all that two parties must agree on to exchange goals."""


class RewardMapInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parameters of `protocols.spaces.reward_map.RewardMap`: where in a plane reward is paid. Site j is (`x[j]`, `y[j]`), worth
    `value[j]`."""

    x: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)]
    y: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)]
    value: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)]
    radius: Annotated[float, Meta(gt=0, le=1e12)]
    low: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=2)]
    high: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=2)]
    action_cost: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    exclusive: bool = False


class GridInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parameters of `protocols.spaces.grid_space.Grids`: which grids an observation vector holds. First the egocentric one of side
    `partial`, then the
    whole one of `width` times `height` cells; 0 where it holds no such grid. With `crowd`, the whole one is there twice, first with the
    bodies of all agents, last with one's own alone."""

    width: Annotated[int, Meta(ge=0, le=1024)] = 0
    height: Annotated[int, Meta(ge=0, le=1024)] = 0
    partial: Annotated[int, Meta(ge=0, le=255)] = 0
    longest: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    crowd: bool = False


class Layout(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What an agent sees and does: its observation array, its actions, the goals it may hold, and where it is paid, if it may know."""

    shape: Annotated[list[Count], Meta(max_length=4)]
    dtype: Literal["f4", "u1"] = "f4"
    fields: Annotated[list[ObservationField], Meta(max_length=256)] = []
    actions: Annotated[list[Annotated[int, Meta(ge=1, le=2**20)]], Meta(max_length=64)] = []
    low: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)] = []
    high: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)] = []
    goals: GoalSpaceInfo | None = None
    reward_map: RewardMapInfo | None = None
    grid: GridInfo | None = None
    mask: bool = False
    """the last sum(actions) components of the observation, an f4 vector, are the action mask: 1 where a choice of a discrete factor is
    legal, 0 where it is not (`protocols.spaces.action_masks`)"""

    @property
    def mask_size(self) -> int:
        """Trailing components of the observation that are the action mask: sum(actions) with `mask`, else 0."""
        return sum(self.actions) if self.mask else 0

    @property
    def null_action(self) -> NDArray[np.int32] | NDArray[np.float32]:
        """`[A]`: action 0 of every factor, or the middle of every range."""
        if self.actions:
            return np.zeros(len(self.actions), np.int32)
        middle: NDArray[np.float32] = ((np.array(self.low) + np.array(self.high)) / 2).astype(np.float32)
        return middle


_layouts = msgspec.json.Decoder(list[Layout])


def encode_layouts(layouts: Sequence[Layout]) -> NDArray[np.uint8]:
    """Layouts of several agents as a frame `u1`: their JSON, since together they may be longer than a header."""
    return np.frombuffer(msgspec.json.encode(layouts, order="deterministic"), np.uint8)


def decode_layouts(arrays: Mapping[str, NDArray[Any]], members: Sequence[str]) -> dict[str, Layout]:
    """By the names of the members, the layouts in the frame `layouts[bytes] u1`; empty without this frame. `BadMessage` where they are not
    one for each member."""
    frame = arrays.get("layouts")
    if frame is None:
        return {}
    try:
        found = _layouts.decode(frame.tobytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage("E_FRAME", f"layouts: {error}") from None
    if frame.dtype != np.uint8 or len(found) != len(members):
        raise BadMessage("E_FRAME", f"{len(found)} layouts of {len(members)} members")
    return dict(zip(members, found, strict=True))
