"""The run server's part in faults: what is due by time, what the nodes say they have done to themselves, and that it all ends again.

Deeds that are due by step, episode or round are done by their nodes, at exactly that point. Those that are due by time, and those that a
person asks for, are begun here: deaths and pauses by signals through the hosts, everything else by an order to the node. Whatever a node
does to itself it writes into its own log first, which is read here: so the end of a pause, the return of who was killed, and the events
of the run need no message from a process that can't speak any more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any, Literal

from orchestrator.run_server.fault_plan import Entry, Plan, free_id
from orchestrator.run_server.nodes import Nodes
from orchestrator.run_server.rendezvous import Commands
from orchestrator.run_server.snapshot import RunView
from orchestrator.run_server.supervision import Decision
from protocols.errors import NEVER_RESTARTED
from protocols.faults.deed import LETHAL, MOMENTARY, Deed
from protocols.faults.log import FILE, FaultLog, read
from protocols.faults.moments import Moment, Reached, moment
from protocols.faults.schedule import LINK_KINDS
from protocols.faults.settings import Membership, Process
from protocols.membership import Member, State

logger = logging.getLogger(__name__)
_LOOK = 0.2
"""seconds between two looks into the nodes' logs"""
_AGAIN = (0.0, 0.5, 1.0)
"""seconds after which SIGCONT is sent (again): it does no harm"""


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
        """nothing of the schedule begins any more"""
        self.closed = ""
        """why no fault may last any longer, by hand or not; empty before"""
        self._log = FaultLog(view.files.directory / "nodes" / "run", "run", int(view.files.state.get("segment") or 1))
        self._offsets: dict[str, int] = {}
        self._look_due = 0.0
        self._stopped: dict[str, _Stopped] = {}
        self._continue: list[tuple[float, str, int]] = []
        self._deaths: dict[tuple[str, int], str] = {}
        """(node, incarnation) to the id of the fault that ends it"""
        self._returns: dict[str, Moment] = {}
        """nodes that are away to where in the run they come back"""
        self._away: dict[str, str] = {}
        """nodes whose absence is planned to the fault that planned it"""

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
        if training:
            for unit, value in self._heal_from.items():
                if not self.closed and reached.of(unit) >= value:
                    self.closed = f"all faults end at {unit} {value:g} (faults.heal_before_end)"
                    self.heal(now)
            while self._next_drawn is not None and self._next_drawn.start.value <= reached.time and not self._healed:
                self.entries.append(self._next_drawn)
                self._next_drawn = next(self._drawn, None)
            for entry in self.entries:
                if not entry.begun and self._ours(entry) and self._past(entry.start, reached):
                    self.begin(entry, now)
        elif not training and not self.closed and reached.time > 0:
            self.closed = "training is over"
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
        reached = entry.since = self._reached(now)
        entry.begun = True
        entry.until = self._end_of(entry, reached)
        if entry.deed is None:
            self._note("begin", entry.id, entry.kind, ", ".join(entry.targets) or "links", reached)
            for member in self._members() if entry.asked is not None else ():
                self._commands.give(member.name, member.incarnation, "fault", now, entry.order())
            return
        momentary = True
        for target in entry.targets:
            momentary &= self._afflict(entry, entry.deed, target, reached, now)
        entry.ended = momentary

    def ask(self, entry: Entry, now: float) -> None:
        """Begin a fault that a person asks for, and note what was asked, so that it can be repeated."""
        if entry.asked is not None:
            self._log.write("asked", entry.id, entry.kind, event=entry.asked.model_dump(mode="json"), **vars(self._reached(now)))
        self.begin(entry, now)

    def next_id(self) -> str:
        """An id that no fault of this run has or had."""
        return free_id(self._log.begun | {entry.id for entry in self.entries})

    def reached(self, now: float) -> Reached:
        """How far the run is."""
        return self._reached(now)

    def on(self) -> list[dict[str, Any]]:
        """What lasts now, by hand or by the schedule: id, kind, targets, `since` (how far the run was), where it will end (`until`, if that
        is known), and whether it is `by_hand`."""
        lasting = {entry.id: entry for entry in self.entries if entry.begun and not entry.ended}
        found = [(entry, entry.targets, entry.until) for entry in lasting.values()]
        ids = {entry.id: entry for entry in self.entries}
        for node, stopped in self._stopped.items():
            if stopped.fault in ids and stopped.fault not in lasting:
                found.append((ids[stopped.fault], (node,), stopped.until))
        found += [(ids[fault], (node,), self._returns.get(node)) for node, fault in self._away.items() if fault in ids]
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

    def release(self, node: str, now: float) -> None:
        """Let a node go on that stands still, if it does."""
        if node in self._stopped:
            self._release(node, now)

    def heal_by_hand(self, fault: str, now: float) -> list[str]:
        """End one fault, or all (`*`), as `heal` does, and have those back who are away by them; the ids of what ends by it."""
        ended = sorted({one["id"] for one in self.on() if fault in ("*", one["id"])})
        self.heal(now, fault)
        for node in [node for node, why in self._away.items() if fault in ("*", why)]:
            self._returns.pop(node, None)
            self._view.supervisor.hasten(node, now)
        return ended

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
        for member in self._members():
            self._commands.give(member.name, member.incarnation, "heal", now, fault)

    def _members(self) -> list[Member]:
        """Nodes that hear orders."""
        return [member for member in self._view.membership.members.values() if member.state.living and member.state != State.JOINING]

    def release_all(self, now: float) -> None:
        """The run ends: whoever stands still must hear of it."""
        for node in list(self._stopped):
            self._release(node, now)
        for _, node, incarnation in self._continue:
            self._nodes.signal(node, incarnation, "cont")

    def alive(self, node: str, incarnation: int, now: float) -> None:
        """A node is (back) in the run: it gets the orders that still hold."""
        self._away.pop(node, None)
        for entry in self.entries if not self._looks_on else ():
            lasts = entry.begun and not entry.ended and self._ours(entry)
            if lasts and entry.concerns(node) and (order := entry.order()):
                self._commands.give(node, incarnation, "fault", now, order)

    def fate(self, node: str, incarnation: int, code: int, now: float) -> Decision | None:
        """What becomes of a process that ended; None where no fault says anything about it."""
        stopped = self._stopped.pop(node, None)
        if stopped is not None and stopped.fault in self._log.begun:  # it will not go on any more
            self._note("end", stopped.fault, stopped.kind, node, self._reached(now))
        self._read_log(node, self._reached(now))
        fault = self._deaths.pop((node, incarnation), None)
        if fault is None and self._looks_on:  # lives are counted otherwise there
            fault = next((self._deaths.pop(death) for death in list(self._deaths) if death[0] == node), None)
        entry = next((entry for entry in self.entries if entry.id == fault), None)
        what = entry.deed.what if entry is not None and entry.deed is not None else None
        supervisor = self._view.supervisor
        if self._looks_on:
            return self._replace(node, what, now)
        decision: Decision | None = None
        if isinstance(what, Process) and what.restart_after is not None:
            decision = supervisor.planned(node, what.restart_after, now)
        elif isinstance(what, Membership) and what.return_after is not None and code == 0:
            away = moment(what.return_after)
            if self.closed:
                decision = supervisor.planned(node, 0.0, now)
            elif away.unit == "time":
                decision = supervisor.planned(node, away.value, now)
            else:
                self._returns[node] = Moment(away.unit, self._reached(now).of(away.unit) + away.value)
                decision = supervisor.planned(node, None, now)
        if decision is not None and fault is not None:
            self._away[node] = fault
        return decision

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
            hear = self._members() if entry.asked is not None else []  # links know by themselves what the schedule says
        else:
            hear = [member for member in self._members() if member.name in entry.targets]
        for member in hear:
            self._commands.give(member.name, member.incarnation, "heal", now, entry.id)

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
            if not entry.begun:
                entry.begun, entry.since = True, replace(reached)
            entry.ended |= kind in MOMENTARY
        if not begins:
            self._over(node, fault, entry)
            return
        if kind in LETHAL:
            self._deaths[node, incarnation] = fault
        elif kind in ("process.pause", "process.hang"):
            until = None if entry is None else self._end_of(entry, reached)
            self._stopped[node] = _Stopped(incarnation, fault, kind, until)

    def _over(self, node: str, fault: str, entry: Entry | None) -> None:
        """A node has ended something by itself: a pause or hang that nobody has to end any more, or one target's part of a fault."""
        stopped = self._stopped.get(node)
        if stopped is not None and stopped.fault == fault and stopped.kind == "process.hang":
            del self._stopped[node]
        if entry is not None and entry.deed is not None:
            entry.ended |= len(entry.targets) == 1

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
        return {"active": active, "next": words, "on": self.on()}

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
