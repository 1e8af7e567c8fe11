"""Optimism: how the policy that explores is rewarded for model uncertainty."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import NotNegative, Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings


class OptimismSettings(ComponentSettings):
    """Base of the settings of the room `optimism`: how the exploring policy uses the uncertainty of the world model."""

    requires: ClassVar[tuple[str, ...]] = ()
    """capabilities that the world model must have"""


class BonusSettings(OptimismSettings):
    """The policy that explores receives a bonus where the model is uncertain."""

    kind: Literal["bonus"] = "bonus"
    weight: Annotated[float, Field(ge=0)] = 0.05
    """lambda: reward for a unit of the model's epistemic standard deviation, in units of the observation"""
    reward_weight: NotNegative = 1.0
    """reward for a unit of the standard deviation of the reward itself, where that is learnt (`imagination.reward: learned`)"""
    anneal_steps: Annotated[int, Field(ge=1)] | None = None
    """own steps over which both weights fall linearly to 0; null: it stays"""
    agent_scale_range: tuple[NotNegative, NotNegative] = (1.0, 1.0)
    """each agent draws, once, a number from this range, by which its weights are multiplied: agents that share a model would all look at
    the same places"""


class HallucinationSettings(OptimismSettings):
    """The policy that explores chooses the next observation of imagination within the model's uncertainty."""

    kind: Literal["hallucination"] = "hallucination"
    beta: Positive = 1.0
    """largest distance from the mean, in standard deviations"""


class ThompsonSettings(OptimismSettings):
    """The policy that explores imagines with one function, drawn from the model at each of its refreshes."""

    requires: ClassVar[tuple[str, ...]] = ("sampleable",)
    kind: Literal["thompson"] = "thompson"


register("optimism", "thompson", ThompsonSettings, "agent_node.world_models.imagination.optimism:Thompson")
register("optimism", "bonus", BonusSettings, "agent_node.world_models.imagination.optimism:Bonus")
register("optimism", "hallucination", HallucinationSettings, "agent_node.world_models.imagination.optimism:Hallucination")
