"""The exchange: what travels over the edges between agents."""

from __future__ import annotations

from typing import Annotated

from agent_node.exchange.settings import (
    ConsensusSettings,
    ExperienceSettings,
    HindsightSettings,
    JointExperienceSettings,
    NegotiationSettings,
    PlanSettings,
    StatisticsSettings,
)
from agent_node.settings.builtin_components import register_builtin_components
from protocols.runtime.component_registry import Registered
from protocols.runtime.settings_types import ComponentSettings, Settings

register_builtin_components()


class ExchangeSettings(Settings):
    """What travels over the edges; each part can be switched off with null."""

    negotiation: Annotated[NegotiationSettings, Registered("negotiation")] | None = None
    """goals agreed on before or during an episode; null: each agent draws its own"""
    hindsight: HindsightSettings | None = None
    """traces after an episode; null: only its own experience"""
    experience: ExperienceSettings | None = None
    """transitions themselves, for comparison (environments without goals, learners with a replay buffer); null: none are sent"""
    joint_experience: JointExperienceSettings | None = None
    """steps of all agents at the same moments, for learners with centralised critics, which need it; null: none are sent"""
    consensus: ConsensusSettings | None = None
    """averaging of models; null: independent agents"""
    statistics: StatisticsSettings | None = None
    """sums of the statistics of additive models; null: each model uses its agent's data alone"""
    components: list[Annotated[ComponentSettings, Registered("exchange")]] = []
    """exchanges of other packages, by the kinds that they register in the room exchange"""
    plans: PlanSettings | None = None
    """planned trajectories, so that neighbours explore elsewhere; null: none are sent"""
