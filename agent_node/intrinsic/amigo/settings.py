"""Teachers: parts of an agent that set its policy goals while an episode goes on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.intrinsic.settings import TeacherSettings
from agent_node.learners.library.settings import RMSPropSettings
from agent_node.settings.value_types import NotNegative
from protocols.runtime.component_registry import Registered, register
from protocols.runtime.settings_types import ComponentSettings

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Counts = Annotated[int, Field(ge=1, le=1_000_000)]
MeanTeacherReward = Annotated[float, Field(ge=-1, le=1)]


class DifficultySettings(ComponentSettings):
    """Settings of every difficulty rule."""


class ThresholdSettings(DifficultySettings):
    """Goals shall take at least t* steps; t* rises, and never falls ("default")."""

    kind: Literal["threshold"] = "threshold"
    start: Steps = 7
    """t* at the start, steps"""
    maximum: Steps = 100
    """t* rises as long as it is at most this"""
    counts: Counts = 10
    """batches in a row that must have earned enough before t* rises by 1"""
    threshold: MeanTeacherReward = -0.1
    """theta: what a batch's goals must pay the teacher on average to be enough. At -failure or less every batch is enough, and t* rises
    whatever the student can do"""


class WindowSettings(DifficultySettings):
    """Goals shall take about t* steps; t* moves both ways ("window_adaptive")."""

    kind: Literal["window"] = "window"
    window: Steps = 50
    """w: goals that were reached within t* - w .. t* + w steps are right"""
    start: Steps = 100
    """t* at the start, steps"""
    minimum: Steps = 20
    """t* falls no further"""
    maximum: Steps | None = None
    """t* rises no further; null: the longest episode"""
    counts: Counts = 10
    """batches that earned enough (or too little) before t* falls (or rises) by 1"""
    threshold: MeanTeacherReward = -0.1
    """theta: what a batch's goals must pay the teacher on average to be enough"""
    solved: NotNegative = 0.8
    """t* falls also where the environment paid this much, on average, in the steps that ended the batch's goals"""


register("difficulty", "threshold", ThresholdSettings, "agent_node.intrinsic.amigo.goal_difficulty:ThresholdDifficulty")
register("difficulty", "window", WindowSettings, "agent_node.intrinsic.amigo.goal_difficulty:WindowDifficulty")


class AmigoTeacherSettings(RMSPropSettings, TeacherSettings):
    """Adversarially motivated intrinsic goals (Campero et al., arXiv 2006.12122): a second policy that is rewarded for goals that the
    first reaches, but not easily."""

    capabilities: ClassVar[tuple[str, ...]] = ("whole_grid", "swappable_goals")
    architecture: ClassVar[tuple[str, ...]] = ("orientation",)
    kind: Literal["amigo"] = "amigo"
    difficulty: Annotated[DifficultySettings, Registered("difficulty")] = ThresholdSettings()
    """what makes a goal hard enough, and how that changes"""
    reached: Literal["changed", "position"] = "changed"
    """a goal is reached when its cell's content has changed since it was set, or when the agent is on it"""
    changed_by: Literal["own", "any_agent"] = "own"
    """whose changes reach a goal, where others are in the grid, or things that move on their own. own: what the agent's last step changed
    where it is, was, or had ahead; any_agent: all changes"""
    boundary: Literal["terminal_grid", "reset_grid", "ignored"] = "terminal_grid"
    """what a goal is compared with at an episode's last step: the grid in which it ended; the first one of the next episode, as published
    (cells that differ between layouts then count); nothing, the goal is not reached there"""
    restart_episode: bool = False
    """whether training episodes end with the goal that is reached, after which nothing is earned; the next one begins at once"""
    coefficient: NotNegative = 1.0
    """c: the policy is paid c (1 - 0.9 k / longest episode) for a goal reached after k steps"""
    failure: Annotated[float, Field(ge=-1, le=0)] = -0.3
    """-beta: what a goal that was not right pays the teacher; one that was right pays 1 more"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 150
    """goals that have ended in one update of the teacher"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.002
    """step size of RMSProp"""
    entropy_coef: NotNegative = 0.05
    """weight of the entropy of the goals' distribution"""
    value_coef: NotNegative = 0.5
    """weight of the value function's loss"""
    orientation: Literal["aligned", "transposed"] = "aligned"
    """transposed: the number computed at (x, y) means another cell, as in the published code (on square grids (y, x)); for comparison"""

    @property
    def ends_episodes(self) -> bool:
        """Whether a reached goal ends the episode (`restart_episode`)."""
        return self.restart_episode


register("teacher", "amigo", AmigoTeacherSettings, "agent_node.intrinsic.amigo.amigo_teacher:AmigoTeacher")
