"""Link effects on the messages of one node, by the rules of the links and the fault schedule.

    links = FaultyLinks(schedule, seed, own)          # one in each process
    links.progress(time=..., step=..., episode=..., round=...)      # position in the run: rules are switched on and off by it
    outcome = links.link_outcome(dst, channel, kind, seq, size, now)           # for each message, in the order of sending

The driver executes the outcome: the transport delays messages in real time (`clock: wall`), the tick barrier of the agents converts
delays to ticks (`clock: logical`), the simulator to virtual time.

An outcome is a function of (seed; active rules; sender, receiver, channel, number) and, for correlated models, of the numbers of the
messages before it on that link; neither of time nor of other links. Only bandwidth depends on `now` and the sizes of messages.

Of each rule a message has eight draws of its own, so that no effect of a rule changes the draws of another: 0 loss, 1 change of the loss
model's state, 2 delay, 3 duplication, 4 reordering, 5 damage, 6 the place of the damage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from protocols.faults.fault_draws import KeyedDraws, Series
from protocols.faults.fault_schedule import LINK_KINDS, FaultSchedule, RunPosition, ScheduledEvent
from protocols.faults.fault_timeline import FaultChange, FaultTimeline
from protocols.faults.settings import Bandwidth, FaultEvent, LinkEffects, Loss


class Bernoulli:
    """Losses with correlation c: with probability c a message has the outcome of the one before it, else it is lost with probability p. So
    each is lost with probability p, and the outcomes of messages k apart have the correlation c^k."""

    __slots__ = ("_corr", "_last", "_p")

    def __init__(self, settings: Loss) -> None:
        self._p = settings.p or 0.0
        self._corr = settings.corr
        self._last: bool | None = None

    def lost(self, link_outcome: float, change: float) -> bool:
        """Whether the next message is lost, from two uniform draws."""
        if not self._corr:
            return link_outcome < self._p
        if self._last is None or change >= self._corr:
            self._last = link_outcome < self._p
        return self._last


class GilbertElliott:
    """A link with a good and a bad state: before each message it changes from good to bad with probability p_gb, from bad to good with
    p_bg, and loses the message with the probability of its state; it begins bad with probability p_gb / (p_gb + p_bg), its share of bad
    messages."""

    __slots__ = ("_bad", "_loss_bad", "_loss_good", "_to_bad", "_to_good")

    def __init__(self, settings: Loss) -> None:
        self._to_bad, self._to_good = settings.p_gb or 0.0, settings.p_bg or 0.0
        self._loss_good, self._loss_bad = settings.loss_good, settings.loss_bad
        self._bad: bool | None = None

    def lost(self, link_outcome: float, change: float) -> bool:
        """Whether the next message is lost, from two uniform draws."""
        if self._bad is None:
            total = self._to_bad + self._to_good
            self._bad = total > 0.0 and change < self._to_bad / total
        elif self._bad:
            self._bad = change >= self._to_good
        else:
            self._bad = change < self._to_bad
        return link_outcome < (self._loss_bad if self._bad else self._loss_good)


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
        self._delay = None if settings.delay is None else Series(settings.delay)
        self._loss: Bernoulli | GilbertElliott | None = None
        if settings.loss is not None:
            self._loss = Bernoulli(settings.loss) if settings.loss.model == "bernoulli" else GilbertElliott(settings.loss)
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


@dataclass(slots=True)
class PendingLinkOutcome:
    """The outcome of a message by the rules applied so far."""

    delay: float = 0.0
    gaps: list[float] = field(default_factory=list)
    lost: bool = False
    corrupt: str | None = None
    place: float = 0.0
    cause: str = ""
    queued: bool = False
    reordered: bool = False

    def lose(self, rule: str) -> None:
        """The message never arrives; the first rule that drops it is the cause."""
        if not self.lost:
            self.lost, self.cause = True, rule


class LinkOutcome(NamedTuple):
    """What becomes of one message."""

    copies: tuple[float, ...]
    """delay in seconds of each copy that arrives; none: the message is lost"""
    corrupt: str | None = None
    """what is damaged in all copies: payload, header, or truncate"""
    cause: str = ""
    """the rule or event by which it was lost or damaged"""
    place: float = 0.0
    """where in the message the damage is, from 0 to 1"""
    reordered: bool = False
    """held back so that later ones overtake it"""
    queued: bool = False
    """waited for the bytes before it"""


UNTOUCHED = LinkOutcome((0.0,))
"""no rule holds for the message"""
_Match = tuple[str, tuple[LinkRuleEffects, ...]]
"""id of the partition that cuts the link or "", and the rules that hold"""


class FaultyLinks:
    """The links of node `own` to all others. `epoch` distinguishes periods of a link in which numbers begin anew: the incarnation of the
    process, or the checkpoint from which all agents started; each has draws of its own. `begun`, `ended`, `late`: as in `FaultTimeline`."""

    def __init__(
        self,
        schedule: FaultSchedule,
        seed: int,
        own: str,
        epoch: int = 1,
        begun: Mapping[str, RunPosition] | None = None,
        ended: Sequence[str] = (),
        late: bool = False,
    ) -> None:
        self.own = own
        self._seed = seed
        self._epoch = epoch
        self._matches: dict[tuple[str, str, str], _Match] = {}
        self._effects: dict[tuple[str, str, str], LinkRuleEffects] = {}
        self._queues: dict[tuple[str, str], BandwidthQueue] = {}
        self._timeline = FaultTimeline(schedule, LINK_KINDS, begun=begun, ended=ended, late=late)
        self.unreported = self._switch(self._timeline.settle())
        """changes before the first call: the effects that hold from the start"""

    @property
    def active(self) -> list[str]:
        """Ids of the rules and partitions that hold now."""
        return [event.id for event in self._active]

    @property
    def reached(self) -> dict[str, float]:
        """The position in the run by the calls of `progress`, in the units in which it is known."""
        return {unit: value for unit, value in vars(self._timeline.reached).items() if unit not in self._timeline.unknown}

    def progress(
        self, time: float | None = None, step: float | None = None, episode: float | None = None, round: float | None = None
    ) -> list[FaultChange]:
        """The run has come so far. Rules are switched on and off by it; what has changed, in order."""
        changes = self._timeline.reach(time, step, episode, round)
        if self.unreported:
            changes = self.unreported + changes
            self.unreported = []
        return self._switch(changes) if changes else changes

    def begin(self, event: ScheduledEvent) -> list[FaultChange]:
        """Begin an event now that is not in the schedule. Returns the changes of state of links and faults that it causes."""
        return self._switch(self._timeline.begin(event))

    def end(self, fault: str) -> list[FaultChange]:
        """End one event permanently, by its id. Returns the changes that this causes; none for an unknown or ended event."""
        return self._switch(self._timeline.end(fault))

    def heal(self) -> list[FaultChange]:
        """End everything but the network's own properties permanently."""
        return self._switch(self._timeline.heal())

    def reset(self, epoch: int | None = None) -> None:
        """Begin anew on all links: empty queues, and no memory of earlier messages. With another `epoch`, with other draws."""
        self._epoch = self._epoch if epoch is None else epoch
        self._effects.clear()
        self._queues.clear()
        self._matches.clear()

    def link_outcome(self, dst: str, channel: str, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """Outcome of message number `seq` to `dst` over `channel`: `kind` is its tag, `size` its bytes, `now` a time in seconds."""
        found = self._matches.get((dst, channel, kind))
        if found is None:
            found = self._match(dst, channel, kind)
        severed, effects = found
        if severed:
            return LinkOutcome((), None, severed)
        if not effects:
            return UNTOUCHED
        link_outcome = PendingLinkOutcome()
        for effect in effects:
            effect.apply(seq, size, now, link_outcome)
        if link_outcome.lost:
            return LinkOutcome((), None, link_outcome.cause, 0.0, False, link_outcome.queued)
        delay = link_outcome.delay
        copies = (delay, *[delay + gap for gap in link_outcome.gaps]) if link_outcome.gaps else (delay,)
        return LinkOutcome(
            copies, link_outcome.corrupt, link_outcome.cause, link_outcome.place, link_outcome.reordered, link_outcome.queued
        )

    # --- which rules hold -------------------------------------------------------------------------------------------------------------

    def _switch(self, changes: list[FaultChange]) -> list[FaultChange]:
        self._active = tuple(self._timeline.active)
        self._matches.clear()
        return changes

    def _match(self, dst: str, channel: str, kind: str) -> _Match:
        severed = ""
        effects: list[LinkRuleEffects] = []
        for event in self._holding(dst, channel):
            if event.cut is not None:
                if not severed and event.cut.severs(self.own, dst, channel):  # type: ignore[arg-type]
                    severed = event.id
            elif event.link is not None and concerns(event.link, self.own, dst, channel, kind):
                found = self._effects_of(event.id, event.link, dst, channel)
                if not found.idle:
                    effects.append(found)
        match = self._matches[dst, channel, kind] = (severed, tuple(effects))
        return match

    def _holding(self, dst: str, channel: str) -> Sequence[ScheduledEvent]:
        """The events that hold on one link now."""
        return self._active

    def _effects_of(self, rule: str, link: LinkEffects, dst: str, channel: str) -> LinkRuleEffects:
        found = self._effects.get((rule, dst, channel))
        if found is None:
            queue = None
            if link.bandwidth is not None:
                queue = self._queues.setdefault((rule, dst), BandwidthQueue(link.bandwidth))
            draws = link_draws(self._seed, rule, self.own, dst, channel, self._epoch)
            found = self._effects[rule, dst, channel] = LinkRuleEffects(rule, link, draws, queue)
        return found


def link_draws(seed: int, rule: str, src: str, dst: str, channel: str, epoch: int = 1) -> KeyedDraws:
    """The draws of one rule for the messages from `src` to `dst`; `epoch` as in `FaultyLinks`."""
    return KeyedDraws(seed, rule, src, dst, channel, epoch)


def concerns(rule: LinkEffects, src: str, dst: str, channel: str, kind: str) -> bool:
    """Whether a rule holds for such messages from `src` to `dst`."""
    if channel not in rule.channels or (rule.types and kind not in rule.types):
        return False
    if _matches(src, rule.source) and _matches(dst, rule.to):
        return True
    return rule.symmetric and _matches(dst, rule.source) and _matches(src, rule.to)


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


class ReplayedLinks(FaultyLinks):
    """Links that repeat a recorded run: effects begin and end at the same messages of each link, independent of the clock.

    As `FaultyLinks`; `changes` are the lines of `link_trace.recorded_changes`. What was begun by hand there brings its event with it; other
    events that the schedule does not know are left out. What the network itself is like (`network.links`) is in no trace, and holds as it
    did: `progress` switches nothing else."""

    def __init__(self, schedule: FaultSchedule, seed: int, own: str, changes: Sequence[dict[str, Any]], epoch: int = 1) -> None:
        latest = max((float(line.get("time", 0.0)) for line in changes), default=0.0)
        events = {event.id: event for event in (*schedule.events, *schedule.random_events(latest + 1.0)) if event.kind in LINK_KINDS}
        for line in changes:
            if "event" in line and line["id"] not in events:
                events[line["id"]] = schedule.compiled(FaultEvent.model_validate(line["event"]))
        self._changes = [(line, events[line["id"]]) for line in changes if line["id"] in events]
        self._scripts: dict[tuple[str, str], deque[tuple[int, str, ScheduledEvent]]] = {}
        """for each link (number of the last message before it, on or off, event), in the order of the recording"""
        self._held: dict[tuple[str, str], dict[str, ScheduledEvent]] = {}
        super().__init__(FaultSchedule(tuple(event for event in schedule.events if event.lasting)), seed, own, epoch)

    def link_outcome(self, dst: str, channel: str, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """As `FaultyLinks.link_outcome`, after what took effect between the message before and this one."""
        link = (dst, channel)
        script = self._scripts.get(link)
        if script is None:
            name = f"{channel} {dst}"
            lines = ((int(line.get("seqs", {}).get(name, 0)), str(line["what"]), event) for line, event in self._changes)
            script, self._held[link] = self._scripts.setdefault(link, deque(lines)), {}
        if script and script[0][0] < seq:
            while script and script[0][0] < seq:
                _, what, event = script.popleft()
                if what == "on":
                    self._held[link][event.id] = event
                else:
                    self._held[link].pop(event.id, None)
            for match in [match for match in self._matches if match[:2] == link]:
                del self._matches[match]
        return super().link_outcome(dst, channel, kind, seq, size, now)

    def _holding(self, dst: str, channel: str) -> Sequence[ScheduledEvent]:
        return [*self._active, *self._held.get((dst, channel), {}).values()]
