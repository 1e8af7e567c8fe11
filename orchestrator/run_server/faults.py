"""The run server's part in faults: what is due by time, what the nodes say they have done to themselves, and that it all ends again.

Deeds that are due by step, episode or round are done by their nodes, at exactly that point. Those that are due by time, and those that a
person asks for, are begun here: deaths and pauses by signals through the hosts, everything else by an order to the node. Whatever a node
does to itself it writes into its own log first, which is read here: so the end of a pause, the return of who was killed, and the events
of the run need no message from a process that can't speak any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Literal

from orchestrator.config import Configuration
from orchestrator.run_server.nodes import Nodes
from orchestrator.run_server.rendezvous import Commands
from orchestrator.run_server.snapshot import RunView
from orchestrator.run_server.supervision import NEVER_RESTARTED, Decision
from protocols.faults.deed import LETHAL, Deed
from protocols.faults.deeds import deed_of, schedule_of
from protocols.faults.log import FILE, FaultLog, read
from protocols.faults.moments import Moment, Reached, moment
from protocols.faults.schedule import LINK_KINDS, Event
from protocols.faults.settings import Membership, Process
from protocols.membership import State

logger = logging.getLogger(__name__)
_LOOK = 0.2
"""seconds between two looks into the nodes' logs"""
_AGAIN = (0.0, 0.5, 1.0)
"""seconds after which SIGCONT is sent (again): it does no harm"""


@dataclass
class Entry:
    """One fault of the schedule, or one that was asked for by hand; `deed` is None where links do it."""

    id: str
    kind: str
    targets: tuple[str, ...]
    start: Moment
    lasts: Moment | None
    deed: Deed | None = None
    stop: Moment | None = None
    """where it ends, whenever it began"""
    begun: bool = False
    until: Moment | None = None
    ended: bool = False

    def text(self) -> str:
        """`crash: process.kill agent-3`."""
        return f"{self.id}: {self.kind} {', '.join(self.targets)}".rstrip()


@dataclass(frozen=True)
class Plan:
    """The faults of a run; by unit, from where on nothing is broken any more; and those that are drawn as it goes on."""

    entries: tuple[Entry, ...] = ()
    heal: Mapping[str, float] = field(default_factory=dict)
    drawn: Iterator[Entry] = field(default_factory=lambda: iter(()))


@dataclass
class _Stopped:
    """A process that stands still by a signal, or hangs, until `until`."""

    incarnation: int
    fault: str
    kind: str
    until: Moment | None


class FaultScheduler:
    """See the module."""

    def __init__(self, view: RunView, nodes: Nodes, commands: Commands, plan: Plan = Plan()) -> None:
        self.entries = list(plan.entries)
        self._view = view
        self._looks_on = view.configuration.clock == "logical"
        """nodes do everything themselves, at ticks"""
        self._nodes = nodes
        self._commands = commands
        self._heal_from = dict(plan.heal)
        self._drawn = plan.drawn
        self._next_drawn = next(self._drawn, None)
        self._healed = False
        self._log = FaultLog(view.files.directory / "nodes" / "run", "run", int(view.files.state.get("segment") or 1))
        self._offsets: dict[str, int] = {}
        self._look_due = 0.0
        self._stopped: dict[str, _Stopped] = {}
        self._continue: list[tuple[float, str, int]] = []
        self._deaths: dict[tuple[str, int], str] = {}
        """(node, incarnation) to the id of the fault that ends it"""
        self._returns: dict[str, Moment] = {}
        """nodes that are away to where in the run they come back"""

    # --- every turn ---------------------------------------------------------------------------------------------------------------

    def tick(self, now: float, training: bool) -> None:
        """Let happen what is due; `training` is over when no fault may last any longer."""
        reached = self._reached(now)
        if now >= self._look_due:
            self._look_due = now + _LOOK
            self._read_logs(reached)
        if self._looks_on:
            self._view.faults = self._snapshot(reached)
            return
        if training and not self._healed:
            if any(reached.of(unit) >= value for unit, value in self._heal_from.items()):
                self.heal(now)
            while self._next_drawn is not None and self._next_drawn.start.value <= reached.time and not self._healed:
                self.entries.append(self._next_drawn)
                self._next_drawn = next(self._drawn, None)
            for entry in self.entries:
                if not entry.begun and self._ours(entry) and self._past(entry.start, reached):
                    self.begin(entry, now)
        elif not training and not self._healed and reached.time > 0:
            self.heal(now)
        for entry in self.entries:
            if entry.begun and not entry.ended and entry.until is not None and self._past(entry.until, reached):
                self._end(entry, now)
        for node, stopped in list(self._stopped.items()):
            if stopped.until is not None and self._past(stopped.until, reached):
                self._release(node, now)
        for node, back in list(self._returns.items()):
            if self._past(back, reached):
                del self._returns[node]
                self._view.supervisor.bring_back(node, now)
        for due, node, incarnation in [item for item in self._continue if item[0] <= now]:
            self._continue.remove((due, node, incarnation))
            self._nodes.signal(node, incarnation, "cont")
        self._view.faults = self._snapshot(reached)

    def begin(self, entry: Entry, now: float) -> None:
        """Begin a fault now."""
        if entry not in self.entries:
            self.entries.append(entry)
        reached = self._reached(now)
        entry.begun = True
        entry.until = self._end_of(entry, reached)
        if entry.deed is None:
            self._note("begin", entry.id, entry.kind, ", ".join(entry.targets) or "links", reached)
            return
        momentary = True
        for target in entry.targets:
            momentary &= self._afflict(entry, entry.deed, target, reached, now)
        entry.ended = momentary

    def heal(self, now: float, fault: str = "*") -> None:
        """End one fault, or all; what has not begun never will where all are healed."""
        if fault == "*":
            self._healed = True
        for entry in self.entries:
            if fault in ("*", entry.id):
                if entry.begun and not entry.ended:
                    self._end(entry, now)
                entry.begun = entry.ended = True
        for node in [node for node, stopped in self._stopped.items() if fault in ("*", stopped.fault)]:
            self._release(node, now)
        if fault == "*":
            for node in self._returns:
                self._view.supervisor.bring_back(node, now)
            self._returns.clear()
        for member in self._view.membership.members.values():
            if member.state.living and member.state != State.JOINING:
                self._commands.give(member.name, member.incarnation, "heal", now, fault)

    def release_all(self, now: float) -> None:
        """The run ends: whoever stands still must hear of it."""
        for node in list(self._stopped):
            self._release(node, now)
        for _, node, incarnation in self._continue:
            self._nodes.signal(node, incarnation, "cont")

    def alive(self, node: str, incarnation: int, now: float) -> None:
        """A node is (back) in the run: it gets the orders that still hold."""
        for entry in self.entries if not self._looks_on else ():
            if entry.deed is not None and entry.begun and not entry.ended and self._ours(entry) and node in entry.targets:
                self._commands.give(node, incarnation, "fault", now, entry.deed.to_json())

    def fate(self, node: str, incarnation: int, code: int, now: float) -> Decision | None:
        """What becomes of a process that ended; None where no fault says anything about it."""
        self._stopped.pop(node, None)
        self._read_log(node, self._reached(now))
        fault = self._deaths.pop((node, incarnation), None)
        if fault is None and self._looks_on:  # lives are counted otherwise there
            fault = next((self._deaths.pop(death) for death in list(self._deaths) if death[0] == node), None)
        entry = next((entry for entry in self.entries if entry.id == fault), None)
        what = entry.deed.what if entry is not None and entry.deed is not None else None
        supervisor = self._view.supervisor
        if self._looks_on:
            return self._replace(node, what, now)
        if isinstance(what, Process) and what.restart_after is not None:
            return supervisor.planned(node, what.restart_after, now)
        if isinstance(what, Membership) and what.return_after is not None and code == 0:
            away = moment(what.return_after)
            if self._healed:
                return supervisor.planned(node, 0.0, now)
            if away.unit == "time":
                return supervisor.planned(node, away.value, now)
            self._returns[node] = Moment(away.unit, self._reached(now).of(away.unit) + away.value)
            return supervisor.planned(node, None, now)
        return None

    def _replace(self, node: str, what: object, now: float) -> Decision | None:
        """Under the logical clock an agent is back at the tick that the schedule says: the others wait for its process."""
        if (isinstance(what, Process) and not (what.action == "exit" and what.code in NEVER_RESTARTED)) or (
            isinstance(what, Membership) and what.return_after is not None
        ):
            return self._view.supervisor.planned(node, 0.0, now)
        return None

    # --- what is done -------------------------------------------------------------------------------------------------------------

    def _afflict(self, entry: Entry, deed: Deed, node: str, reached: Reached, now: float) -> bool:
        """Do it to one node; whether it needs no end."""
        process = self._nodes.processes.get(node)
        if process is None or process.ended:
            self._event("warning", "fault.void", f"{entry.text()} finds nobody: {node} is not there", node, entry.id, entry.kind)
            return True
        incarnation, what = process.start.incarnation, deed.what
        if isinstance(what, Process) and what.action in ("kill", "term", "pause"):
            self._note("begin", entry.id, entry.kind, node, reached)
            if what.action == "pause":
                self._stopped[node] = _Stopped(incarnation, entry.id, entry.kind, entry.until)
                self._nodes.signal(node, incarnation, "stop")
            else:
                self._deaths[node, incarnation] = entry.id
                self._nodes.signal(node, incarnation, "kill" if what.action == "kill" else "term")
            return True
        self._commands.give(node, incarnation, "fault", now, deed.to_json())
        return isinstance(what, Process | Membership)

    def _end(self, entry: Entry, now: float) -> None:
        entry.ended = True
        if entry.deed is None:
            self._note("end", entry.id, entry.kind, ", ".join(entry.targets) or "links", self._reached(now))
            return
        for node in entry.targets:
            member = self._view.membership.members.get(node)
            if member is not None and member.state.living and member.state != State.JOINING:
                self._commands.give(node, member.incarnation, "heal", now, entry.id)

    def _end_of(self, entry: Entry, reached: Reached) -> Moment | None:
        """In the unit of the beginning a length counts from the place that was asked for, not from where it was noticed."""
        if entry.lasts is None:
            return entry.stop
        unit = entry.lasts.unit
        began = entry.start.value if unit == entry.start.unit and isfinite(entry.start.value) else reached.of(unit)
        return Moment(unit, began + entry.lasts.value)

    def _release(self, node: str, now: float) -> None:
        stopped = self._stopped.pop(node)
        self._continue += [(now + again, node, stopped.incarnation) for again in _AGAIN]
        if stopped.fault not in self._log.begun:
            return  # the node began it itself, and will say that it is over
        self._note("end", stopped.fault, stopped.kind, node, self._reached(now))

    # --- what nodes say -----------------------------------------------------------------------------------------------------------

    def _read_logs(self, reached: Reached) -> None:
        for node in self._nodes.processes:
            self._read_log(node, reached)

    def _read_log(self, node: str, reached: Reached) -> None:
        for line in read(self._view.files.directory / "nodes" / node / FILE, self._offsets.get(node, 0)):
            self._offsets[node] = int(line.pop("_end"))
            if line.get("what") in ("begin", "end"):
                self._heard(node, line, reached)

    def _heard(self, node: str, line: Mapping[str, Any], reached: Reached) -> None:
        """A node has begun or ended something by itself."""
        fault, kind, incarnation = str(line.get("id")), str(line.get("kind")), int(line.get("incarnation") or 0)
        begins = line["what"] == "begin"
        if kind in LINK_KINDS:
            return  # every node says so, and the run server too
        text = f"fault {fault} {'begins' if begins else 'ends'}: {kind} at {node}"
        self._event("warning" if begins else "info", f"fault.{line['what']}", text, node, fault, kind)
        entry = next((entry for entry in self.entries if entry.id == fault), None)
        if begins and entry is not None:
            entry.begun = True
        if not begins:
            return
        if kind in LETHAL:
            self._deaths[node, incarnation] = fault
        elif kind in ("process.pause", "process.hang"):
            until = None if entry is None else self._end_of(entry, reached)
            self._stopped[node] = _Stopped(incarnation, fault, kind, until)

    # --- words --------------------------------------------------------------------------------------------------------------------

    def _note(self, what: Literal["begin", "end"], fault: str, kind: str, node: str, reached: Reached) -> None:
        """Into the run server's own log, and the events."""
        self._log.write(what, fault, kind, target=node, **vars(reached))
        text = f"fault {fault} {'begins' if what == 'begin' else 'ends'}: {kind} at {node}"
        self._event(
            "warning" if what == "begin" else "info", f"fault.{what}", text, node if node in self._nodes.processes else "run", fault, kind
        )

    def _event(self, severity: str, code: str, text: str, node: str, fault: str, kind: str) -> None:
        logger.info("%s: %s", code, text)
        self._view.events.record(severity, code, text, node, fields={"fault": fault, "kind": kind})

    def _snapshot(self, reached: Reached) -> dict[str, Any]:
        active = [entry.text() for entry in self.entries if entry.begun and not entry.ended]
        active += [f"{stopped.fault}: {stopped.kind} {node}" for node, stopped in self._stopped.items()]
        coming = [entry for entry in [*self.entries, self._next_drawn] if entry is not None and not entry.begun]
        following = min(coming, key=lambda entry: self._seconds_to(entry.start, reached), default=None) if not self._healed else None
        words = "" if following is None else f"{following.text()} at {following.start.unit} {following.start.value:g}"
        return {"active": active, "next": words}

    def _seconds_to(self, start: Moment, reached: Reached) -> float:
        """By the pace so far."""
        if start.unit == "time":
            return start.value - reached.time
        done = reached.of(start.unit)
        return (start.value - done) * reached.time / done if done > 0 else inf

    # --- where the run is -----------------------------------------------------------------------------------------------------------

    def _ours(self, entry: Entry) -> bool:
        """Whether nobody else begins it: due by time, or (for the record only) an affair of the links."""
        return entry.start.unit == "time" or entry.deed is None

    def _past(self, moment: Moment, reached: Reached) -> bool:
        return reached.of(moment.unit) >= moment.value

    def _reached(self, now: float) -> Reached:
        progress = self._view.progress
        return Reached(progress.seconds(now), progress.steps, progress.episodes, max(self._view.rounds.values(), default=-1))


def make_plan(configuration: Configuration) -> Plan:
    """The plan of a run."""
    settings = configuration.faults
    if settings is None:
        return Plan()
    schedule = schedule_of(settings, configuration.agent_names(), configuration.until.model_dump())
    return Plan(tuple(map(entry, schedule.events)), schedule.heal, map(entry, schedule.nemesis()))


def entry(event: Event) -> Entry:
    """An event that has not begun."""
    deed = deed_of(event)
    kind = event.kind if deed is None else deed.kind
    targets = event.targets if event.cut is None else (event.cut.text(),)
    return Entry(event.id, kind, targets, event.start, event.length, deed, stop=event.stop)
