"""Settings of bebold."""

from __future__ import annotations

from typing import ClassVar, Literal

from agent_node.intrinsic.rnd.settings import NoveltySettings
from agent_node.settings.value_types import NotNegative
from protocols.runtime.component_registry import register


class BeBoldSettings(NoveltySettings):
    """BeBold (Zhang et al., arXiv 2012.08621): the reward is the rise of novelty from one observation to the next, at the episode's
    first visit of the second."""

    capabilities: ClassVar[tuple[str, ...]] = ("grid",)
    kind: Literal["bebold"] = "bebold"
    previous: NotNegative = 1.0
    """a: weight of the novelty that is left; 1 in BeBold, 0.5 in NovelD"""


register("curiosity", "bebold", BeBoldSettings, "agent_node.intrinsic.bebold.bebold:BeBold")
