"""Settings of rnd."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent_node.intrinsic.settings import CuriositySettings
from agent_node.settings.value_types import Positive
from protocols.runtime.component_registry import register


class NoveltySettings(CuriositySettings):
    """Random network distillation: an observation is new as long as a network does not predict the output of a random network for it."""

    outputs: Annotated[int, Field(ge=1, le=8192)] = 128
    """length of what the random network makes of an observation; width of the hidden layers too"""
    rectified: bool = True
    """whether both networks end in a rectifier, as published for BeBold; what the predictor's has shut it can't learn, so that novelty
    levels off at half its height; false, as where random network distillation comes from: it goes on falling"""
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    """of the predictor: rmsprop (decay 0.99, epsilon 0.01) as published, or adam, which learns much faster here"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of the predictor's optimiser"""
    max_grad_norm: Positive = 40.0
    """gradients are scaled down to this norm"""
    loss: Literal["norm", "squared"] = "norm"
    """of the predictor: the distance itself, as in BeBold, or half its square, as where random network distillation comes from"""
    weight: Positive = 1.0
    """of the predictor's loss; means something with rmsprop only"""
    rollouts: Annotated[int, Field(ge=1, le=65536)] = 8
    """copies in one gradient update of the predictor, about: a rollout of all copies is cut into equal parts"""


class RNDSettings(NoveltySettings):
    """Novelty by random network distillation is paid as it is."""

    kind: Literal["rnd"] = "rnd"


register("curiosity", "rnd", RNDSettings, "agent_node.intrinsic.rnd.rnd:RND")
