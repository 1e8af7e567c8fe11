"""Settings of all components and their registration. This module is imported by every process, so it must not import torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.exchange.settings import NegotiationSettings
from agent_node.goals.settings import GoalSourceSettings
from agent_node.intrinsic.settings import CuriositySettings
from agent_node.learners.settings import ReplaySettings
from agent_node.world_models.settings import WorldModelSettings
from protocols.averaging.rule_settings import VectorRuleSettings
from protocols.runtime.settings_types import ComponentSettings, Probability, Settings
from swarm_extras import return_messages

Positive = Annotated[float, Field(gt=0)]


class EncoderQSettings(ReplaySettings):
    """Q-learning on the output of an encoder, which can be averaged separately."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete")
    groups: ClassVar[tuple[str, ...]] = ("critic", "encoder")
    architecture: ClassVar[tuple[str, ...]] = ("width",)
    kind: Literal["encoder_q"] = "encoder_q"
    width: Annotated[int, Field(ge=1, le=4096)] = 64
    """outputs of the encoder"""
    exploration: Probability = 0.1
    """probability of a uniform action"""


class RidgeSettings(WorldModelSettings):
    """Linear regression on the transitions of all agents."""

    capabilities: ClassVar[tuple[str, ...]] = ("additive_statistics", "rewards", "vector_observations")
    groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["ridge"] = "ridge"
    ridge: Positive = 1e-3
    """lambda: weight of the squared coefficients"""
    refit_every: Annotated[int, Field(ge=1)] = 200
    """new transitions after which the model is computed again"""
    learning_starts: Annotated[int, Field(ge=1)] = 200
    """transitions on which the model must rest before its predictions are used"""


class FrontierSettings(GoalSourceSettings):
    """Goals of intermediate difficulty."""

    capabilities: ClassVar[tuple[str, ...]] = ("discrete_goals",)
    kind: Literal["frontier"] = "frontier"
    temperature: Positive = 0.05
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.1
    """weight of the newest episode in the running mean of success"""


class DirectSettings(NegotiationSettings):
    """The message is the number of the goal."""

    kind: Literal["direct"] = "direct"


class MedianStepSettings(VectorRuleSettings):
    """A step toward the coordinate-wise median of the neighbours."""

    kind: Literal["median_step"] = "median_step"
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.5


class RareStatesSettings(CuriositySettings):
    """Intrinsic reward for rarely visited states."""

    kind: Literal["rare_states"] = "rare_states"
    cell: Positive = 0.1
    """side of a cell, in units of the features"""


class BeaconOptions(Settings):
    """Options of the environment `beacons`."""

    kind: Literal["beacons"] = "beacons"
    horizon: Annotated[int, Field(ge=2, le=10_000)] = 25
    """steps of an episode"""
    radius: Positive = 0.2
    """distance from the beacon within which a step is rewarded"""


class ReturnSharingSettings(ComponentSettings):
    """Exchange of the returns of finished episodes with the neighbours."""

    kind: Literal["return_sharing"] = "return_sharing"


def register_components(register: Callable[[str, str, type[Settings], str], None]) -> None:
    """Register everything. The entry point of this package names this function."""
    register("learner", "encoder_q", EncoderQSettings, "swarm_extras.encoder_q:EncoderQ")
    register("world_model", "ridge", RidgeSettings, "swarm_extras.ridge_model:RidgeModel")
    register("goals", "frontier", FrontierSettings, "swarm_extras.frontier_goals:FrontierGoals")
    register("negotiation", "direct", DirectSettings, "swarm_extras.direct_convention:DirectConvention")
    register("averaging_rule", "median_step", MedianStepSettings, "swarm_extras.median_step:median_step")
    register("curiosity", "rare_states", RareStatesSettings, "swarm_extras.rare_states:RareStates")
    register("environment", "beacons", BeaconOptions, "swarm_extras.beacons:create")
    register("exchange", "return_sharing", ReturnSharingSettings, "swarm_extras.return_sharing:ReturnSharing")
    return_messages.register_messages()
