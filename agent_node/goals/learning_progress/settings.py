"""Settings of learning progress."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.goals.settings import GoalSourceSettings
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability


class LearningProgressSettings(GoalSourceSettings):
    """Goals at which the agent gets better, or worse, are likelier than others."""

    capabilities: ClassVar[tuple[str, ...]] = ("discrete_goals",)
    kind: Literal["learning_progress"] = "learning_progress"
    window: Annotated[int, Field(ge=1, le=100_000)] = 250
    """outcomes of a goal whose mean is compared with that of as many before them"""
    uniform: Probability = 0.4
    """eps: share of the probability that all goals have equally"""


class JointLearningProgressSettings(GoalSourceSettings):
    """Goals at which the agent gets better, or worse, beside a partner with some goal; the partner's is known from its trace."""

    capabilities: ClassVar[tuple[str, ...]] = ("needs_traces", "discrete_goals")
    kind: Literal["joint_learning_progress"] = "joint_learning_progress"
    window: Annotated[int, Field(ge=1, le=100_000)] = 100
    """outcomes of a pair of goals, own and partner's, whose mean is compared with that of as many before them"""
    uniform: Probability = 0.3
    """eps: share of the probability that all goals have equally"""


register("goals", "learning_progress", LearningProgressSettings, "agent_node.goals.learning_progress.learning_progress:LearningProgress")
register(
    "goals",
    "joint_learning_progress",
    JointLearningProgressSettings,
    "agent_node.goals.learning_progress.joint_learning_progress:JointLearningProgress",
)
