"""Rules by which a teacher's goals become harder or easier, and what all teachers have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from protocols.registry import register
from protocols.settings import Settings

from .types import NotNegative

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Counts = Annotated[int, Field(ge=1, le=1_000_000)]
Earned = Annotated[float, Field(ge=-1, le=1)]


class DifficultySettings(Settings):
    """What every difficulty rule has in common."""

    kind: str


class ThresholdSettings(DifficultySettings):
    """Goals shall take at least t* steps; t* rises, and never falls ("default")."""

    kind: Literal["threshold"] = "threshold"
    start: Steps = 7
    """t* at the start, steps"""
    maximum: Steps = 100
    """t* rises as long as it is at most this"""
    counts: Counts = 10
    """batches in a row that must have earned enough before t* rises by 1"""
    threshold: Earned = -0.1
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
    threshold: Earned = -0.1
    """theta: what a batch's goals must pay the teacher on average to be enough"""
    solved: NotNegative = 0.8
    """t* falls also where the environment paid this much, on average, in the steps that ended the batch's goals"""


class TeacherSettings(Settings):
    """What every teacher has in common."""

    groups: ClassVar[tuple[str, ...]] = ("teacher",)
    """names of its parameter groups, which consensus may average"""
    kind: str


register("difficulty", "threshold", ThresholdSettings, "agent_node.goals.difficulty:Threshold")
register("difficulty", "window", WindowSettings, "agent_node.goals.difficulty:Window")
