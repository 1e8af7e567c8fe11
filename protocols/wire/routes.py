"""Who may say what to whom: the way of every message, by channel, sender's role and receiver's role.

The receiving side of every transport with a role holds its peers to this table (`protocols.wire.guard`), and `docs/reference/messages.md`
shows it. A message that is not in it is refused everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import get_args

from protocols.wire import messages as m
from protocols.wire.messages import Channel, Message, Role


@dataclass(frozen=True)
class Route:
    """Messages that nodes of some roles say to nodes of other roles over one channel."""

    channel: Channel
    senders: frozenset[Role]
    receivers: frozenset[Role]
    types: tuple[type[Message], ...]


def _route(channel: Channel, senders: str, receivers: str, *types: type[Message]) -> Route:
    roles: dict[str, Role] = {role: role for role in get_args(Role)}
    return Route(channel, frozenset(roles[r] for r in senders.split()), frozenset(roles[r] for r in receivers.split()), types)


ROUTES: tuple[Route, ...] = (
    _route("ctl", "agent env host client", "run", m.Hello),
    _route("ctl", "run", "agent env host client", m.Welcome, m.Refuse),
    _route("ctl", "agent env host", "run", m.Heartbeat, m.CommandAck, m.Event, m.Bye),
    _route("ctl", "run", "agent env host", m.HeartbeatAck, m.Command, m.EventAck),
    _route("ctl", "run", "agent env", m.Roster),
    _route("ctl", "run", "host", m.StartNode, m.StopNode, m.SignalNode, m.NodeEndedAck),
    _route("ctl", "host", "run", m.NodeStarted, m.NodeEnded),
    _route("ctl", "host", "run", m.FileAsk, m.FilePiece, m.FileGone, m.FileHave),
    _route("ctl", "run", "host", m.FileAsk, m.FilePiece, m.FileGone, m.FileHave),
    _route("ctl", "client", "run", m.StatusRequest, m.StopRequest, m.RestartRequest, m.FaultRequest),
    _route("ctl", "run", "client", m.Status),
    _route("tele", "agent env", "run", m.Metrics),
    _route("env", "agent", "env", m.Join, m.Act, m.Goals),
    _route("env", "env", "agent", m.Joined, m.Refuse, m.Observation, m.Offer),
    _route("peer", "agent", "agent", m.Propose, m.ProposeAck, m.Trace, m.TraceAck),
    _route("peer", "agent", "agent", m.Correction, m.CorrectionAck, m.Segment, m.Plan),
    _route("peer", "agent", "agent", m.GoalCall, m.GoalBid, m.GoalAward, m.GoalReply, m.GoalReport),
    _route("peer", "agent", "agent", m.Average, m.Compressed, m.ReplicaRequest, m.Replica, m.Share, m.Leave, m.Marker),
    _route("peer", "agent", "agent", m.LedgerDigest, m.LedgerPull, m.LedgerEntry),
)


@cache
def takes(receiver: Role, channel: Channel) -> Mapping[type[Message], frozenset[Role]]:
    """What a node of that role takes over a channel, and from whom: message type -> roles of its senders."""
    taken: dict[type[Message], frozenset[Role]] = {}
    for way in ROUTES:
        if way.channel == channel and receiver in way.receivers:
            for kind in way.types:
                taken[kind] = taken.get(kind, frozenset()) | way.senders
    return taken
