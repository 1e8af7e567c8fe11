"""Messages of the contract net, by which teacher goals change owners."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Message


class GoalCall(Message):
    """Agent -> neighbours: a call for bids for the goals that its teacher has proposed. AM1.

    Frames: `number[n] i8` (of the goals of this incarnation of the proposer), `copy[n] i4`, `episode[n] i8`, `goal[n] i4`.
    """


class GoalBid(Message):
    """Neighbour -> caller: an offer to exchange its own goal. AM1, answers a `GoalCall`.

    Frames: `number[n] i8` (that was called), `own[n] i8`, `goal[n] i4` (the bidder's), `value[n] f4`, `kept[n] f4` (what the called goal
    and its own goal are worth to the bidder's policy).
    """


class GoalAward(Message):
    """Caller -> bidder: each pursues the other's goal from now on, if it still can. AM1. Frames: `number[n] i8` (the caller's), `own[n]
    i8` (the bidder's)."""


class GoalReply(Message):
    """Bidder -> caller: whether it takes the goal. AM1, answers a `GoalAward`. Frames: `number[n] i8`, `own[n] i8`, `taken[n] u1`."""


class GoalReport(Message):
    """Agent that pursued a goal -> its proposer: the outcome. AM1; a goal whose report is lost is not learnt from.

    Frames: `number[n] i8`, `duration[n] i4` (steps; 0: never pursued), `reached[n] u1`, `reward[n] f4` (the environment's, in the step that
    ended it).
    """


register_conversation(
    "contract_net",
    route("peer", "agent", "agent", GoalCall, GoalBid, GoalAward, GoalReply, GoalReport),
)
