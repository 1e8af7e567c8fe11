"""A plugin as a third party would write it: settings of a learner, a world model, a negotiation and an exchange. It imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.exchange.settings import NegotiationSettings
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.world_models.settings import WorldModelSettings
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message


class EncodedSettings(DoubleDQNSettings):
    """Double DQN with one more parameter group."""

    groups: ClassVar[tuple[str, ...]] = ("critic", "encoder")
    kind: Literal["encoded"] = "encoded"  # type: ignore[assignment]


class LinearSettings(WorldModelSettings):
    """The change of the observation as a linear function of observation and action, by least squares."""

    capabilities: ClassVar[tuple[str, ...]] = ("vector_observations", "additive_statistics")
    groups: ClassVar[tuple[str, ...]] = ()
    kind: Literal["linear"] = "linear"
    refresh: Annotated[int, Field(ge=1)] = 100


class NamingSettings(NegotiationSettings):
    """The leader sends the index of its goal, and the followers pursue the same goal."""

    kind: Literal["naming"] = "naming"


class BeatSettings(ComponentSettings):
    """Each agent sends its number of updates to its neighbours."""

    kind: Literal["beats"] = "beats"


class Beat(Message):
    """Agent -> neighbours, at every tick: its number of updates."""

    updates: Count


register("learner", "encoded", EncodedSettings, "lab_implementations:Encoded")
register("world_model", "linear", LinearSettings, "lab_implementations:Linear")
register("negotiation", "naming", NamingSettings, "lab_implementations:Naming")
register("exchange", "beats", BeatSettings, "lab_implementations:Beats")
register_conversation("beats", route("peer", "agent", "agent", Beat))
