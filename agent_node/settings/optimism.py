"""Optimism: what the policy that explores is promised where the world model does not know."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.registry import register
from protocols.settings import Settings

from .types import Positive


class OptimismSettings(Settings):
    """What every optimism has in common."""

    kind: str


class BonusSettings(OptimismSettings):
    """The policy that explores is paid for going where the model is uncertain."""

    kind: Literal["bonus"] = "bonus"
    weight: Annotated[float, Field(ge=0)] = 0.05
    """lambda: reward for a unit of the model's epistemic standard deviation, in units of the observation"""
    until: Annotated[int, Field(ge=1)] | None = None
    """own steps over which the weight falls linearly to 0; null: it stays"""


class HallucinationSettings(OptimismSettings):
    """The policy that explores chooses, within the model's uncertainty, what comes true in imagination."""

    kind: Literal["hallucination"] = "hallucination"
    beta: Positive = 1.0
    """how many standard deviations away from the mean is still held possible"""


register("optimism", "bonus", BonusSettings, "agent_node.world_models.optimism:Bonus")
register("optimism", "hallucination", HallucinationSettings, "agent_node.world_models.optimism:Hallucination")
