"""Settings of sac."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.learners.settings import ReplaySettings
from agent_node.settings.value_types import Positive, Widths
from protocols.runtime.component_registry import register


class SACSettings(ReplaySettings):
    """Soft actor-critic for continuous actions, with automatic temperature (Haarnoja et al., arXiv 1812.05905)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = ("replay", "continuous", "optimism")
    kind: Literal["sac"] = "sac"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-4
    """step size of Adam, of all networks"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers of all networks"""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    """tau: target parameters move by this share of the difference at each update"""
    temperature: Positive = 1.0
    """alpha at the start: weight of the entropy"""
    learn_temperature: bool = True
    """whether alpha follows the entropy that is wanted, minus the number of action components, in nats"""
    random_steps: Annotated[int, Field(ge=0)] = 5000
    """own steps with uniformly random actions before the policy acts"""
    exploit: bool = False
    """a second policy that is paid the reward alone, for evaluations; the first is paid the optimism too, and explores"""


register("learner", "sac", SACSettings, "agent_node.learners.sac.sac:SAC")
