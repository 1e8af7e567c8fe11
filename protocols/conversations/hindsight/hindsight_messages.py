"""Messages after an episode: what each member did, and corrections of its action probabilities."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Message


class Trace(Message):
    """Member -> other members, after the episode: the goal that it pursued and the features that it achieved. EO by (episode, src).

    Frames: `episode[n] i8`, `goal[n] i4`, `message[n] i4` (-1: none), `role[n] u1` (1 leader), `reward[n] f4`, `stop[n] i4` (its own
    last step), `length[n] i4` (the episode's steps), `touch[m, 4] i4` (row, first step, last step + 1, feature).
    """


class TraceAck(Message):
    """Receiver -> sender: `episode[n] i8`."""


class Correction(Message):
    """Member -> other members, when all traces of an episode are there: the ratio of the probability of each of its actions under the
    goal with which all members relabel the episode to that under the goal it pursued. EO by (episode, src).

    Frames: `episode[n] i8`, `goal[n] i4` (that all relabel it with), `steps[n] i4` (its own), `ratio[m] f2` (of all their steps, episode
    after episode; 0 ... 2).
    """


class CorrectionAck(Message):
    """Receiver -> sender: `episode[n] i8`."""


register_conversation(
    "hindsight",
    route("peer", "agent", "agent", Trace, TraceAck, Correction, CorrectionAck),
    corruption="protocols.faults.node_faults.byzantine_messages:GoalCorruption",
)
