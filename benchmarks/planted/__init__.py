"""Components and an environment that stand still when `benchmarks/why_planted_hangs.py` asks for it. It imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.learners.settings import DoubleDQNSettings
from benchmarks.planted.hangs import plant
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings

plant("import")


class PlantedLearnerSettings(DoubleDQNSettings):
    """Double DQN."""

    capabilities: ClassVar[tuple[str, ...]] = DoubleDQNSettings.capabilities
    kind: Literal["planted"] = "planted"  # type: ignore[assignment]


class PlantedSettings(ComponentSettings):
    """An exchange without messages."""

    kind: Literal["planted"] = "planted"


register("learner", "planted", PlantedLearnerSettings, "benchmarks.planted.components:PlantedLearner")
register("exchange", "planted", PlantedSettings, "benchmarks.planted.components:Planted")
