"""Joint experience from stored episodes: the members of a team have their parts of the same episodes, and each sends its own to all others.

Episodes are exchanged in one order, that of the list which all members have. To each other member an agent offers the episodes that this
member does not have yet, at most `WINDOW` steps together (at least one episode), and repeats them until they are acknowledged. An
acknowledgement of an episode means that it and all before it are complete at its sender: all parts are there. A member that is dead, or
that comes back with less than it had, holds up the others; nothing is dropped, since the episodes are stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np

from protocols.conversations.conversation import Array, episodes
from protocols.conversations.episode_exchange import EpisodeExchanged
from protocols.conversations.joint_experience import EpisodeSteps, JointExperience, MemberStepsAck
from protocols.conversations.retries import RetryAttempt
from protocols.conversations.segment_exchange import SegmentLimits
from protocols.wire.messages import Message

WINDOW = 2048
"""most steps on their way to a member"""


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
        self._theirs: dict[str, int] = {}
        """number of episodes that are complete at each member that is alive, as far as it has acknowledged them"""
        self._offered: dict[str, dict[int, RetryAttempt]] = {}
        """by member and place of the episode, behind those"""
        self._count_complete()

    # --- receiving ------------------------------------------------------------------------------------------------------------------

    def _receive_steps(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, MemberStepsAck):
            self._take_acknowledgement(src, max((self._places.get(one, -1) for one in episodes(arrays).tolist()), default=-1) + 1, now)
            return
        for steps in self._unpack(src, arrays):
            self._take_part(src, steps)
        self._count_complete()

    def _take_part(self, src: str, steps: EpisodeSteps) -> None:
        place = self._places.get(steps.episode)
        if place is None:
            self.counters["unknown_episode"] += 1
        elif place < self.complete or src in self._parts[place]:
            self.counters["duplicate"] += 1
            self._acknowledge_complete(src)
        elif place >= self.complete + WINDOW:
            self.counters["early_overflow"] += 1
        else:
            self._parts[place][src] = steps

    def _count_complete(self) -> None:
        before = self.complete
        while self.complete < len(self._own) and len(self._parts[self.complete]) == len(self._members):
            own = self._own[self.complete]
            self._events.append(EpisodeExchanged(own.episode, own, self._parts.pop(self.complete)))
            self.complete += 1
        if self.complete > before:
            for peer in self._theirs:
                self._acknowledge_complete(peer)

    def _acknowledge_complete(self, peer: str) -> None:
        if self.complete:
            last = self._own[self.complete - 1]
            self._acknowledgements[peer] = {last.episode: last}

    def _take_acknowledgement(self, src: str, complete: int, now: float) -> None:
        if complete <= self._theirs.get(src, len(self._own)):
            self.counters["stray_acknowledgement"] += 1
            return
        self._theirs[src], offered, waiting = complete, self._offered[src], self._waiting.get(src, {})
        for place in [one for one in offered if one < complete]:
            self._timers[src].answered(offered.pop(place), now)
            waiting.pop(self._own[place].episode, None)
        self._offer(src, now)

    # --- sending --------------------------------------------------------------------------------------------------------------------

    def _offer(self, peer: str, now: float) -> None:
        """Send what fits into the window; before the first acknowledgement, which states how much `peer` has, one episode."""
        theirs, offered = self._theirs[peer], self._offered[peer]
        room = WINDOW if theirs else 1
        for place in range(theirs, len(self._own)):
            room -= self._own[place].steps
            if room < 0 and place > theirs:
                return
            if place not in offered:
                offered[place] = self._timers[peer].start(now)
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
        """What is repeated: while a member is dead nothing is, since nothing becomes complete."""
        if len(self._theirs) == len(self._members):
            for peer, offered in self._offered.items():
                yield from ((peer, place, attempt) for place, attempt in offered.items())

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """State to `peer` what is complete here, and offer it the episodes from the first one on until it states the same."""
        super().peer_alive(peer, incarnation, now)
        if peer in self._members:
            self._theirs[peer], self._offered[peer] = 0, {}
            self._acknowledge_complete(peer)
            self._offer(peer, now)

    def peer_dead(self, peer: str, now: float) -> None:
        """Offer nothing to `peer`. What it has sent is kept."""
        super().peer_dead(peer, now)
        self._theirs.pop(peer, None)
        self._offered.pop(peer, None)
