"""The run server's part in faults: what is due by time, what the nodes report to have done to themselves, and the end of it.

Faults that are due by step, episode or round are done by their nodes, at exactly that point. Those that are due by time, and those that a
person asks for, are begun here: deaths and pauses by signals through the hosts, everything else by an order to the node. Whatever a node
does to itself it writes into its own log first, which is read here: so the end of a pause, the return of who was killed, and the events
of the run need no message from a process that can't send any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from orchestrator.run_server.faults.fault_plan import (
    SUSPENDING,
    FaultHistory,
    FaultPlan,
    PausedNode,
    PausedNodes,
    RunFault,
    active,
    asked_for,
    following,
    free_id,
    lasting,
    remember,
)
from orchestrator.run_server.faults.fault_plan import entry as entry_of
from orchestrator.run_server.hosts.node_commands import NodeCommands
from orchestrator.run_server.hosts.restart_supervision import RestartDecision
from orchestrator.run_server.hosts.run_nodes import ENVIRONMENT, RunNodes
from orchestrator.run_server.lead.status_snapshot import RunView
from protocols.conversations.membership.membership import MemberNode, MemberState
from protocols.faults.fault_schedule import LINK_KINDS, RunMoment, RunPosition, moment
from protocols.faults.node_faults.fault_log import FILE, FaultLog, read
from protocols.faults.node_faults.scheduled_faults import LETHAL, MOMENTARY, ScheduledFault, run_schedule
from protocols.faults.settings import MembershipFault, ProcessFault

_LOOK = 0.2
"""seconds between two looks into the nodes' logs"""


class FaultScheduler:
    """Starts the faults that are due by time, and records what the nodes report of their own faults; see the module."""

    def __init__(
        self,
        view: RunView,
        nodes: RunNodes,
        commands: NodeCommands,
        plan: FaultPlan = FaultPlan(),
        adopted: Mapping[str, int] | None = None,
    ) -> None:
        """`adopted`: incarnations of nodes that go on, where a living run is taken over; what lasts there needs no order."""
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
        self._paused = PausedNodes(nodes.signal)
        self._deaths: dict[tuple[str, int], str] = {}
        """(node, incarnation) to the id of the fault that ends it"""
        self._returns: dict[str, RunMoment] = {}
        """nodes that are away to where in the run they come back"""
        self._away: dict[str, str] = {}
        """nodes whose absence is planned to the fault that planned it"""
        self._let_go: set[str] = set()
        """faults that a person has ended: nodes that were away then must receive it"""
        self._before: set[str] = set()
        """faults that were asked for before the run was interrupted"""
        self._order_again: list[RunFault] = []
        """what lasted when the run was interrupted, until training goes on"""
        self._adopted = dict(adopted or {})
        self._recalled: dict[tuple[str, int], RunPosition] = {}
        """(node, incarnation) that a fault has ended under an earlier run server, to where the run was then"""
        if int(view.files.state.get("segment") or 1) > 1:
            self._recall()

    # --- every turn ---------------------------------------------------------------------------------------------------------------

    def tick(self, now: float, training: bool) -> None:
        """Let happen what is due; `training` is over when no fault may last any longer."""
        reached = self.reached(now)
        if now >= self._look_due:
            self._look_due = now + _LOOK
            for node in self._nodes.processes:
                self._read_log(node, reached)
        if self._looks_on:
            self._view.faults = self._snapshot(reached)
            return
        if training:
            for entry in self._order_again:
                for target in entry.targets:
                    self._commands.give(target, self._nodes.processes[target].start.incarnation, "fault", now, entry.order())
            self._order_again.clear()
            for unit, value in self._heal_from.items():
                if not self.closed and reached.of(unit) >= value:
                    self.closed = f"all faults end at {unit} {value:g} (faults.heal_before_end)"
                    self.heal(now)
            while self._next_drawn is not None and self._next_drawn.start.value <= reached.time and not self._healed:
                self.entries.append(self._next_drawn)
                self._next_drawn = next(self._drawn, None)
            for entry in self.entries:
                if not entry.begun and self._ours(entry) and reached.past(entry.start):
                    self.begin(entry, now)
        elif not training and not self.closed and reached.time > 0:
            self.closed = "training is over"
            self.heal(now)
        for entry in self.entries:
            if entry.begun and not entry.ended and entry.until is not None and reached.past(entry.until):
                self._end(entry, now)
        for stopped in self._paused.held:
            if stopped.until is not None and reached.past(stopped.until):
                self._release(stopped, now)
        for node, back in list(self._returns.items()):
            if reached.past(back):
                del self._returns[node]
                self._view.supervisor.bring_back(node, now)
        self._paused.tick(now)
        self._view.faults = self._snapshot(reached)

    def begin(self, entry: RunFault, now: float) -> None:
        """Begin a fault now."""
        if entry not in self.entries:
            self.entries.append(entry)
        reached = entry.since = self.reached(now)
        entry.begun = True
        entry.until = entry.end_of(reached)
        if entry.node_fault is None:
            self._note("begin", entry.id, entry.kind, ", ".join(entry.targets) or "links", reached)
            for member in self._members() if entry.asked is not None else ():
                self._commands.give(member.name, member.incarnation, "fault", now, entry.order())
            return
        done = [self._apply_fault(entry, entry.node_fault, target, reached, now) for target in entry.targets]
        entry.ended = all(done)

    def ask(self, entry: RunFault, now: float) -> None:
        """Begin a fault that a person asks for, and note what was asked, so that it can be repeated."""
        if entry.asked is not None:
            self._log.write("asked", entry.id, entry.kind, event=entry.asked.model_dump(mode="json"), **vars(self.reached(now)))
        self.begin(entry, now)

    def next_id(self) -> str:
        """An id that no fault of this run has or had."""
        return free_id(self._log.begun | self._before | {entry.id for entry in self.entries})

    def reached(self, now: float) -> RunPosition:
        """How far the run is."""
        progress = self._view.progress
        return RunPosition(progress.seconds(now), progress.steps, progress.episodes, max(self._view.rounds.values(), default=-1))

    def on(self) -> list[dict[str, Any]]:
        """What lasts now, by hand or by the schedule: see `fault_plan.lasting`."""
        return lasting(self.entries, self._paused.held, {node: (why, self._returns.get(node)) for node, why in self._away.items()})

    def release(self, node: str, now: float) -> None:
        """Let a node go on that stands still, if it does."""
        for stopped in self._paused.of(node):
            self._release(stopped, now)

    def heal_by_hand(self, fault: str, now: float) -> list[str]:
        """End one fault, or all (`*`), as `heal` does, and have those back who are away by them; the ids of what ends by it."""
        ended = sorted({one["id"] for one in self.on() if fault in ("*", one["id"])})
        self._let_go.update(ended)
        self.heal(now, fault)
        return ended

    def heal(self, now: float, fault: str = "*") -> None:
        """End one fault, or all, and have those back who are away by them; what has not begun never will where all are healed."""
        if fault == "*":
            self._healed = True
        for entry in self.entries:
            if fault in ("*", entry.id):
                if entry.begun and not entry.ended:
                    self._end(entry, now)
                entry.begun = entry.ended = True
        for stopped in self._paused.held:
            if fault in ("*", stopped.fault):
                self._release(stopped, now)
        for node in [node for node, why in self._away.items() if fault in ("*", why)]:
            self._returns.pop(node, None)
            self._view.supervisor.hasten(node, now)
        for member in self._members():
            self._commands.give(member.name, member.incarnation, "heal", now, fault)

    def _members(self) -> list[MemberNode]:
        """Nodes that receive orders."""
        return [member for member in self._view.membership.members.values() if member.state.living and member.state != MemberState.JOINING]

    def release_all(self, now: float) -> None:
        """The run ends: paused processes must continue."""
        for stopped in self._paused.held:
            self._release(stopped, now)
        self._paused.resume_all()

    def alive(self, node: str, incarnation: int, now: float) -> None:
        """A node is (back) in the run: it receives what ended while it was away, which its own log does not have, and gets the orders that
        still hold."""
        self._away.pop(node, None)
        if self._looks_on:
            return
        if self._healed:
            self._commands.give(node, incarnation, "heal", now, "*")
        for entry in self.entries if self._adopted.get(node) != incarnation else ():
            if not entry.concerns(node):
                continue
            if (
                entry.ended
                and not self._healed
                and (entry.id in self._let_go or (entry.node_fault is not None and entry.kind not in MOMENTARY))
            ):
                self._commands.give(node, incarnation, "heal", now, entry.id)
            elif entry.begun and not entry.ended and self._ours(entry) and (order := entry.order()):
                self._commands.give(node, incarnation, "fault", now, order)

    def after_end(self, node: str, incarnation: int, code: int, now: float) -> RestartDecision | None:
        """What becomes of a process that ended; None where no fault is the cause."""
        for stopped in self._paused.forget(node):  # it will not go on any more
            if stopped.fault in self._log.begun:
                self._note("end", stopped.fault, stopped.kind, node, self.reached(now))
        self._read_log(node, self.reached(now))
        fault = self._deaths.pop((node, incarnation), None)
        if fault is None and self._looks_on:  # incarnations are counted otherwise there
            fault = next((self._deaths.pop(death) for death in list(self._deaths) if death[0] == node), None)
        entry = self._entry(fault)
        what = entry.node_fault.what if entry is not None and entry.node_fault is not None else None
        supervisor = self._view.supervisor
        if self._looks_on:  # an agent is back at the tick of the schedule: the others wait for its process
            returns = (
                what.returns if isinstance(what, ProcessFault) else isinstance(what, MembershipFault) and what.return_after is not None
            )
            return supervisor.planned(node, 0.0, now) if returns else None
        decision: RestartDecision | None = None
        reached = self.reached(now)
        since = self._recalled.get((node, incarnation), reached)
        if isinstance(what, ProcessFault) and what.restart_after is not None:
            remaining = max(0.0, what.restart_after - (reached.time - since.time))
            decision = supervisor.planned(node, 0.0 if self.closed else remaining, now)
        elif isinstance(what, MembershipFault) and what.return_after is not None and code == 0:
            away = moment(what.return_after)
            if self.closed:
                decision = supervisor.planned(node, 0.0, now)
            elif away.unit == "time":
                decision = supervisor.planned(node, max(0.0, away.value - (reached.time - since.time)), now)
            else:
                self._returns[node] = RunMoment(away.unit, max(0.0, since.of(away.unit)) + away.value)
                decision = supervisor.planned(node, None, now)
        if decision is not None and fault is not None:
            self._away[node] = fault
        return decision

    def _entry(self, fault: str | None) -> RunFault | None:
        return next((entry for entry in self.entries if entry.id == fault), None)

    # --- what is done -------------------------------------------------------------------------------------------------------------

    def _apply_fault(self, entry: RunFault, node_fault: ScheduledFault, node: str, reached: RunPosition, now: float) -> bool:
        """Do it to one node; whether it needs no end."""
        process = self._nodes.processes.get(node)
        if process is None or process.ended:
            text = f"{entry.text()} has no target: {node} is not there"
            self._view.event("warning", "fault.void", text, node, fields={"fault": entry.id, "kind": entry.kind})
            return True
        incarnation, what = process.start.incarnation, node_fault.what
        if isinstance(what, ProcessFault) and what.action in ("kill", "term", "pause"):
            self._note("begin", entry.id, entry.kind, node, reached, process=incarnation)
            if what.action == "pause":
                self._paused.stop(PausedNode(node, incarnation, entry.id, entry.kind, entry.until))
            else:
                self._deaths[node, incarnation] = entry.id
                self._nodes.signal(node, incarnation, "kill" if what.action == "kill" else "term")
            return True
        self._commands.give(node, incarnation, "fault", now, node_fault.to_json())
        return isinstance(what, ProcessFault | MembershipFault)

    def _end(self, entry: RunFault, now: float) -> None:
        entry.ended = True
        if entry.node_fault is None:
            self._note("end", entry.id, entry.kind, ", ".join(entry.targets) or "links", self.reached(now))
            receivers = self._members() if entry.asked is not None else []  # links follow the schedule by themselves
        else:
            receivers = [member for member in self._members() if member.name in entry.targets]
        for member in receivers:
            self._commands.give(member.name, member.incarnation, "heal", now, entry.id)

    def _release(self, stopped: PausedNode, now: float) -> None:
        self._paused.release(stopped, now)
        if stopped.fault not in self._log.begun:
            return  # the node began it itself, and will log its end
        self._note("end", stopped.fault, stopped.kind, stopped.node, self.reached(now))

    # --- after an interruption ----------------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """What has begun before the run was interrupted begins no more, and what lasted goes on: at the nodes that know of it by their own
        logs, or by an order. What no process goes on with is over. Where the run was taken over, nothing is over: what became due
        meanwhile begins now."""
        configuration, trained = self._view.configuration, float(self._view.files.state.get("trained") or 0.0)
        before = replace(self.reached(0.0), time=trained)
        memory = remember(self._view.files.directory, [*configuration.agent_names(), ENVIRONMENT])
        self._offsets.update(memory.offsets)
        self._before = memory.asked
        drawn = set()
        while not self._looks_on and self._next_drawn is not None and self._next_drawn.start.value <= before.time:
            drawn.add(self._next_drawn.id)
            self.entries.append(self._next_drawn)
            self._next_drawn = next(self._drawn, None)
        if self._adopted:
            schedule = run_schedule(configuration.model_dump(mode="json"))
            self.entries += [entry_of(schedule.compiled(event)) for event in asked_for(self._view.files.directory)]
        for one in self.entries:
            memory.settle(one, before, not self._looks_on and one.start.unit == "time")
        if self._looks_on:
            return
        if self._adopted:
            self._recall_absences(memory)
            return
        ordered = [one for one in self.entries if one.id in drawn and one.node_fault is not None]
        for fault, node, kind in memory.left(memory.asked | {one.id for one in ordered}):
            self._log.write("end", fault, kind, target=node, **vars(before))
        self._order_again = [one for one in ordered if not one.ended]

    def _recall_absences(self, memory: FaultHistory) -> None:
        """Nodes that stand still still do, and those that a fault has ended come back as planned."""
        for (fault, node), kind in memory.unfinished.items():
            if kind in SUSPENDING and (one := self._entry(fault)) is not None and node in self._adopted:
                self._paused.note(PausedNode(node, self._adopted[node], fault, kind, one.until))
        for (node, incarnation), fault in memory.deaths.items():
            self._deaths[node, incarnation] = fault
            self._recalled[node, incarnation] = memory.begun[fault]

    # --- logs of the nodes -----------------------------------------------------------------------------------------------------------

    def _read_log(self, node: str, reached: RunPosition) -> None:
        for line in read(self._view.files.directory / "nodes" / node / FILE, self._offsets.get(node, 0)):
            self._offsets[node] = int(line.pop("_end"))
            if line.get("what") in ("begin", "end"):
                self._process_log_line(node, line, reached)

    def _process_log_line(self, node: str, line: Mapping[str, Any], reached: RunPosition) -> None:
        """A node has begun or ended something by itself."""
        fault, kind, incarnation = str(line.get("id")), str(line.get("kind")), int(line.get("incarnation") or 0)
        begins = line["what"] == "begin"
        if kind in LINK_KINDS:
            return  # every node logs it, and the run server too
        self._announce(line["what"], fault, kind, node)
        entry = self._entry(fault)
        if begins and entry is not None:
            if not entry.begun:
                entry.begun, entry.since = True, replace(reached)
            entry.ended |= kind in MOMENTARY
        if not begins:
            self._over(node, fault, entry)
            return
        if kind in LETHAL:
            self._deaths[node, incarnation] = fault
        elif kind in SUSPENDING:
            until = None if entry is None else entry.end_of(reached)
            self._paused.note(PausedNode(node, incarnation, fault, kind, until))

    def _over(self, node: str, fault: str, entry: RunFault | None) -> None:
        """A node has ended something by itself: a pause or hang that needs no end any more, or one target's part of a fault."""
        if any(stopped.fault == fault and stopped.kind == "process.hang" for stopped in self._paused.of(node)):
            self._paused.forget(node, fault)
        if entry is not None and entry.node_fault is not None:
            entry.ended |= len(entry.targets) == 1

    # --- words --------------------------------------------------------------------------------------------------------------------

    def _note(self, what: Literal["begin", "end"], fault: str, kind: str, node: str, reached: RunPosition, **fields: Any) -> None:
        """Into the run server's own log, and the events."""
        self._log.write(what, fault, kind, target=node, **vars(reached), **fields)
        self._announce(what, fault, kind, node)

    def _announce(self, what: str, fault: str, kind: str, node: str) -> None:
        severity, verb = ("warning", "begins") if what == "begin" else ("info", "ends")
        where = node if node in self._nodes.processes else "run"
        text = f"fault {fault} {verb}: {kind} at {node}"
        self._view.event(severity, f"fault.{what}", text, where, fields={"fault": fault, "kind": kind})

    def _snapshot(self, reached: RunPosition) -> dict[str, Any]:
        coming = [] if self._healed else [entry for entry in [*self.entries, self._next_drawn] if entry is not None and not entry.begun]
        return {"active": active(self.entries, self._paused.held), "next": following(coming, reached), "on": self.on()}

    # --- where the run is -----------------------------------------------------------------------------------------------------------

    def _ours(self, entry: RunFault) -> bool:
        """Whether the run server begins it: due by time, or (for the record only) an affair of the links."""
        return entry.start.unit == "time" or entry.node_fault is None
