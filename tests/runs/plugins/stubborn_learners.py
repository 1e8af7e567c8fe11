"""A learner of a third party that ignores action masks: it imports no torch before it is made."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.learners.settings import ReplaySettings
from protocols.runtime.component_registry import register


class StubbornSettings(ReplaySettings):
    """Chooses action 0 at every step."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete")
    groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["stubborn"] = "stubborn"


register("learner", "stubborn", StubbornSettings, "stubborn_learner:Stubborn")
