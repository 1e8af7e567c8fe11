"""Options of the `reward_collection` environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Settings

_REFERENCE_SITES = 10


class RewardCollectionOptions(Settings):
    """Agents that see only their own position collect reward at small sites of one bounded plane. All agents of the run play together."""

    kind: Literal["reward_collection"] = "reward_collection"
    """the registered name"""
    variant: Literal["reference", "far"] = "reference"
    """reference: sites in a grid, worth 0.1, 0.5, 1, 0.1, ... in turn; far: one site worth 1 in a corner, two worth 0.1 near the start"""
    sites: Annotated[int, Field(ge=1, le=256)] | None = None
    """sites of the reference layout; null: 10. The far layout has three"""
    reward: Literal["own", "team"] = "own"
    """what an agent is given at each step: what it has earned itself, or what all together have. Metrics count own rewards in both cases"""
    action_cost: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """price of an action: this times |action|_1, at every step; part of the own reward. 1 is the reference's penalty"""
    exclusive: bool = False
    """agents at one site share its value; otherwise it pays each of them in full"""
    gain_std: Annotated[float, Field(ge=0, le=1)] = 0.1
    """an agent's actuators multiply its action by gains drawn once from N(1, gain_std^2), one per axis, for the whole run"""
    process_noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    """standard deviation of what is added to both coordinates at every step, in units of length"""
    horizon: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """steps after which an episode is cut off; nothing else ends it"""

    @model_validator(mode="after")
    def _far_has_its_own_sites(self) -> RewardCollectionOptions:
        if self.variant == "far" and self.sites is not None:
            raise ValueError("the far layout has three sites of its own: leave sites out (null), or choose variant: reference")
        return self

    @property
    def grid_sites(self) -> int:
        """Number of sites of the reference layout."""
        return self.sites if self.sites is not None else _REFERENCE_SITES


register(
    "environment", "reward_collection", RewardCollectionOptions, "env_server.environments.reward_collection.collection_environment:create"
)
