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
from dataclasses import dataclass, field
from math import inf

import numpy as np

from protocols.conversations.conversation import Array, Conversation, Send, column, episodes
from protocols.conversations.negotiation.proposal_messages import Propose, ProposeAck
from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message


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
class _Led:
    message: int
    deadline: float
    unanswered: dict[str, RetryAttempt] = field(default_factory=dict)
    settled: bool = False


@dataclass
class _Followed:
    leader: str
    deadline: float
    message: int | None = None
    settled: bool = False


class Negotiation(Conversation[ProposalReceived | NegotiationSettled]):
    """Proposals of all episodes of one agent.

    `deadline`: seconds from `lead` or `follow` to giving up. `vocabulary`: proposals must be in [0, vocabulary). `limit`: most episodes
    stored, and most early proposals kept per sender; the oldest leave first (an unsettled one settles false).
    """

    message_types = (Propose, ProposeAck)

    def __init__(self, random: np.random.Generator, deadline: float = 1.0, vocabulary: int = 65536, limit: int = 4096) -> None:
        super().__init__()
        self._timers = RetryTimers(random)
        self._deadline = deadline
        self._vocabulary = vocabulary
        self._limit = limit
        self._led: OrderedDict[int, _Led] = OrderedDict()
        self._followed: OrderedDict[int, _Followed] = OrderedDict()
        self._early: dict[str, OrderedDict[int, tuple[int, float]]] = {}
        self._proposals: dict[str, dict[int, int]] = {}
        self._acknowledgements: dict[str, dict[int, int]] = {}
        self._wake = inf

    def lead(self, episode: int, followers: Iterable[str], message: int, now: float) -> None:
        """As leader of `episode`: propose `message` to all followers. Without followers it is settled at once. First call wins."""
        if episode in self._led or episode in self._followed:
            return
        if not 0 <= message < self._vocabulary:
            raise ValueError(f"message {message} is not in [0, {self._vocabulary})")
        led = _Led(message, now + self._deadline)
        for follower in followers:
            led.unanswered[follower] = attempt = self._timers[follower].start(now)
            self._proposals.setdefault(follower, {})[episode] = message
            self._wake = min(self._wake, attempt.due)
        self._led[episode] = led
        self._wake = min(self._wake, led.deadline)
        if not led.unanswered:
            self._settle_led(episode, led, True)
        if len(self._led) > self._limit:
            self._evict(next(iter(self._led)))

    def follow(self, episode: int, leader: str, now: float) -> None:
        """As follower of `episode`: take what `leader` proposes, or has proposed already. First call wins."""
        if episode in self._led or episode in self._followed:
            return
        followed = self._followed[episode] = _Followed(leader, now + self._deadline)
        self._wake = min(self._wake, followed.deadline)
        for src, kept in list(self._early.items()):
            early = kept.pop(episode, None)
            if not kept:
                del self._early[src]
            if early is not None and now < early[1]:
                self._proposed(src, episode, early[0])
        if len(self._followed) > self._limit:
            self._evict(next(iter(self._followed)))

    def forget(self, episode: int) -> None:
        """The episode is over: drop all memory of it, without an event. Late messages about it will be dropped too."""
        self._led.pop(episode, None)
        self._followed.pop(episode, None)
        for queued in (*self._proposals.values(), *self._acknowledgements.values()):
            queued.pop(episode, None)
        for kept in self._early.values():
            kept.pop(episode, None)

    def peer_dead(self, peer: str, now: float) -> None:
        """Episodes that wait for `peer` settle false at once; what it proposed before its offer is dropped."""
        for episode, led in self._led.items():
            if not led.settled and peer in led.unanswered:
                self._settle_led(episode, led, False)
        for episode, followed in self._followed.items():
            if not followed.settled and followed.leader == peer:
                self._settle_followed(episode, followed, None)
        self._early.pop(peer, None)
        self._proposals.pop(peer, None)
        self._acknowledgements.pop(peer, None)

    def tick(self, now: float) -> None:
        """Repeat unanswered proposals that are due; settle false what is past its deadline."""
        if now < self._wake:
            return
        wake = inf
        for episode, led in self._led.items():
            if led.settled:
                continue
            if now >= led.deadline:
                self._settle_led(episode, led, False)
                continue
            for follower, attempt in led.unanswered.items():
                if now >= attempt.due:
                    self._timers[follower].again(attempt, now)
                    self._proposals.setdefault(follower, {})[episode] = led.message
                    self.counters["retry.propose"] += 1
                wake = min(wake, attempt.due)
            wake = min(wake, led.deadline)
        for episode, followed in self._followed.items():
            if not followed.settled:
                if now >= followed.deadline:
                    self._settle_followed(episode, followed, None)
                else:
                    wake = min(wake, followed.deadline)
        self._wake = min(wake, self._expire_early(now))

    def wake(self) -> float:
        """Time in seconds of the next retry or deadline, or earlier; infinite when nothing is pending."""
        return self._wake

    def outgoing(self) -> list[Send]:
        """Proposals and acknowledgements, one message per peer and kind."""
        for peer, rows in self._proposals.items():
            if rows:
                self._sends.append(Send(peer, Propose(), _rows(rows)))
        for peer, rows in self._acknowledgements.items():
            if rows:
                self._sends.append(Send(peer, ProposeAck(), _rows(rows)))
        self._proposals.clear()
        self._acknowledgements.clear()
        return super().outgoing()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, (Propose, ProposeAck)):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the negotiation")
        numbers = episodes(arrays)
        proposals = column(arrays, "message", "i4", len(numbers))
        if not ((proposals >= 0) & (proposals < self._vocabulary)).all():
            raise BadMessage("E_FRAME", f"a message outside of [0, {self._vocabulary})")
        for episode, proposal in zip(numbers.tolist(), proposals.tolist(), strict=True):
            if isinstance(message, ProposeAck):
                self._acknowledged(src, episode, proposal, now)
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
            self._acknowledgements.setdefault(src, {})[episode] = message
        elif followed.message == message:
            self.counters["duplicate"] += 1
            self._acknowledgements.setdefault(src, {})[episode] = message
        else:
            self.counters["late" if followed.message is None else "conflict"] += 1

    def _acknowledged(self, src: str, episode: int, message: int, now: float) -> None:
        led = self._led.get(episode)
        attempt = None if led is None or led.settled or led.message != message else led.unanswered.pop(src, None)
        if led is None or attempt is None:
            self.counters["stray_acknowledgement"] += 1
            return
        self._timers[src].answered(attempt, now)
        self._proposals.get(src, {}).pop(episode, None)
        if not led.unanswered:
            self._settle_led(episode, led, True)

    def _keep_early(self, src: str, episode: int, message: int, now: float) -> None:
        kept = self._early.setdefault(src, OrderedDict())
        kept.setdefault(episode, (message, now + self._deadline))
        self._wake = min(self._wake, now + self._deadline)
        if len(kept) > self._limit:
            kept.popitem(last=False)
            self.counters["early_overflow"] += 1

    def _expire_early(self, now: float) -> float:
        """Drop proposals older than the deadline: their leader, unacknowledged for so long, has settled false. Time of the next."""
        wake = inf
        for src, kept in list(self._early.items()):
            while kept:
                until = next(iter(kept.values()))[1]
                if now < until:
                    wake = min(wake, until)
                    break
                kept.popitem(last=False)
                self.counters["early_expired"] += 1
            if not kept:
                del self._early[src]
        return wake

    def _settle_led(self, episode: int, led: _Led, negotiated: bool) -> None:
        led.settled = True
        for follower in led.unanswered:
            self._proposals.get(follower, {}).pop(episode, None)
        led.unanswered.clear()
        self._events.append(NegotiationSettled(episode, negotiated))

    def _settle_followed(self, episode: int, followed: _Followed, message: int | None) -> None:
        followed.settled = True
        followed.message = message
        if message is not None:
            self._events.append(ProposalReceived(episode, followed.leader, message))
        self._events.append(NegotiationSettled(episode, message is not None))

    def _evict(self, episode: int) -> None:
        led, followed = self._led.get(episode), self._followed.get(episode)
        if led is not None and not led.settled:
            self._settle_led(episode, led, False)
        if followed is not None and not followed.settled:
            self._settle_followed(episode, followed, None)
        self.counters["forgotten"] += 1
        self.forget(episode)


def _rows(rows: Mapping[int, int]) -> dict[str, Array]:
    return {"episode": np.array(list(rows), np.int64), "message": np.array(list(rows.values()), np.int32)}
