"""A plugin as a third party would write it: an averaging rule on vectors, and one that is a conversation with a message of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from protocols.averaging.averaging_messages import Average
from protocols.averaging.averaging_rules import AveragingContext
from protocols.averaging.rule_settings import ROOM, AveragingRuleSettings, VectorRuleSettings
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.conversations.conversation import Send
from protocols.runtime.component_registry import register
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Digest, Message


class LabVector(Message):
    """Agent -> neighbour: `vector[d] f2` at averaging round `round`. LW."""

    round: Count
    layout: Digest


register_conversation("lab", route("peer", "agent", "agent", LabVector))


class LazySettings(VectorRuleSettings):
    """A step of a given length towards the mean of the neighbours."""

    kind: Literal["lazy"] = "lazy"
    pull: Annotated[float, Field(gt=0, le=1)] = 0.5


def lazy(own: NDArray[Any], neighbours: NDArray[Any], weights: NDArray[Any], settings: LazySettings) -> NDArray[Any]:
    """pull (mean_j x_j - x_i)."""
    update: NDArray[Any] = settings.pull * (neighbours.mean(axis=0) - own)
    return update


class HalfSettings(AveragingRuleSettings):
    """Gossip with vectors of half precision."""

    kind: Literal["half"] = "half"


class HalfGossip(SynchronousAveraging):
    """Sends `LabVector` in place of `Average`."""

    message_types = (LabVector,)

    def _publish(self, own: NDArray[Any], neighbours: Sequence[str]) -> NDArray[Any]:
        sent = own.astype(np.float16)
        for neighbour in neighbours:
            self._sends.append(Send(neighbour, LabVector(round=self.round, layout=self._layout), {"vector": sent}))
        return own

    def _receive(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        if isinstance(message, LabVector):
            average = Average(round=message.round, layout=message.layout)
            super()._receive(src, average, {"vector": arrays["vector"].astype(np.float32)}, now)


def half(settings: HalfSettings, context: AveragingContext) -> HalfGossip:
    """A machine of the rule."""
    return HalfGossip(context.neighbourhood, context.layout, context.size, context.deadline)


register(ROOM, "lazy", LazySettings, f"{__name__}:lazy")
register(ROOM, "half", HalfSettings, f"{__name__}:half")
