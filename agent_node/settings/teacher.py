"""Teachers: parts of an agent that set its policy goals while an episode goes on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.registry import Registered, register

from .difficulty import DifficultySettings, TeacherSettings, ThresholdSettings
from .optimisers import RMSPropSettings
from .types import NotNegative


class AmigoTeacherSettings(RMSPropSettings, TeacherSettings):
    """Adversarially motivated intrinsic goals: a second policy that is paid for goals which the first reaches, but not easily."""

    kind: Literal["amigo"] = "amigo"
    difficulty: Annotated[DifficultySettings, Registered("difficulty")] = ThresholdSettings()
    """what makes a goal hard enough, and how that changes"""
    reached: Literal["changed", "position"] = "changed"
    """a goal is reached when its cell's content has changed since it was set, or when the agent is on it"""
    changed_by: Literal["own", "anybody"] = "own"
    """whose changes reach a goal, where others are in the grid, or things that move on their own. own: what the agent's last step changed
    where it is, was, or had ahead; anybody: all changes"""
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
    entropy: NotNegative = 0.05
    """weight of the entropy of the goals' distribution"""
    baseline: NotNegative = 0.5
    """weight of the value function's loss"""
    orientation: Literal["aligned", "transposed"] = "aligned"
    """transposed: the number computed at (x, y) means another cell, as in the published code (on square grids (y, x)); for comparison"""


register("teacher", "amigo", AmigoTeacherSettings, "agent_node.goals.teacher:AmigoTeacher")
