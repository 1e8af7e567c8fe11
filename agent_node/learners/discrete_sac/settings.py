"""Settings of discrete sac."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.learners.settings import HeldExplorationSettings
from agent_node.settings.value_types import Positive
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability


class DiscreteSACSettings(HeldExplorationSettings):
    """Soft actor-critic over the joint discrete action, with automatic temperature (Haarnoja et al., arXiv 1812.05905; discrete form:
    Christodoulou, arXiv 1910.07207)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = ("replay", "discrete", "probabilities", "td_errors")
    kind: Literal["discrete_sac"] = "discrete_sac"
    exploration: Probability = 0.0
    """random actions besides those of the stochastic policy"""
    target_entropy: Probability = 0.3
    """wanted entropy as a share of the uniform policy's, ln(number of actions)"""
    temperature: Positive = 0.1
    """alpha at the start"""


register("learner", "discrete_sac", DiscreteSACSettings, "agent_node.learners.discrete_sac.discrete_sac:DiscreteSAC")
