"""Who may say what to whom: the way of every message, by channel, sender's role and receiver's role.

The receiving side of every transport with a role holds its peers to this table (`protocols.transport.guard`), and `docs/messages.md`
shows it. A message that is not in it is refused everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import get_args

from protocols import messages as m
from protocols.messages import Channel, Message, Role


@dataclass(frozen=True)
class Way:
    """Messages that nodes of some roles say to nodes of other roles over one channel."""

    channel: Channel
    senders: frozenset[Role]
    receivers: frozenset[Role]
    types: tuple[type[Message], ...]


def _way(channel: Channel, senders: str, receivers: str, *types: type[Message]) -> Way:
    roles: dict[str, Role] = {role: role for role in get_args(Role)}
    return Way(channel, frozenset(roles[r] for r in senders.split()), frozenset(roles[r] for r in receivers.split()), types)


WAYS: tuple[Way, ...] = (
    _way("ctl", "agent env host client", "run", m.Hello),
    _way("ctl", "run", "agent env host client", m.Welcome, m.Refuse),
    _way("ctl", "agent env host", "run", m.Heartbeat, m.CommandAck, m.Event, m.Bye),
    _way("ctl", "run", "agent env host", m.HeartbeatAck, m.Command, m.EventAck),
    _way("ctl", "run", "agent env", m.Roster),
    _way("ctl", "run", "host", m.StartNode, m.StopNode, m.SignalNode, m.NodeEndedAck),
    _way("ctl", "host", "run", m.NodeStarted, m.NodeEnded),
    _way("ctl", "host", "run", m.FileAsk, m.FilePiece, m.FileGone, m.FileHave),
    _way("ctl", "run", "host", m.FileAsk, m.FilePiece, m.FileGone, m.FileHave),
    _way("ctl", "client", "run", m.StatusRequest, m.StopRequest, m.RestartRequest, m.FaultRequest),
    _way("ctl", "run", "client", m.Status),
    _way("tele", "agent env", "run", m.Metrics),
    _way("env", "agent", "env", m.Join, m.Act, m.Goals),
    _way("env", "env", "agent", m.Joined, m.Refuse, m.Observation, m.Offer),
    _way("peer", "agent", "agent", m.Propose, m.ProposeAck, m.Trace, m.TraceAck),
    _way("peer", "agent", "agent", m.Correction, m.CorrectionAck, m.Segment, m.Plan),
    _way("peer", "agent", "agent", m.GoalCall, m.GoalBid, m.GoalAward, m.GoalReply, m.GoalReport),
    _way("peer", "agent", "agent", m.Average, m.Compressed, m.ReplicaRequest, m.Replica, m.Share, m.Leave, m.Marker),
    _way("peer", "agent", "agent", m.LedgerDigest, m.LedgerPull, m.LedgerEntry),
)


@cache
def takes(receiver: Role, channel: Channel) -> Mapping[type[Message], frozenset[Role]]:
    """What a node of that role takes over a channel, and from whom: message type -> roles of its senders."""
    taken: dict[type[Message], frozenset[Role]] = {}
    for way in WAYS:
        if way.channel == channel and receiver in way.receivers:
            for kind in way.types:
                taken[kind] = taken.get(kind, frozenset()) | way.senders
    return taken
