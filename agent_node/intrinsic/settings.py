"""Curiosity: what an agent pays itself for what is new to it."""

from __future__ import annotations

from typing import ClassVar

from agent_node.settings.value_types import NotNegative
from protocols.runtime.settings_types import Settings


class CuriositySettings(Settings):
    """What every curiosity has in common."""

    needs_grid: ClassVar[bool] = False
    """whether it works only where a grid of cells is seen"""
    kind: str
    coefficient: NotNegative = 0.1
    """weight of the reward that it adds"""


class TeacherSettings(Settings):
    """What every teacher has in common."""

    groups: ClassVar[tuple[str, ...]] = ("teacher",)
    """names of its parameter groups, which consensus may average"""
    kind: str
