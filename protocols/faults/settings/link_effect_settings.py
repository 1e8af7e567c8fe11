"""What happens to messages on their way."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from protocols.faults.settings.node_patterns import FaultName, Globs
from protocols.faults.settings.sparse_settings import AlsoAccepts, SparseSettings
from protocols.faults.settings.trigger_settings import ActivePeriod, RandomDuration
from protocols.runtime.settings_types import Duration, Probability, Rate, Settings, Size
from protocols.wire.messages import Channel


class Loss(SparseSettings):
    """Which messages are lost."""

    model: Literal["bernoulli", "gilbert_elliott"] = "bernoulli"
    """bernoulli: each with probability p; gilbert_elliott: the link changes between a good and a bad state, message by message"""
    p: Probability | None = None
    """bernoulli: probability of loss"""
    corr: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """bernoulli: correlation of the losses of successive messages; the probability of each stays p"""
    p_gb: Probability | None = None
    """gilbert_elliott: probability, at each message, that a good link turns bad"""
    p_bg: Probability | None = None
    """gilbert_elliott: probability, at each message, that a bad link turns good"""
    loss_good: Probability = 0.0
    """gilbert_elliott: probability of loss in the good state"""
    loss_bad: Probability = 1.0
    """gilbert_elliott: probability of loss in the bad state"""


class Duplicate(Settings):
    """Messages that arrive twice."""

    p: Probability
    """probability"""
    gap: Duration = 0.005
    """time from the first copy to the second"""


class Reorder(Settings):
    """Messages that are held back, so that later ones overtake them."""

    p: Probability
    """probability"""
    hold: Duration = 0.04
    """how long"""


class Corrupt(Settings):
    """Messages that are damaged on the way; the receiver refuses and counts them."""

    p: Probability
    """probability"""
    what: Literal["payload", "header", "truncate"] = "payload"
    """payload: bytes of the arrays; header: bytes of the header; truncate: the end is cut off"""


class Bandwidth(Settings):
    """A link that takes time to send each byte."""

    rate: Annotated[Rate, Field(gt=0)]
    """bits per second, over all channels of the rule together"""
    queue: Size = 2**20
    """bytes that may wait for the link"""
    overflow: Literal["drop"] = "drop"
    """drop: what finds the queue full is lost"""


def _probability(value: Any) -> Any:
    return {"p": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class LinkEffects(SparseSettings):
    """What happens to messages between some nodes. All rules that match a message act on it; delays add."""

    source: Annotated[Globs, Field(alias="from")] = ["*"]
    """who sends: a node's name, a pattern, or a list of them"""
    to: Globs = ["*"]
    """who receives"""
    symmetric: bool = False
    """whether the rule holds in the other direction too"""
    channels: Annotated[list[Channel], Field(min_length=1)] = ["peer"]
    """which conversations: peer (agents with each other), env (agents with the environment server), ctl and tele (with the run server)"""
    types: list[Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]] = []
    """only these message types (average, propose, trace, ...); none: all"""
    delay: RandomDuration | None = None
    """time on the way; a duration alone is constant"""
    loss: Annotated[Loss, BeforeValidator(_probability), AlsoAccepts({"type": "number", "minimum": 0, "maximum": 1})] | None = None
    """which messages never arrive; a number alone is the probability of each"""
    duplicate: Duplicate | None = None
    """which arrive twice"""
    reorder: Reorder | None = None
    """which are overtaken"""
    corrupt: Corrupt | None = None
    """which are damaged"""
    bandwidth: Bandwidth | None = None
    """how fast bytes leave; its decisions depend on when messages are sent, hence repeat exactly only under `clock: logical`"""


class LinkRule(LinkEffects):
    """A named rule of the links."""

    id: FaultName
    """name of the rule: its draws and its lines in the trace go by it"""
    during: ActivePeriod = ActivePeriod()
    """when it holds"""
