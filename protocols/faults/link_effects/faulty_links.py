"""Link effects on the messages of one node, by the rules of the links and the fault schedule.

    links = Links(schedule, seed, own)          # one in each process
    links.progress(time=..., step=..., episode=..., round=...)      # position in the run: rules are switched on and off by it
    outcome = links.link_outcome(dst, channel, kind, seq, size, now)           # for each message, in the order of sending

The driver executes the outcome: the transport delays messages in real time (`clock: wall`), the tick barrier of the agents converts
delays to ticks (`clock: logical`), the simulator to virtual time.

An outcome is a function of (seed; active rules; sender, receiver, channel, number) and, for correlated models, of the numbers of the
messages before it on that link; neither of time nor of other links. Only bandwidth depends on `now` and the sizes of messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from protocols.faults.link_effects.link_rule_effects import BandwidthQueue, LinkRuleEffects, PendingLinkOutcome
from protocols.faults.schedule.fault_schedule import LINK_KINDS, FaultSchedule, ScheduledEvent
from protocols.faults.schedule.fault_timeline import FaultChange, FaultTimeline
from protocols.faults.schedule.keyed_draws import KeyedDraws
from protocols.faults.schedule.run_moments import RunPosition
from protocols.faults.settings import LinkEffects


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
        self._active: tuple[ScheduledEvent, ...] = ()
        self._timeline = FaultTimeline(schedule, LINK_KINDS, begun=begun, ended=ended, late=late)
        self.unreported: list[FaultChange] = self._timeline.settle()
        """changes before the first call: the effects that hold from the start"""
        self._switch()

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
        if changes:
            self._switch()
        return changes

    def begin(self, event: ScheduledEvent) -> list[FaultChange]:
        """Begin an event now that is not in the schedule. Returns the changes of state of links and faults that it causes."""
        changes = self._timeline.begin(event)
        self._switch()
        return changes

    def end(self, fault: str) -> list[FaultChange]:
        """End one event permanently, by its id. Returns the changes that this causes; none for an unknown or ended event."""
        changes = self._timeline.end(fault)
        self._switch()
        return changes

    def heal(self) -> list[FaultChange]:
        """End everything but the network's own properties permanently."""
        changes = self._timeline.heal()
        self._switch()
        return changes

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

    def _switch(self) -> None:
        self._active = tuple(self._timeline.active)
        self._matches.clear()

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
            draws = KeyedDraws(self._seed, rule, self.own, dst, channel, self._epoch)
            found = self._effects[rule, dst, channel] = LinkRuleEffects(rule, link, draws, queue)
        return found


def concerns(rule: LinkEffects, src: str, dst: str, channel: str, kind: str) -> bool:
    """Whether a rule holds for such messages from `src` to `dst`."""
    if channel not in rule.channels or (rule.types and kind not in rule.types):
        return False
    if _matches(src, rule.source) and _matches(dst, rule.to):
        return True
    return rule.symmetric and _matches(dst, rule.source) and _matches(src, rule.to)


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
