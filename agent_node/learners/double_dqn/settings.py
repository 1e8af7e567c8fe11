"""Settings of double dqn."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.learners.settings import HeldExplorationSettings
from protocols.runtime.component_registry import register


class DoubleDQNSettings(HeldExplorationSettings):
    """Goal-conditioned double Q-learning over the joint discrete action."""

    capabilities: ClassVar[tuple[str, ...]] = ("probabilities", "surprise")
    kind: Literal["double_dqn"] = "double_dqn"
    value_range: tuple[float, float] | None = (0.0, 1.0)
    """targets are clamped to this range: the returns that are possible; null for unknown ranges"""


register("learner", "double_dqn", DoubleDQNSettings, "agent_node.learners.double_dqn.double_dqn:DoubleDQN")
