"""What one rule does to the messages of one sender to one receiver over one channel.

Each message has eight draws of its own, so that no effect of a rule changes the draws of another: 0 loss, 1 change of the loss model's
state, 2 delay, 3 duplication, 4 reordering, 5 damage, 6 the place of the damage.
"""

from __future__ import annotations

from functools import cache

from protocols.faults.link_effects.loss_models import losses
from protocols.faults.schedule.keyed_draws import KeyedDraws
from protocols.faults.schedule.random_durations import Quantile, Series, quantile
from protocols.faults.settings import Bandwidth, Distribution, LinkEffects

shared_quantile = cache(quantile)
"""one function for all links of a rule"""


class BandwidthQueue:
    """A link that takes time for each byte, with what waits for it: message by message, in the order of sending."""

    __slots__ = ("_free_at", "_limit", "_rate")

    def __init__(self, settings: Bandwidth) -> None:
        self._rate = settings.rate / 8.0
        self._limit = settings.queue
        self._free_at = 0.0

    def send(self, size: int, now: float) -> tuple[float, bool]:
        """Seconds until the last byte of a message that is sent now has left (negative: the queue is full and it is lost), and whether
        it had to wait for others."""
        waits = max(0.0, self._free_at - now)
        if waits * self._rate + size > self._limit and waits > 0.0:
            return -1.0, True
        self._free_at = now + waits + size / self._rate
        return waits + size / self._rate, waits > 0.0


class LinkRuleEffects:
    """One rule on one link, with the state of its correlated models. `outcome` fields of `apply` are those of `LinkOutcome`."""

    __slots__ = ("_corrupt", "_delay", "_draws", "_duplicate", "_loss", "_queue", "_reorder", "id", "idle")

    def __init__(self, rule: str, settings: LinkEffects, draws: KeyedDraws, queue: BandwidthQueue | None) -> None:
        self.id = rule
        self._draws = draws
        self._queue = queue
        self._delay = None if settings.delay is None else Series(settings.delay, _shared(settings.delay))
        self._loss = None if settings.loss is None else losses(settings.loss)
        self._duplicate, self._reorder, self._corrupt = settings.duplicate, settings.reorder, settings.corrupt
        self.idle = all(part is None for part in (self._delay, self._loss, self._duplicate, self._reorder, self._corrupt, queue))

    def apply(self, seq: int, size: int, now: float, link_outcome: PendingLinkOutcome) -> None:
        """Add what this rule does to message `seq`."""
        lost, change, delay, duplicate, reorder, corrupt, place, _ = self._draws.eight(seq)
        if self._queue is not None:
            left, waited = self._queue.send(size, now)
            if left < 0.0:
                link_outcome.lose(self.id)
            else:
                link_outcome.delay += left
                link_outcome.queued = link_outcome.queued or waited
        if self._loss is not None and self._loss.lost(lost, change):
            link_outcome.lose(self.id)
        if self._delay is not None:
            link_outcome.delay += self._delay.value(delay)
        if self._duplicate is not None and duplicate < self._duplicate.p:
            link_outcome.gaps.append(self._duplicate.gap)
        if self._reorder is not None and reorder < self._reorder.p:
            link_outcome.delay += self._reorder.hold
            link_outcome.reordered = True
        if self._corrupt is not None and corrupt < self._corrupt.p and link_outcome.corrupt is None:
            link_outcome.corrupt, link_outcome.place = self._corrupt.what, place
            link_outcome.cause = link_outcome.cause or self.id


class PendingLinkOutcome:
    """The outcome of a message by the rules applied so far."""

    __slots__ = ("cause", "corrupt", "delay", "gaps", "lost", "place", "queued", "reordered")

    def __init__(self) -> None:
        self.delay = 0.0
        self.gaps: list[float] = []
        self.lost = False
        self.corrupt: str | None = None
        self.place = 0.0
        self.cause = ""
        self.queued = False
        self.reordered = False

    def lose(self, rule: str) -> None:
        """The message never arrives; the first rule that drops it is the cause."""
        if not self.lost:
            self.lost, self.cause = True, rule


def _shared(settings: Distribution) -> Quantile:
    return shared_quantile(settings)
