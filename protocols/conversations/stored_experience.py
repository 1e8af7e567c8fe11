"""Joint experience from stored episodes: the members of a team have their parts of the same episodes, and each sends its own to all others.

Episodes are exchanged in one order, that of the list which all members have. An episode is complete at a member when the parts of all are
there, and so are all episodes before it. To each other member an agent offers the episodes that are not complete there, at most `WINDOW`
steps together (at least one episode). An acknowledgement lists parts that have arrived, and states how many episodes are complete; parts
are repeated until they are listed, and the first one that is not complete until it is. A member that is dead, or that comes back with less
than it had, holds up the others; nothing is dropped, since the episodes are stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from protocols.conversations.conversation import Array, episodes, frame, require
from protocols.conversations.episode_exchange import EpisodeExchanged
from protocols.conversations.joint_experience import EpisodeSteps, JointExperience, MemberStepsAck
from protocols.conversations.retries import RetryAttempt
from protocols.conversations.segment_exchange import SegmentLimits
from protocols.wire.messages import Message

WINDOW = 2048
"""most steps on their way to a member"""


@dataclass
class OfferedEpisodes:
    """What a member that is alive has of the own parts, as far as it has acknowledged it."""

    complete: int = 0
    """number of episodes that are complete there"""
    sent: dict[int, RetryAttempt] = field(default_factory=dict)
    """by the place of the episode, behind those"""
    arrived: set[int] = field(default_factory=set)
    """places among `sent`"""

    def repeated(self) -> Iterator[tuple[int, RetryAttempt]]:
        """What is sent again when it is due."""
        return ((place, attempt) for place, attempt in self.sent.items() if place == self.complete or place not in self.arrived)


class StoredExperience(JointExperience):
    """One agent's side, in the place of `JointExperience`. `own`: its parts of all episodes, in order; the first `complete` of them it has
    already. Events are the other episodes, in order, as they become complete. `members` and `reward_range`: as in `JointExperience`."""

    def __init__(
        self,
        members: Mapping[str, SegmentLimits],
        random: np.random.Generator,
        own: Sequence[EpisodeSteps],
        complete: int = 0,
        reward_range: tuple[float, float] = (-inf, inf),
    ) -> None:
        super().__init__(members, random, reward_range=reward_range)
        self.complete = complete
        self._own = list(own)
        self._places = {steps.episode: place for place, steps in enumerate(own)}
        self._parts: defaultdict[int, dict[str, EpisodeSteps]] = defaultdict(dict)
        """of the other members in episodes that are not complete, by the place of the episode"""
        self._offers: dict[str, OfferedEpisodes] = {}
        """to the members that are alive"""
        self._count_complete()

    # --- receiving ------------------------------------------------------------------------------------------------------------------

    def _receive_steps(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, MemberStepsAck):
            self._receive_acknowledgement(src, arrays, now)
            return
        for steps in self._unpack(src, arrays):
            self._take_part(src, steps)
        self._count_complete()

    def _take_part(self, src: str, steps: EpisodeSteps) -> None:
        place = self._places.get(steps.episode)
        if place is None:
            self.counters["unknown_episode"] += 1
            return
        if place >= self.complete + WINDOW:
            self.counters["early_overflow"] += 1
            return
        if place < self.complete or src in self._parts[place]:
            self.counters["duplicate"] += 1
        else:
            self._parts[place][src] = steps
        self._acknowledge(src, steps.episode, self._own[place])

    def _count_complete(self) -> None:
        before = self.complete
        while self.complete < len(self._own) and len(self._parts[self.complete]) == len(self._members):
            own = self._own[self.complete]
            self._events.append(EpisodeExchanged(own.episode, own, self._parts.pop(self.complete)))
            self.complete += 1
        if self.complete > before:
            for peer in self._offers:
                self._state_complete(peer)

    def _state_complete(self, peer: str) -> None:
        if self.complete:
            last = self._own[self.complete - 1]
            self._acknowledge(peer, last.episode, last)

    def _pack_acknowledgements(self, payloads: Mapping[int, EpisodeSteps]) -> dict[str, Array]:
        return super()._pack_acknowledgements(payloads) | {"complete": np.array([self.complete], np.int64)}

    def _receive_acknowledgement(self, src: str, arrays: Mapping[str, Array], now: float) -> None:
        numbers, complete = episodes(arrays).tolist(), frame(arrays, "complete", "i8", (1,))
        require((complete >= 0) & (complete <= len(self._own)), "more complete episodes than were stored")
        if (offered := self._offers.get(src)) is None:
            self.counters["stray_acknowledgement"] += 1
            return
        for place in (self._places[number] for number in numbers if number in self._places):
            self._arrived(src, offered, place, now)
        if int(complete[0]) > offered.complete:
            offered.complete = int(complete[0])
            for place in [place for place in offered.sent if place < offered.complete]:
                self._arrived(src, offered, place, now)
                offered.arrived.remove(place)
                del offered.sent[place]
            if offered.complete in offered.sent:
                offered.sent[offered.complete] = self._timers[src].start(now)
            self._offer(src, now)

    def _arrived(self, peer: str, offered: OfferedEpisodes, place: int, now: float) -> None:
        if place in offered.sent and place not in offered.arrived:
            self._timers[peer].answered(offered.sent[place], now)
            offered.arrived.add(place)
            self._waiting.get(peer, {}).pop(self._own[place].episode, None)

    # --- sending --------------------------------------------------------------------------------------------------------------------

    def _offer(self, peer: str, now: float) -> None:
        """Send what fits into the window; before the first acknowledgement, which states how much `peer` has, one episode."""
        offered = self._offers[peer]
        room = WINDOW if offered.complete else 1
        for place in range(offered.complete, len(self._own)):
            room -= self._own[place].steps
            if room < 0 and place > offered.complete:
                return
            if place not in offered.sent:
                offered.sent[place] = self._timers[peer].start(now)
                self._send_episode(peer, place)

    def _send_episode(self, peer: str, place: int) -> None:
        steps = self._own[place]
        self._waiting.setdefault(peer, {})[steps.episode] = steps

    # --- time and membership --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Repetitions of steps and of the snapshot."""
        super().tick(now)
        for peer, place, attempt in self._repeated():
            if now >= attempt.due:
                self._timers[peer].again(attempt, now)
                self._send_episode(peer, place)
                self.counters[f"retry.{self.name}"] += 1

    def wake(self) -> float:
        """Time in seconds of the next retry; infinite when nothing is pending."""
        return min([super().wake(), *(attempt.due for _, _, attempt in self._repeated())])

    def _repeated(self) -> Iterator[tuple[str, int, RetryAttempt]]:
        """While a member is dead nothing is repeated, since nothing becomes complete."""
        if len(self._offers) == len(self._members):
            for peer, offered in self._offers.items():
                yield from ((peer, place, attempt) for place, attempt in offered.repeated())

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """State to `peer` what is complete here, and offer it the episodes from the first one on until it states the same."""
        super().peer_alive(peer, incarnation, now)
        if peer in self._members:
            self._offers[peer] = OfferedEpisodes()
            self._state_complete(peer)
            self._offer(peer, now)

    def peer_dead(self, peer: str, now: float) -> None:
        """Offer nothing to `peer`. What it has sent is kept."""
        super().peer_dead(peer, now)
        self._offers.pop(peer, None)
