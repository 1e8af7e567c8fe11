"""Settings of bandit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.goals.settings import GoalSourceSettings
from agent_node.settings.value_types import Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability


class BanditGoalSettings(GoalSourceSettings):
    """Goals that have paid are likelier than others."""

    capabilities: ClassVar[tuple[str, ...]] = ("discrete_goals",)
    kind: Literal["bandit"] = "bandit"
    inverse_temperature: Positive = 5.0
    """kappa: probabilities are proportional to exp(kappa * running reward)"""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.05
    """alpha: how far a goal's running reward moves toward that of an episode"""
    uniform: Probability = 0.2
    """eps: share of the probability that all goals have equally; less than 0.2 soon leaves the easiest goal alone"""


register("goals", "bandit", BanditGoalSettings, "agent_node.goals.bandit.bandit_goals:BanditGoals")
