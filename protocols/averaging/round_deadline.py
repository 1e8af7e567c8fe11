"""When a round closes: as soon as those who matter are there, and never long after the time in which neighbours usually come.

The soft deadline is learnt from arrivals: median + 4 MAD (median absolute deviation) of the waiting times of the last 50, within the limits
`least` and `most`. Who came before the round began was not waited for: 0 s. Of an even number the lower median is taken, so that one
straggler of two neighbours does not count as usual. Until ten have come the deadline is `most`. A neighbour is *regularly late* once
it missed the soft deadline, or the round, four times more than it did not (counted up to eight): a straggler is detected within a
few rounds, and waited for again once it is in time more often than not. Whom a round waits for depends on what the late bring:

- `patient` (modes in which a vector that is late is lost): punctual neighbours are waited for until `most`, regularly late ones until the
  soft deadline. A neighbour in a later round (`probably_lost`) has sent its vector: that is lost, or was overtaken, and it is waited for as
  long again as a soft deadline.
- otherwise (push-sum, whose late offers count in the next round): punctual neighbours are waited for until the soft deadline, regularly
  late ones are not waited for once a quorum is there: half of the expected, rounded up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from math import inf

import numpy as np

from protocols.conversations.conversation import Array

REMEMBERED = 50
"""arrivals that the soft deadline is learnt from"""
NEEDED = 10
"""arrivals before it is first computed, and between two times that it is computed"""
SPREADS = 4.0
"""MADs above the median"""
LATE = 4
"""surplus of late rounds from which a neighbour is regularly late"""
LATEST = 8
"""where that surplus stops, so that who has become punctual is soon taken for it"""
LEAST = 0.05
"""default lower limit of the soft deadline in seconds: below it waits are the operating system's noise"""
MOST = 5.0
"""default upper limit"""


class RoundDeadline:
    """Whom the rounds of one agent wait for. Times are monotonic seconds.

    `leisure`: seconds that a round may stay open at no cost, since the agent does not need the next one before: no soft deadline is
    shorter.
    """

    def __init__(self, least: float = LEAST, most: float = MOST, patient: bool = False) -> None:
        if not 0 <= least <= most:
            raise ValueError(f"the soft deadline's limits must hold 0 <= least <= most, and they are {least:g} s and {most:g} s")
        self.leisure = 0.0
        self._least, self._most, self._patient = least, most, patient
        self._waits: deque[float] = deque(maxlen=REMEMBERED)
        self._new = 0
        self._learnt = most
        self._lateness: dict[str, int] = {}
        self._early: set[str] = set()
        self._open = False
        self._begun = -inf
        self._soft = inf
        self._expected: Collection[str] = ()
        self._missing: set[str] = set()
        self._tardy: set[str] = set()
        self._doubted: set[str] = set()
        self._grace = -inf
        self._punctual = 0
        self._absent = 0

    @property
    def soft(self) -> float:
        """The soft deadline: seconds after the beginning of a round."""
        return min(max(self._learnt, self.leisure), self._most)

    def regularly_late(self, peer: str) -> bool:
        """Whether no round waits for `peer` as it does for others."""
        return self._lateness.get(peer, 0) >= LATE

    def begin(self, expected: Collection[str], here: Collection[str], now: float) -> None:
        """A round begins that expects these neighbours, of whom some are `here` already."""
        lateness = self._lateness
        if self._missing or self._tardy or lateness:
            self._judge()
        missing = set(expected)
        if here:
            early = self._early
            for peer in here:
                if peer in missing:
                    missing.discard(peer)
                    if peer in early:
                        early.discard(peer)
                        self.late(0.0)
        punctual = len(missing)
        if lateness:
            for peer in missing:
                punctual -= lateness.get(peer, 0) >= LATE
        self._expected, self._missing, self._punctual, self._absent = expected, missing, punctual, len(expected) // 2
        if self._new >= NEEDED:
            self._learn()
        self._open, self._begun, self._soft = True, now, now + self.soft
        self._doubted.clear()
        self._grace = -inf

    def arrived(self, peer: str, now: float) -> None:
        """What the newest round expects of `peer` is there, or, if it was there already, what the next one will expect."""
        if peer in self._missing:
            self.late(now - self._begun)
            if now > self._soft:
                self._tardy.add(peer)
            self._found(peer)
        else:
            self._early.add(peer)

    def early(self, peer: str) -> None:
        """The message that the next round expects of `peer` has arrived already."""
        self._early.add(peer)

    def late(self, wait: float) -> None:
        """Something came so many seconds after its round had begun: the soft deadline is learnt from it."""
        self._waits.append(wait)
        self._new += 1

    def probably_lost(self, peer: str, now: float) -> None:
        """What this round needs of `peer` is probably lost: a patient round waits for it only for another soft deadline from now on."""
        if self._open and peer in self._missing and peer not in self._doubted:
            self._doubted.add(peer)
            self._grace = now + self.soft
            if self._lateness.get(peer, 0) < LATE:
                self._punctual -= 1

    def excuse(self, peer: str) -> None:
        """This round needs `peer` no longer, and that is not its fault: it is dead, or its message was lost."""
        if peer in self._missing:
            self._expected = [name for name in self._expected if name != peer]
            self._absent = len(self._expected) // 2
            self._found(peer)

    def forget(self, peer: str) -> None:
        """Drop what was measured of `peer`, whose process was replaced."""
        self.excuse(peer)
        self._lateness.pop(peer, None)
        self._tardy.discard(peer)
        self._expected = [name for name in self._expected if name != peer]
        self._early.discard(peer)

    @property
    def awaited(self) -> tuple[tuple[str, ...], float, float]:
        """Who is missing from the open round, when that began, and when it closes."""
        return tuple(sorted(self._missing)), self._begun, max(self._begun, self.closes)

    @property
    def closes(self) -> float:
        """When the open round closes if no other vector arrives; -inf: at once."""
        if not self._missing:
            return -inf
        if self._patient:
            last = self._begun + self._most
            return last if self._punctual else min(last, max(self._soft, self._grace))
        if not self._punctual and len(self._missing) <= self._absent:
            return -inf
        return self._soft

    def close(self, now: float) -> float:
        """The round is closed; the seconds it took."""
        self._open = False
        for peer in self._doubted & self._missing if self._doubted else ():
            self.excuse(peer)
        return now - self._begun

    def state(self) -> dict[str, Array]:
        """Measured delays and the soft deadline, as arrays for a checkpoint between two rounds."""
        return {
            "waits": np.array(self._waits, np.float64),
            "times": np.array([self._learnt, self._begun, self._soft, self.leisure]),
            "new": np.array(self._new),
            **{f"late/{peer}": np.array(count) for peer, count in self._lateness.items()},
            **{f"early/{peer}": np.array(True) for peer in sorted(self._early)},
            **{f"newest/{peer}": np.array([peer in self._missing, peer in self._tardy]) for peer in self._expected},
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `KeyError` or `ValueError` for what does not fit."""

        def named(prefix: str) -> dict[str, Array]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self._waits = deque(map(float, state["waits"]), maxlen=REMEMBERED)
        self._learnt, self._begun, self._soft, self.leisure = map(float, state["times"])
        self._new = int(state["new"])
        self._lateness = {peer: int(count) for peer, count in named("late/").items()}
        self._early = set(named("early/"))
        newest = named("newest/")
        self._expected = list(newest)
        self._missing = {peer for peer, (missing, _) in newest.items() if missing}
        self._tardy = {peer for peer, (_, tardy) in newest.items() if tardy}

    def _judge(self) -> None:
        """Record which neighbours were late in the newest round, whether the round waited for them or not."""
        lateness, tardy = self._lateness, self._tardy
        tardy |= self._missing
        for peer in self._expected:
            count = lateness.get(peer, 0)
            if peer in tardy:
                lateness[peer] = min(count + 1, LATEST)
            elif count > 1:
                lateness[peer] = count - 1
            elif count:
                del lateness[peer]
        if tardy:
            self._tardy = set()

    def _found(self, peer: str) -> None:
        self._missing.discard(peer)
        if self._open and peer not in self._doubted and self._lateness.get(peer, 0) < LATE:
            self._punctual -= 1

    def _learn(self) -> None:
        self._new = 0
        waits = sorted(self._waits)
        middle = (len(waits) - 1) // 2
        median = waits[middle]
        spread = sorted([abs(wait - median) for wait in waits])[middle]
        self._learnt = min(max(median + SPREADS * spread, self._least), self._most)
