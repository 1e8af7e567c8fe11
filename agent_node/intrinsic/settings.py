"""Curiosity: what an agent pays itself for what is new to it."""

from __future__ import annotations

from typing import ClassVar

from agent_node.settings.value_types import NotNegative
from protocols.runtime.settings_types import ComponentSettings


class CuriositySettings(ComponentSettings):
    """Settings of every intrinsic reward. Capabilities: `grid` (works only where a grid of cells is observed)."""

    coefficient: NotNegative = 0.1
    """weight of the reward that it adds"""


class TeacherSettings(ComponentSettings):
    """Settings of every teacher.

    Capabilities: `whole_grid` (works only where the whole grid is observed), `swappable_goals` (its goals may be exchanged for those of
    another agent's teacher, by a negotiation with `teacher_goals`).
    """

    groups: ClassVar[tuple[str, ...]] = ("teacher",)

    @property
    def ends_episodes(self) -> bool:
        """Whether the teacher ends training episodes, which needs copies that one agent plays alone."""
        return False
