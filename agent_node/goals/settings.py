"""Goal sources: where an agent takes the goals of its episodes from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings, Probability


class GoalSourceSettings(ComponentSettings):
    """Settings of every goal source.

    Capabilities: `needs_traces` (it learns only from the traces that partners send after an episode, `exchange.hindsight`), `vector_goals`
    (it proposes vector goals too; its second argument is then the goal space instead of the number of goals).
    """


class UniformGoalSettings(GoalSourceSettings):
    """Goals are drawn uniformly from the goal space."""

    capabilities: ClassVar[tuple[str, ...]] = ("discrete_goals", "vector_goals")
    kind: Literal["uniform"] = "uniform"


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


register("goals", "uniform", UniformGoalSettings, "agent_node.goals.goal_sources:UniformGoals")
register("goals", "bandit", BanditGoalSettings, "agent_node.goals.goal_sources:BanditGoals")
register("goals", "learning_progress", LearningProgressSettings, "agent_node.goals.learning_progress:LearningProgress")
register("goals", "joint_learning_progress", JointLearningProgressSettings, "agent_node.goals.learning_progress:JointLearningProgress")
