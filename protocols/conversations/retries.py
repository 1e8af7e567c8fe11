"""When an unanswered request is sent again.

The first retry comes after max(4 x smoothed round trip, 200 ms), each further one 1.6 times later, at most 2 s, all times +-50 % so that
peers who lost messages together do not repeat them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class RetryAttempt:
    """One request on its way: `due` is when it should be sent again."""

    sent: float
    due: float
    interval: float
    retries: int = 0


class RetryTimer:
    """Retry times of the requests to one destination, with its smoothed round trip (seconds).

    s <- s + (r - s) / 8 for each measured round trip r, the first one taken as it is (Jacobson 1988). A request that was repeated is
    not measured, since its answer may belong to any of its copies; instead the next request starts with the interval it had come to,
    until one is measured again (Karn and Partridge 1987): else a round trip above the first retry would never be learnt.
    """

    def __init__(
        self, random: np.random.Generator, least: float = 0.2, factor: float = 1.6, most: float = 2.0, jitter: float = 0.5
    ) -> None:
        self.smoothed: float | None = None
        self._backed_off = 0.0
        self._random = random
        self._least = least
        self._factor = factor
        self._most = most
        self._jitter = jitter

    def start(self, now: float) -> RetryAttempt:
        """A request is sent for the first time."""
        interval = min(max(4.0 * (self.smoothed or 0.0), self._least, self._backed_off), self._most)
        return RetryAttempt(now, now + self._jittered(interval), interval)

    def again(self, attempt: RetryAttempt, now: float) -> None:
        """The request is sent once more: set the time of the retry after this one."""
        attempt.retries += 1
        attempt.interval = min(attempt.interval * self._factor, self._most)
        attempt.due = now + self._jittered(attempt.interval)

    def answered(self, attempt: RetryAttempt, now: float) -> None:
        """The answer came: measure the round trip, if it is unambiguous."""
        if attempt.retries:
            self._backed_off = attempt.interval
            return
        self._backed_off = 0.0
        measured = max(now - attempt.sent, 0.0)
        self.smoothed = measured if self.smoothed is None else self.smoothed + (measured - self.smoothed) / 8.0

    def _jittered(self, interval: float) -> float:
        return interval * (1.0 + self._jitter * float(self._random.uniform(-1.0, 1.0)))


class RetryTimers(dict[str, RetryTimer]):
    """One `RetryTimer` per destination, all drawing their jitter from one generator. `least`: seconds before a first retry."""

    def __init__(self, random: np.random.Generator, least: float = 0.2) -> None:
        super().__init__()
        self._random, self._least = random, least

    def __missing__(self, dst: str) -> RetryTimer:
        timer = self[dst] = RetryTimer(self._random, least=self._least)
        return timer
