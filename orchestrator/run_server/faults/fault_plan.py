"""The faults of a run as the run server has them: the schedule, those drawn as it goes on, those requested by hand; their state after an
interruption; who stands still by them; and the view of them in status snapshots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

from orchestrator.config.configuration import Configuration
from orchestrator.results.run_files import read_lines
from protocols.faults.fault_schedule import LINK_KINDS, UNITS, RunMoment, RunPosition, ScheduledEvent
from protocols.faults.link_effects.run_links import ManualLinkFault
from protocols.faults.node_faults.fault_log import FILE, read
from protocols.faults.node_faults.scheduled_faults import LETHAL, MOMENTARY, ScheduledFault, schedule_of, scheduled_fault_of
from protocols.faults.settings import FaultEvent
from protocols.runtime.node_start import RUN_SERVER

BY_HAND = "by-hand-"
"""with a number: the id of a fault that was asked for by hand"""


@dataclass
class RunFault:
    """One fault of the schedule, or one that was asked for by hand; `node_fault` is None where links do it."""

    id: str
    kind: str
    targets: tuple[str, ...]
    start: RunMoment
    lasts: RunMoment | None
    node_fault: ScheduledFault | None = None
    stop: RunMoment | None = None
    """where it ends, whenever it began"""
    asked: FaultEvent | None = None
    """for a fault by hand, what was asked for"""
    begun: bool = False
    since: RunPosition = field(default_factory=RunPosition)
    until: RunMoment | None = None
    ended: bool = False

    def text(self) -> str:
        """`crash: process.kill agent-3`."""
        return f"{self.id}: {self.kind} {', '.join(self.targets)}".rstrip()

    def order(self) -> str:
        """The order that nodes receive; empty where their links follow the schedule by themselves."""
        if self.node_fault is not None:
            return self.node_fault.to_json()
        return ManualLinkFault(self.asked, self.since).to_json() if self.asked is not None else ""

    def end_of(self, since: RunPosition) -> RunMoment | None:
        """Where it ends, having begun when the run was so far; None: when it is healed. In the unit of the beginning a length counts from
        the place that was asked for, not from where it was noticed."""
        if self.lasts is None:
            return self.stop
        unit = self.lasts.unit
        began = self.start.value if unit == self.start.unit and isfinite(self.start.value) else since.of(unit)
        return RunMoment(unit, began + self.lasts.value)

    def concerns(self, node: str) -> bool:
        """Whether the order is for that node: every node has links."""
        return self.node_fault is None or node in self.targets


@dataclass(frozen=True)
class FaultPlan:
    """The faults of a run; by unit, from where on nothing is broken any more; and those that are drawn as it goes on."""

    entries: tuple[RunFault, ...] = ()
    heal: Mapping[str, float] = field(default_factory=dict)
    drawn: Iterator[RunFault] = field(default_factory=lambda: iter(()))


def make_plan(configuration: Configuration) -> FaultPlan:
    """The plan of a run. With `mode: replay`, what was asked for by hand in the run that is repeated comes again, at the times at which it
    came there; what the links did, their nodes repeat by themselves."""
    settings = configuration.faults
    if settings is None:
        return FaultPlan()
    schedule = schedule_of(settings, configuration.agent_names(), configuration.until.model_dump())
    entries = [entry(event) for event in schedule.events]
    if settings.mode == "replay" and settings.trace is not None:
        for event in asked_for(Path(settings.trace)):
            compiled = schedule.compiled(event)
            # A fault of the links needs no order.
            entries.append(entry(compiled if compiled.node_fault is not None else replace(compiled, asked=None)))
    return FaultPlan(tuple(entries), schedule.heal, map(entry, schedule.nemesis()))


def entry(event: ScheduledEvent) -> RunFault:
    """An event that has not begun."""
    node_fault = scheduled_fault_of(event)
    kind = event.kind if node_fault is None else node_fault.kind
    targets = event.targets if event.cut is None else (event.cut.text(),)
    return RunFault(event.id, kind, targets, event.start, event.length, node_fault, stop=event.stop, asked=event.asked)


def asked_for(run: Path) -> list[FaultEvent]:
    """The faults that were asked for by hand in a run so far, in order, as its run server has noted them."""
    lines = read_lines(run / "nodes" / RUN_SERVER / FILE)
    return [FaultEvent.model_validate(line["event"]) for line in lines if line.get("what") == "asked"]


def free_id(taken: set[str]) -> str:
    """The first id of a fault by hand that nothing has."""
    return next(name for number in count(1) if (name := f"{BY_HAND}{number}") not in taken)


SUSPENDING = ("process.pause", "process.hang")
"""kinds of a process that stands still"""


_AGAIN = (0.0, 0.5, 1.0)
"""seconds after which SIGCONT is sent (again): it does no harm"""


@dataclass(frozen=True)
class PausedNode:
    """One fault by which a process stands still, or hangs, until `until`."""

    node: str
    incarnation: int
    fault: str
    kind: str
    until: RunMoment | None


class PausedNodes:
    """A process goes on when the last of the faults that hold it is over. `signal(node, incarnation, what)` sends `stop` or `cont`."""

    def __init__(self, signal: Callable[[str, int, Literal["stop", "cont"]], None]) -> None:
        self._signal = signal
        self._held: dict[tuple[str, str], PausedNode] = {}
        self._continue: list[tuple[float, str, int]] = []

    @property
    def held(self) -> list[PausedNode]:
        """What holds nodes now, in the order in which it began."""
        return list(self._held.values())

    def of(self, node: str) -> list[PausedNode]:
        """The faults that hold `node` at present."""
        return [stopped for stopped in self._held.values() if stopped.node == node]

    def note(self, stopped: PausedNode) -> None:
        """Record that a fault has paused a process; pending repetitions of `cont` for this node are dropped."""
        self._held[stopped.node, stopped.fault] = stopped
        self._continue = [item for item in self._continue if item[1] != stopped.node]

    def stop(self, stopped: PausedNode) -> None:
        """Pause a process: record the fault and send the signal `stop`."""
        self.note(stopped)
        self._signal(stopped.node, stopped.incarnation, "stop")

    def forget(self, node: str, fault: str | None = None) -> list[PausedNode]:
        """That node's process is gone, or has gone on by itself after that fault; what held it."""
        gone = [stopped for stopped in self.of(node) if fault in (None, stopped.fault)]
        for stopped in gone:
            del self._held[node, stopped.fault]
        return gone

    def release(self, stopped: PausedNode, now: float) -> None:
        """End one fault: the process is continued by repeated signals, unless another fault holds it. `KeyError` for an unknown fault."""
        del self._held[stopped.node, stopped.fault]
        if not self.of(stopped.node):
            self._continue += [(now + again, stopped.node, stopped.incarnation) for again in _AGAIN]

    def tick(self, now: float) -> None:
        """Send the signals `cont` that are due at `now`, in seconds."""
        for item in [item for item in self._continue if item[0] <= now]:
            self._continue.remove(item)
            self._signal(item[1], item[2], "cont")

    def resume_all(self) -> None:
        """The run ends: send at once what would be due later."""
        for _, node, incarnation in self._continue:
            self._signal(node, incarnation, "cont")


@dataclass
class FaultHistory:
    """The logs of the run's former segments. Nodes by name; for what links do, the run server."""

    begun: dict[str, RunPosition] = field(default_factory=dict)
    """by fault, how far the run was, as far as its log has it"""
    unfinished: dict[tuple[str, str], str] = field(default_factory=dict)
    """(fault, node) to its kind, where it has begun and not ended"""
    ended: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """by fault, the nodes that it has let go"""
    asked: set[str] = field(default_factory=set)
    """faults that were asked for by hand"""
    deaths: dict[tuple[str, int], str] = field(default_factory=dict)
    """(node, incarnation) to the fault that has ended its process"""
    offsets: dict[str, int] = field(default_factory=dict)
    """by node, how far its log was read"""

    def settle(self, entry: RunFault, before: RunPosition, timed: bool) -> None:
        """Bring an entry to where it was when the run had come as far as `before`. `timed`: it is begun by its time, by the run server."""
        since = self.begun.get(entry.id)
        if since is None:
            if timed and before.past(entry.start):
                entry.begun = entry.ended = True  # no target was there
            return
        entry.begun, entry.since = True, since
        until = entry.end_of(since)
        # Of a unit that its node did not know when it began nothing follows here: the node ends it by itself.
        if until is None or until.unit == entry.start.unit or since.of(until.unit) >= 0.0:
            entry.until = until
        targets = {RUN_SERVER} if entry.node_fault is None else set(entry.targets)
        past = entry.until is not None and before.past(entry.until)
        entry.ended = entry.kind in MOMENTARY or past or self.ended[entry.id] >= targets

    def left(self, alone: Collection[str]) -> list[tuple[str, str, str]]:
        """(fault, node, kind) of what ended with the processes: they stood still, or the fault is one of `alone`, which no process goes
        on with by itself."""
        return [
            (fault, node, kind)
            for (fault, node), kind in self.unfinished.items()
            if kind in SUSPENDING or (fault in alone and kind not in LETHAL)
        ]


def remember(directory: Path, nodes: Iterable[str]) -> FaultHistory:
    """Read the logs of the run server and of these nodes."""
    memory = FaultHistory()
    for log in (RUN_SERVER, *nodes):
        for line in read(directory / "nodes" / log / FILE):
            memory.offsets[log] = int(line["_end"])
            fault, what, kind = str(line.get("id")), line.get("what"), str(line.get("kind"))
            node = RUN_SERVER if kind in LINK_KINDS else str(line.get("target") or log)
            if kind in LINK_KINDS and log != RUN_SERVER:
                continue  # every node logs it, and the run server too
            if what == "asked":
                memory.asked.add(fault)
            elif what == "begin":
                memory.begun.setdefault(fault, RunPosition(**{unit: float(line.get(unit, -1.0)) for unit in UNITS}))
                memory.unfinished[fault, node] = kind
                if kind in LETHAL:
                    memory.deaths[node, int(line.get("process") or line.get("incarnation") or 0)] = fault
            elif what == "end":
                memory.unfinished.pop((fault, node), None)
                memory.ended[fault].add(node)
    return memory


def lasting(
    entries: Sequence[RunFault], held: Iterable[PausedNode], away: Mapping[str, tuple[str, RunMoment | None]]
) -> list[dict[str, Any]]:
    """What lasts now, by hand or by the schedule: id, kind, targets, `since` (how far the run was), where it will end (`until`, if that
    is known), and whether it is `by_hand`. `held`: processes that stand still; `away`: by node, the fault by which it is away, and where
    in the run it comes back."""
    begun = {entry.id: entry for entry in entries if entry.begun and not entry.ended}
    found = [(entry, entry.targets, entry.until) for entry in begun.values()]
    ids = {entry.id: entry for entry in entries}
    found += [(ids[one.fault], (one.node,), one.until) for one in held if one.fault in ids and one.fault not in begun]
    found += [(ids[fault], (node,), back) for node, (fault, back) in away.items() if fault in ids]
    return [
        {
            "id": entry.id,
            "kind": entry.kind,
            "targets": list(targets),
            "since": vars(entry.since),
            "until": None if until is None else vars(until),
            "by_hand": entry.asked is not None,
        }
        for entry, targets, until in found
    ]


def active(entries: Iterable[RunFault], held: Iterable[PausedNode]) -> list[str]:
    """`slow: straggler.update agent-1`, for people."""
    words = [entry.text() for entry in entries if entry.begun and not entry.ended]
    return words + [f"{stopped.fault}: {stopped.kind} {stopped.node}" for stopped in held]


def following(coming: Iterable[RunFault], reached: RunPosition) -> str:
    """The next of those that have not begun: `split: partition agent-0 | agent-1 at episode 1500`; empty without any."""
    first = min(coming, key=lambda entry: _seconds_to(entry.start, reached), default=None)
    return "" if first is None else f"{first.text()} at {first.start.unit} {first.start.value:g}"


def _seconds_to(start: RunMoment, reached: RunPosition) -> float:
    """By the pace so far."""
    if start.unit == "time":
        return start.value - reached.time
    done = reached.of(start.unit)
    return (start.value - done) * reached.time / done if done > 0 else inf
