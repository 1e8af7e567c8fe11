"""One integer per episode, from its leader to the other members, agreed on before a deadline.

The meaning of the integer is not part of this module. For each episode either side calls `lead` or `follow` when it is offered, and
receives `NegotiationSettled` exactly once: the leader with true when every follower has acknowledged, a follower with true when it has the
proposal, both with false at the deadline or when the other side is dead.

An acknowledgement means *the follower uses this message*. Hence a proposal that overtakes the offer is kept but not acknowledged
until `follow` is called (the offer may never come, or name another leader), one that comes after the follower settled false is
dropped unacknowledged, and the acknowledgement repeats the message, so that a leader that was restarted and drew another one is not
deceived by the answer to its former self.

The last acknowledgement may be lost: a leader may settle false while a follower settled true (never the other way round, as nothing but
an acknowledgement makes a leader settle true). No exchange of messages can exclude that (two generals); both report what they
settled to the environment server, which treats an episode as negotiated only if all report it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from protocols.conversations.conversation import Array, EpisodeConversation, SentPayload, column, episodes
from protocols.runtime.errors import BadMessage
from protocols.runtime.waits import PendingWait
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message


class Propose(Message):
    """Leader -> other members: `episode[n] i8`, `message[n] i4`. EO by (episode, src); acknowledged by `ProposeAck`."""

    version: Count = 0


class ProposeAck(Message):
    """Follower -> leader: `episode[n] i8`, `message[n] i4` that it uses for each."""


register_conversation(
    "negotiation",
    route("peer", "agent", "agent", Propose, ProposeAck),
    corruption="protocols.faults.node_faults.byzantine_messages:GoalCorruption",
)


@dataclass(frozen=True)
class ProposalReceived:
    """As follower: the leader's message for that episode. Comes once, just before `NegotiationSettled(episode, True)`."""

    episode: int
    leader: str
    message: int


@dataclass(frozen=True)
class NegotiationSettled:
    """The negotiation of that episode is over; `negotiated` is what this side may report."""

    episode: int
    negotiated: bool


@dataclass
class _Followed:
    leader: str
    deadline: float
    message: int | None = None
    settled: bool = False


class Negotiation(EpisodeConversation[ProposalReceived | NegotiationSettled, int]):
    """Proposals of all episodes of one agent.

    `deadline`: seconds from `lead` or `follow` to giving up. `vocabulary`: proposals must be in [0, vocabulary). `limit`: most episodes
    stored, and most early proposals kept per sender; the oldest leave first (an unsettled one settles false). An early proposal is kept for
    one deadline: then its leader, unacknowledged for so long, has settled false.
    """

    name = "propose"
    message_types = (Propose, ProposeAck)
    message_type = Propose
    acknowledgement_type = ProposeAck

    def __init__(self, random: np.random.Generator, deadline: float = 1.0, vocabulary: int = 65536, limit: int = 4096) -> None:
        super().__init__(random, deadline, limit, patience=deadline)
        self._vocabulary = vocabulary
        self._led: OrderedDict[int, SentPayload[int]] = OrderedDict()
        """those that are not settled are in `_active` too"""
        self._followed: OrderedDict[int, _Followed] = OrderedDict()

    def lead(self, episode: int, followers: Iterable[str], message: int, now: float) -> None:
        """As leader of `episode`: propose `message` to all followers. Without followers it is settled at once. First call wins."""
        if episode in self._led or episode in self._followed:
            return
        if not 0 <= message < self._vocabulary:
            raise ValueError(f"message {message} is not in [0, {self._vocabulary})")
        led = self._led[episode] = SentPayload(message, now + self._deadline)
        self._start(episode, led, followers, now)
        if not led.unacknowledged:
            self._settle_led(episode, led, True)
        if len(self._led) > self._limit:
            self._evict(next(iter(self._led)))

    def follow(self, episode: int, leader: str, now: float) -> None:
        """As follower of `episode`: take what `leader` proposes, or has proposed already. First call wins."""
        if episode in self._led or episode in self._followed:
            return
        followed = self._followed[episode] = _Followed(leader, now + self._deadline)
        self._wake = min(self._wake, followed.deadline)
        for src, message, until in self._take_early(episode):
            if now < until:
                self._proposed(src, episode, message)
        if len(self._followed) > self._limit:
            self._evict(next(iter(self._followed)))

    def forget(self, episode: int) -> None:
        """The episode is over: drop all memory of it, without an event. Late messages about it will be dropped too."""
        self._active.pop(episode, None)
        self._led.pop(episode, None)
        self._followed.pop(episode, None)
        for queued in (*self._waiting.values(), *self._acknowledgements.values()):
            queued.pop(episode, None)
        for kept in self._early.values():
            kept.pop(episode, None)

    def peer_dead(self, peer: str, now: float) -> None:
        """Episodes that wait for `peer` settle false at once; what it proposed before its offer is dropped."""
        for episode, led in list(self._active.items()):
            if peer in led.unacknowledged:
                self._settle_led(episode, led, False)
        for episode, followed in self._followed.items():
            if not followed.settled and followed.leader == peer:
                self._settle_followed(episode, followed, None)
        super().peer_dead(peer, now)

    def waits(self) -> list[PendingWait]:
        """As leader for acknowledgements, as follower for proposals."""
        followed = (("its goal proposal", one.leader, one.deadline) for one in self._followed.values() if not one.settled)
        return super().waits() + self._waits_by_peer(followed)

    def tick(self, now: float) -> None:
        """Repeat unanswered proposals that are due; settle false what is past its deadline."""
        if now < self._wake:
            return
        super().tick(now)
        for episode, followed in self._followed.items():
            if not followed.settled:
                if now >= followed.deadline:
                    self._settle_followed(episode, followed, None)
                else:
                    self._wake = min(self._wake, followed.deadline)

    def _deadline_passed(self, episode: int, sent: SentPayload[int]) -> None:
        self._settle_led(episode, sent, False)

    def _pack(self, payloads: Mapping[int, int]) -> list[dict[str, Array]]:
        return [self._pack_acknowledgements(payloads)]

    def _pack_acknowledgements(self, payloads: Mapping[int, int]) -> dict[str, Array]:
        return {"episode": np.array(list(payloads), np.int64), "message": np.array(list(payloads.values()), np.int32)}

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, (Propose, ProposeAck)):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the negotiation")
        numbers = episodes(arrays)
        proposals = column(arrays, "message", "i4", len(numbers))
        if not ((proposals >= 0) & (proposals < self._vocabulary)).all():
            raise BadMessage("E_FRAME", f"a message outside of [0, {self._vocabulary})")
        for episode, proposal in zip(numbers.tolist(), proposals.tolist(), strict=True):
            if isinstance(message, ProposeAck):
                self._answered(src, episode, proposal, now)
            elif episode in self._followed:
                self._proposed(src, episode, proposal)
            elif episode in self._led:
                self.counters["not_leader"] += 1
            else:
                self._keep_early(src, episode, proposal, now)

    def _proposed(self, src: str, episode: int, message: int) -> None:
        followed = self._followed[episode]
        if src != followed.leader:
            self.counters["not_leader"] += 1
        elif not followed.settled:
            self._settle_followed(episode, followed, message)
            self._acknowledge(src, episode, message)
        elif followed.message == message:
            self.counters["duplicate"] += 1
            self._acknowledge(src, episode, message)
        else:
            self.counters["late" if followed.message is None else "conflict"] += 1

    def _answered(self, src: str, episode: int, message: int, now: float) -> None:
        led = self._active.get(episode)
        if led is not None and led.payload != message:
            self.counters["stray_acknowledgement"] += 1
        elif (led := self._acknowledged(src, episode, now)) is not None and not led.unacknowledged:
            self._settle_led(episode, led, True)

    def _settle_led(self, episode: int, led: SentPayload[int], negotiated: bool) -> None:
        self._stop(episode, led)
        del self._active[episode]
        self._events.append(NegotiationSettled(episode, negotiated))

    def _settle_followed(self, episode: int, followed: _Followed, message: int | None) -> None:
        followed.settled = True
        followed.message = message
        if message is not None:
            self._events.append(ProposalReceived(episode, followed.leader, message))
        self._events.append(NegotiationSettled(episode, message is not None))

    def _evict(self, episode: int) -> None:
        led, followed = self._active.get(episode), self._followed.get(episode)
        if led is not None:
            self._settle_led(episode, led, False)
        if followed is not None and not followed.settled:
            self._settle_followed(episode, followed, None)
        self.counters["forgotten"] += 1
        self.forget(episode)
