"""Settings of uniform."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.goals.settings import GoalSourceSettings
from protocols.runtime.component_registry import register


class UniformGoalSettings(GoalSourceSettings):
    """Goals are drawn uniformly from the goal space."""

    capabilities: ClassVar[tuple[str, ...]] = ("discrete_goals", "vector_goals")
    kind: Literal["uniform"] = "uniform"


register("goals", "uniform", UniformGoalSettings, "agent_node.goals.uniform.uniform_goals:UniformGoals")
