"""Who is asked for what: the requests of a ledger, by what its neighbours claim to hold.

Each missing entry is requested from one neighbour, the least busy of those that report its newest version, and at most `window` origins
at a time from each. A request without an answer is repeated by `protocols.conversations.retries`, then of others; before it is late, of
up to `MORE`
who claim it besides. After `deadline` it is given up until a digest claims it again, and a version that was refused is not asked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf

import numpy as np

from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.statistics.ledger_state import NOTHING, LedgerVersion

MORE = 3
"""times that an entry is requested from further neighbours that report it, before the first one is late"""
REMEMBERED = 8
"""refused versions of an origin that are not asked for again"""


@dataclass
class _Pull:
    version: LedgerVersion
    src: str
    attempt: RetryAttempt
    begun: float
    asked: float
    """when it was asked for last"""
    more: int = 0
    """others who were asked before the first was late"""


class PullRequests:
    """One agent's requests.

    `neighbours`: who may be asked; `is_news`: whether a version of an origin is worth having; `ask`: sends one neighbour one request for
    some origins. `window`: origins on their way from one neighbour; `every`: seconds after which a claim may mean that a request was lost;
    `deadline`: seconds after which requests end. `counters` get retry.pull, more.pull and unanswered.
    """

    def __init__(
        self,
        neighbours: Collection[str],
        is_news: Callable[[str, LedgerVersion], bool],
        ask: Callable[[str, list[str]], None],
        counters: Counter[str],
        random: np.random.Generator,
        window: int,
        every: float,
        deadline: float,
    ) -> None:
        self.claims: dict[str, dict[str, LedgerVersion]] = {name: {} for name in sorted(neighbours)}
        """the versions that every living neighbour has reported"""
        self._is_news, self._ask, self._counters = is_news, ask, counters
        self._window, self._every, self._deadline = window, every, deadline
        self._timers = RetryTimers(random, least=min(0.2, every))
        self._wanted: set[str] = set()
        """origins of which some neighbour may have more"""
        self._pulls: dict[str, _Pull] = {}
        self._refused: dict[str, list[LedgerVersion]] = {}

    def newest(self, origin: str) -> LedgerVersion:
        """The greatest version of an origin that some neighbour claims."""
        return max((claims.get(origin, NOTHING) for claims in self.claims.values()), default=NOTHING)

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def claimed(self, src: str, claims: dict[str, LedgerVersion], now: float) -> None:
        """A neighbour reports its versions. Entries requested from others without an answer are requested from it at once; the rest by
        `seek`."""
        self.claims[src] = claims
        self._wanted.update(origin for origin, version in claims.items() if self._lacks(origin, version))
        for origin, pull in self._pulls.items():  # it is here sooner if this one has it too, and the question or its answer was lost
            if pull.more < MORE and now >= pull.asked + self._every and claims.get(origin, NOTHING) >= pull.version:
                pull.more, pull.asked, pull.src = pull.more + 1, now, src
                pull.attempt.retries += 1
                self._counters["more.pull"] += 1
                self._ask(src, [origin])

    def brought(self, src: str, origin: str, version: LedgerVersion, now: float) -> None:
        """A neighbour has sent a version of an origin."""
        pull = self._pulls.get(origin)
        if pull is not None and version >= pull.version:
            if pull.src == src:
                self._timers[src].answered(pull.attempt, now)
            del self._pulls[origin]

    def refuse(self, origin: str, version: LedgerVersion) -> None:
        """Never request this version of `origin` again, for example because its payload was invalid."""
        self._refused[origin] = [*self._refused.get(origin, [])[-REMEMBERED + 1 :], version]

    def peer_dead(self, peer: str) -> bool:
        """Nothing is asked of it any more; whether it was there."""
        if self.claims.pop(peer, None) is None:
            return False
        self._timers.pop(peer, None)
        for origin in [origin for origin, pull in self._pulls.items() if pull.src == peer]:
            del self._pulls[origin]
        return True

    def clear(self) -> None:
        """Nothing that was claimed, asked or refused means anything any more."""
        self._pulls.clear()
        self._refused.clear()
        for claims in self.claims.values():
            claims.clear()

    # --- what is due --------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Ask again for what is late, and give up what has been for too long."""
        for origin, pull in list(self._pulls.items()):
            if now < pull.attempt.due:
                continue
            if now >= pull.begun + self._deadline:
                self._counters["unanswered"] += 1
                self.claims.get(pull.src, {}).pop(origin, None)
                del self._pulls[origin]
                continue
            self._counters["retry.pull"] += 1
            others = [name for name, claims in self.claims.items() if name != pull.src and claims.get(origin, NOTHING) >= pull.version]
            if others:  # the one whose answers come soonest
                pull.src = min(others, key=lambda name: (self._timers[name].smoothed or 0.0, name))
            self._timers[pull.src].again(pull.attempt, now)
            pull.asked = now
            self._ask(pull.src, [origin])

    def wake(self) -> float:
        """Time in seconds of the receiver's clock at which the next request is repeated; infinite where none is open."""
        return min((pull.attempt.due for pull in self._pulls.values()), default=inf)

    def seek(self, now: float) -> None:
        """Ask for what is lacking: every origin of the neighbour that claims the newest version of it, and of these the least busy one."""
        if not self._wanted:
            return
        busy = Counter(pull.src for pull in self._pulls.values())
        wanted: dict[str, list[str]] = {}
        for origin in sorted(self._wanted - self._pulls.keys()):
            best = self.newest(origin)
            if not self._lacks(origin, best):
                self._wanted.discard(origin)
                continue
            holders = [peer for peer, claims in self.claims.items() if claims.get(origin) == best and busy[peer] < self._window]
            if not holders:
                continue
            src = min(holders, key=lambda peer: (busy[peer], peer))
            busy[src] += 1
            wanted.setdefault(src, []).append(origin)
            self._pulls[origin] = _Pull(best, src, self._timers[src].start(now), now, now)
        for src, origins in wanted.items():
            self._ask(src, origins)

    def _lacks(self, origin: str, version: LedgerVersion) -> bool:
        return version not in self._refused.get(origin, ()) and self._is_news(origin, version)
