"""The exchange: what travels over the edges between agents."""

from __future__ import annotations

from typing import Annotated

from agent_node.exchange.averaging.settings import ConsensusSettings
from agent_node.exchange.experience.settings import ExperienceSettings
from agent_node.exchange.hindsight.settings import HindsightSettings
from agent_node.exchange.negotiation.settings import NegotiationSettings
from agent_node.exchange.plans.settings import PlanSettings
from agent_node.exchange.statistics.settings import StatisticsSettings
from agent_node.settings.builtin_components import register_builtin_components
from protocols.runtime.component_registry import Registered
from protocols.runtime.settings_types import ComponentSettings, Settings

register_builtin_components()


class ExchangeSettings(Settings):
    """What travels over the edges; each part can be switched off with null."""

    negotiation: Annotated[NegotiationSettings, Registered("negotiation")] | None = None
    """goals agreed on before an episode; null: each for itself"""
    hindsight: HindsightSettings | None = None
    """traces after an episode; null: only its own experience"""
    experience: ExperienceSettings | None = None
    """transitions themselves, for comparison (environments without goals, learners with a replay buffer); null: nobody's leave it"""
    consensus: ConsensusSettings | None = None
    """averaging of models; null: independent agents"""
    statistics: StatisticsSettings | None = None
    """sums of the statistics of additive models; null: everybody's model is its own"""
    components: list[Annotated[ComponentSettings, Registered("exchange")]] = []
    """exchanges of other packages, by the kinds that they register in the room exchange"""
    plans: PlanSettings | None = None
    """where each is going to look, so that the others look elsewhere; null: nobody tells"""
