"""Goal sources: where an agent takes the goals of its episodes from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from protocols.registry import register
from protocols.settings import Probability, Settings

from .types import Positive


class GoalSourceSettings(Settings):
    """What every goal source has in common."""

    needs_traces: ClassVar[bool] = False
    """whether it learns only from what the partners tell after an episode"""
    kind: str


class UniformGoalSettings(GoalSourceSettings):
    """Every goal is equally likely."""

    kind: Literal["uniform"] = "uniform"


class LearningProgressSettings(GoalSourceSettings):
    """Goals at which the agent gets better, or worse, are likelier than others."""

    kind: Literal["learning_progress"] = "learning_progress"
    window: Annotated[int, Field(ge=1, le=100_000)] = 250
    """outcomes of a goal whose mean is compared with that of as many before them"""
    uniform: Probability = 0.4
    """eps: share of the probability that all goals have equally"""


class JointLearningProgressSettings(GoalSourceSettings):
    """Goals at which the agent gets better, or worse, beside a partner with some goal; the partner's is known from its trace."""

    needs_traces: ClassVar[bool] = True
    kind: Literal["joint_learning_progress"] = "joint_learning_progress"
    window: Annotated[int, Field(ge=1, le=100_000)] = 100
    """outcomes of a pair of goals, own and partner's, whose mean is compared with that of as many before them"""
    uniform: Probability = 0.3
    """eps: share of the probability that all goals have equally"""


class BanditGoalSettings(GoalSourceSettings):
    """Goals that have paid are likelier than others."""

    kind: Literal["bandit"] = "bandit"
    inverse_temperature: Positive = 5.0
    """kappa: probabilities are proportional to exp(kappa * running reward)"""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.05
    """alpha: how far a goal's running reward moves toward that of an episode"""
    uniform: Probability = 0.2
    """eps: share of the probability that all goals have equally; less than 0.2 soon leaves the easiest goal alone"""


register("goals", "uniform", UniformGoalSettings, "agent_node.goals.uniform:UniformGoals")
register("goals", "learning_progress", LearningProgressSettings, "agent_node.goals.learning_progress:LearningProgress")
register(
    "goals",
    "joint_learning_progress",
    JointLearningProgressSettings,
    "agent_node.goals.joint_learning_progress:JointLearningProgress",
)
register("goals", "bandit", BanditGoalSettings, "agent_node.goals.bandit:BanditGoals")
