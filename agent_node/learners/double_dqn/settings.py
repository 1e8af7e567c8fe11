"""Settings of double dqn."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.learners.settings import HeldExplorationSettings
from agent_node.settings.value_types import Interval
from protocols.runtime.component_registry import register


class DoubleDQNSettings(HeldExplorationSettings):
    """Goal-conditioned double Q-learning over the joint discrete action (van Hasselt et al., arXiv 1509.06461)."""

    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete", "probabilities", "td_errors")
    goal_defaults: ClassVar[tuple[str, ...]] = ("value_range",)
    kind: Literal["double_dqn"] = "double_dqn"
    value_range: Interval | None = (0.0, 1.0)
    """targets are clamped to this range, that of the possible returns; null: unknown. The default suits goals, which pay 0 to 1"""


register("learner", "double_dqn", DoubleDQNSettings, "agent_node.learners.double_dqn.double_dqn:DoubleDQN")
