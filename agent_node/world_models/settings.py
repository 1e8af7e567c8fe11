"""World models, and the transitions that are imagined with them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Device, Positive
from protocols.runtime.settings_types import ComponentSettings, Probability, Settings


class ImaginationSettings(Settings):
    """Imagined transitions that are kept for a while, made anew whenever the model has learnt."""

    every: Annotated[int, Field(ge=1)] = 250
    """own steps between two refreshes; models that count themselves when they are due (gp) take no notice of it"""
    starts: Annotated[int, Field(ge=1, le=65536)] = 256
    """states from which each refresh imagines"""
    uniform_start_ratio: Probability = 0.0
    """share of these that are drawn uniformly within the bounds of observations, where the environment has bounds; the others are states
    that the agent has observed. A model of the transitions of all agents covers more than the agent itself has"""
    horizon: tuple[Annotated[int, Field(ge=1, le=1000)], Annotated[int, Field(ge=1, le=1000)]] = (2, 5)
    """steps of a trajectory, at first and at last"""
    horizon_steps: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (3000, 10_000)
    """own steps between which the horizon grows from its first to its last value"""
    kept_refreshes: Annotated[int, Field(ge=1, le=1000)] = 20
    """refreshes whose transitions are kept"""
    reward: Literal["model", "known", "learned"] = "model"
    """rewards of imagined transitions. model: those that the world model predicts; known: those of the environment's map of rewards, where
    it has one; learned: means over the cells of a grid"""
    reward_cell_size: Positive = 0.5
    """learned: side of a cell, in units of the observation"""
    rewarded_ratio: Probability = 0.0
    """share of the imagined transitions in a batch that earn more than nothing, where there are any: what pays in a small spot only is
    hardly ever met otherwise, and smoothed away"""
    max_uncertainty: Positive | None = None
    """|sigma| of a prediction beyond which the rest of a trajectory teaches nothing to a policy that exploits; null: it may be any"""


class WorldModelSettings(ComponentSettings):
    """Settings of every world model.

    Capabilities: `rewards` (predicts rewards and ends, besides observations); `vector_observations` (predicts vectors only, no images);
    `additive_statistics` (rests on sums over its data, which `exchange.statistics` adds up: `contracts.AdditiveWorldModel`); `sampleable`
    (draws functions from its posterior: `contracts.WorldModel.draw`); `plan_aware` (uses the plans of neighbours).
    """

    groups: ClassVar[tuple[str, ...]] = ("world_model",)
    imagined_ratio: Probability = 0.2
    """share of imagined transitions in the learner's batches; 0 trains the model without using it"""
    horizon: Annotated[int, Field(ge=1, le=100)] = 1
    """steps that an imagined trajectory follows the model"""
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 0.25
    """fits for each step message"""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """share of episodes kept from training, on which the prediction error is reported"""
    device: Device = "cpu"
    """where it computes: cpu, cuda (a GPU), auto (a GPU where there is one)"""
    imagination: ImaginationSettings | None = None
    """imagined transitions are made after each refresh of the model and kept for a while; null: made for each few batches, by `horizon`"""

    @property
    def needs_bounds(self) -> bool:
        """Whether the model needs the bounds of all observed numbers from the environment."""
        return False

    @property
    def shrinking_statistics(self) -> str:
        """The key that makes statistics decrease over time, "" where they only grow: exchanged statistics must only grow."""
        return ""
