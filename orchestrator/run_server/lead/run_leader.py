"""Leads one run: starts its nodes, admits them, keeps them informed, restarts them, and ends the run in order.

    QUEUED -> HOSTS -> NODES -> TRAINING -> EVALUATION -> STOPPING -> CLOSING -> OVER
      capacity there, every host in, every node up, `until` reached, last evaluation done, nodes ended, hosts ended

A run server that takes over a living run goes from HOSTS to TRAINING, in which its nodes register one after the other.

Any phase before STOPPING may go there at once: a request, a signal, the leash, a host that is lost, too few agents. One turn of
`RunLeader.turn` handles what has arrived and lets what is due happen; it never waits for longer than a tenth of a second.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite

from orchestrator.launch.engine import Invitation
from orchestrator.launch.placement import PlacementError
from orchestrator.run_server.faults.fault_plan import FaultPlan
from orchestrator.run_server.faults.fault_scheduler import FaultScheduler
from orchestrator.run_server.faults.manual_faults import ManualFaults
from orchestrator.run_server.hosts.node_commands import Admission, NodeCommands
from orchestrator.run_server.hosts.restart_supervision import RestartOutcome, describe_exit
from orchestrator.run_server.hosts.run_hosts import RunHosts
from orchestrator.run_server.hosts.run_nodes import ENVIRONMENT, UP, RunNodes
from orchestrator.run_server.hosts.starvation import StarvationWatch
from orchestrator.run_server.lead.living_run import LivingRun
from orchestrator.run_server.lead.ordered_stop import OrderedStop
from orchestrator.run_server.lead.registration import Registration
from orchestrator.run_server.lead.status_snapshot import RunView
from orchestrator.run_server.waits.wait_facts import wait_facts
from protocols.conversations.membership.membership import MembershipChange, MemberState
from protocols.conversations.node_processes.node_process_messages import NodeEnded
from protocols.runtime.errors import ExitCode
from protocols.runtime.waits import PendingWait
from protocols.transport import Transport

FINISH_TIMEOUT = 600.0
"""seconds that the last evaluation may go on without an episode that ends"""
_TURN = 0.1
_ROSTER_AGAIN = 5.0
_SEVERITY = {MemberState.STUCK: "warning", MemberState.SUSPECT: "warning", MemberState.DEAD: "warning", MemberState.LOST: "error"}


class Phase(IntEnum):
    """Phases of a run, in order."""

    QUEUED = 0
    HOSTS = 1
    NODES = 2
    TRAINING = 3
    EVALUATION = 4
    STOPPING = 5
    CLOSING = 6
    OVER = 7


@dataclass(frozen=True)
class RunOutcome:
    """How a run ends: DONE, FAILED or STOPPED, with the exit code and the reason in words."""

    state: str
    exit_code: int
    reason: str


class RunLeader:
    """Leads one run through its phases; see the module. `view` holds the state that other parts of the run server read; `signals` grows by
    every signal that asks the run server to end, the first time in order, the second time at once."""

    def __init__(
        self,
        view: RunView,
        transport: Transport,
        hosts: RunHosts,
        invitation: Invitation,
        admission: Admission,
        start_timeout: float,
        signals: Sequence[int],
        plan: FaultPlan = FaultPlan(),
        living: LivingRun | None = None,
    ) -> None:
        """`living`: the processes of the run go on, and are taken over."""
        self.view = view
        self.outcome: RunOutcome | None = None
        self.phase = Phase.QUEUED
        view.phase = "queued"
        self._transport = transport
        self._hosts = hosts
        self._invitation = invitation
        self._start_deadline = 0.0
        self._queued_for = ""
        self._start_timeout = start_timeout
        self._living = living
        self._commands = NodeCommands(view.membership.version)
        self._nodes = RunNodes(view, transport, hosts)
        self._starvation = StarvationWatch(self._nodes.pid_here)
        view.membership.spares = hosts.membership.spares = self._starvation.spares
        self._reception = Registration(view, transport, hosts, self._nodes, self._commands, admission)
        self.faults = FaultScheduler(view, self._nodes, self._commands, plan, adopted=None if living is None else living.incarnations)
        self._by_hand = ManualFaults(view, transport, self._nodes, self._commands, self.faults)
        self._roster_sent = (-1, 0.0)
        self._stopping: OrderedStop | None = None
        self._phase_began = time.monotonic()
        self._finish_deadline = 0.0
        self._episodes_seen = (0, 0)
        self._reached = ""
        self._signals = signals
        self._signals_seen = 0

    # --- from outside -------------------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Process received messages and everything that is due; waits at most a tenth of a second. False when the run is over."""
        if self.phase == Phase.QUEUED and self._living is not None:
            self._take_over(self._living, time.monotonic())
        for received in self._transport.receive(_TURN):
            self._reception.handle(received, time.monotonic())
        now = time.monotonic()
        self._obey(now)
        self._watch_hosts(now)
        self._watch_nodes(now)
        self._report_starved()
        if self.phase >= Phase.TRAINING:
            self.faults.tick(now, self.phase == Phase.TRAINING)
        self._advance(now)
        self._advance_stop(now)
        self._keep_informed(now)
        self.view.collector.check()
        return self.phase != Phase.OVER

    def stop(self, outcome: RunOutcome, now: float, at_once: bool = False) -> None:
        """End the run with this outcome; the first outcome counts. Again with `at_once`: no more order."""
        if self.outcome is None:
            self.outcome = outcome
            self.view.progress.end(now)
            trained = round(self.view.progress.seconds(now), 3)
            self.view.files.update(state="STOPPING", reason=outcome.reason, trained=trained, began=None)
            severity = "info" if outcome.exit_code in (0, ExitCode.INTERRUPTED) else "error"
            self.view.event(severity, "run.stopping", outcome.reason if outcome.state == "STOPPED" else f"stopping: {outcome.reason}")
            members = self.view.membership
            stages = [[name for name in self._nodes.living if members[name].role == role] for role in ("agent", "env")]
            self.faults.release_all(now)
            self._stopping = OrderedStop(stages, at_once)
            self._go(Phase.STOPPING)
        elif at_once and self._stopping is not None:
            self._stopping.hurry()

    # --- what happened ------------------------------------------------------------------------------------------------------------

    def _obey(self, now: float) -> None:
        """Signals, clients' requests, and the end of the client that held the leash."""
        while self._signals_seen < len(self._signals):
            self._signals_seen += 1
            self.stop(RunOutcome("STOPPED", ExitCode.INTERRUPTED, "stopped by a signal"), now, at_once=self._signals_seen > 1)
        stops, self._reception.stops = self._reception.stops, []
        for request in stops:
            self.stop(RunOutcome("STOPPED", ExitCode.INTERRUPTED, request.reason or "stopped by request"), now, request.now)
        questions, self._reception.questions = self._reception.questions, []
        for client, question in questions:
            facts = wait_facts(self.view, self._nodes, self._hosts, self._waits(), now)
            self._reception.answer(client, question, self.view.events.last_id, now, facts)
        asked, self._reception.requests = self._reception.requests, []
        for client, wish in asked:
            answer = self._by_hand.grant(wish, self.phase == Phase.TRAINING, now)
            self._reception.reply(client, wish, answer, now)
        if self.phase < Phase.STOPPING and self._reception.clients.torn(now):
            self.stop(RunOutcome("STOPPED", ExitCode.INTERRUPTED, "the terminal went away"), now)

    def _watch_hosts(self, now: float) -> None:
        for name, code, how in self._hosts.watch(now):
            lost = self._nodes.host_lost(name, how)
            if self.phase >= Phase.STOPPING:
                continue
            log = self.view.files.directory / "hosts" / f"{name}.log"
            text = f"the host {name} is lost ({how}); its log is {log}"
            # A host that comes back over a link that was cut is not part of the run any more.
            self._transport.guard.revoke(self._hosts.records[name].key)
            why_not = self._go_on_without(name, lost, how, now)
            if why_not is not None:
                exit_code = code if code is not None and code > 0 and self.phase == Phase.HOSTS else int(ExitCode.CRASH)
                self.stop(RunOutcome("FAILED", exit_code, text + (f". {why_not}" if why_not else "")), now)

    def _go_on_without(self, host: str, lost: Sequence[str], how: str, now: float) -> str | None:
        """Have the nodes of a host that is lost started on the others; else why the run can't go on (empty where that is obvious)."""
        if self.phase == Phase.HOSTS or not self._hosts.living:
            return ""
        if self.view.configuration.clock == "logical":
            cure = f"orchestrate up --resume {self.view.files.directory.name}"
            return f"Under the logical clock the run can't continue without its nodes; from the last checkpoint: {cure}"
        if not self.view.configuration.launch.placement.relocate:
            return "launch.placement.relocate is false"
        try:
            moved = self._nodes.relocate()
        except PlacementError as error:
            return f"Its nodes fit nowhere else: {error}"
        self._hosts.abandon(host)
        where = ", ".join(f"{name} to {new}" for name, new in moved.items())
        self.view.event(
            "warning", "host.lost", f"the host {host} is lost ({how})" + (f": {where}" if where else ", and no node was there"), host
        )
        for name in lost:
            self._gone(name, self._nodes.processes[name].start.incarnation, -int(signal.SIGKILL), f"its host {host} is lost", now)
        return None

    def _watch_nodes(self, now: float) -> None:
        ended, self._reception.ended = self._reception.ended, []
        for message in ended:
            self._node_ended(message, now)
        self.view.membership.tick(now, judge_progress=self.phase in (Phase.TRAINING, Phase.EVALUATION))
        for change in self.view.membership.changes():
            self._changed(change, now)
        if self.phase < Phase.STOPPING:
            self._by_hand.tick(now)
            for name in self.view.supervisor.due(now):
                self._reception.byes.pop(name, None)
                self._nodes.restart(name, now, self._by_hand.starts_cold(name))
        self._nodes.insist(now)

    def _report_starved(self) -> None:
        for name, text in self._starvation.starved:
            self.view.event("warning", "node.starved", text, name)
        self._starvation.starved.clear()

    def _changed(self, change: MembershipChange, now: float) -> None:
        """A node went from one state to another."""
        name, view = change.node, self.view
        if change.new == MemberState.DEAD and self._nodes.declared_dead(name, change.incarnation, now):
            view.troubles[name] = change.reason
        if change.old == MemberState.JOINING and change.new == MemberState.ALIVE:
            view.supervisor.alive(name, now)
            view.up_after.setdefault(name, now - view.started)
            if self.phase in (Phase.TRAINING, Phase.EVALUATION):
                self._commands.give(name, change.incarnation, "start", now)
                self.faults.alive(name, change.incarnation, now)
            if self.phase == Phase.EVALUATION:
                self._commands.give(name, change.incarnation, "finish", now)
        if change.new in (MemberState.DEAD, MemberState.LEFT, MemberState.LOST):
            view.collector.close_rounds(self._nodes.agents_up)
        old = f" (was {change.old.value})" if change.old is not None and change.old != MemberState.JOINING else ""
        text = f"{name} {change.new.value}{old}, incarnation {change.incarnation}: {change.reason}"
        self.view.event(_SEVERITY.get(change.new, "info"), f"node.{change.new.value}", text, name, incarnation=change.incarnation)

    def _node_ended(self, message: NodeEnded, now: float) -> None:
        """A node's process is gone: restart it, give it up, or let it rest."""
        name, view = message.node, self.view
        code = self._nodes.ended(message)
        if code is None:
            return
        self._commands.forget(name)
        bye = self._reception.byes.get(name)
        words = bye.reason if bye is not None else view.files.last_words(name) if code > 0 else ""
        how = describe_exit(code) + (f": {words}" if words else "")
        view.membership.ended(name, message.incarnation, code == 0, how)
        if self.phase >= Phase.STOPPING:
            return
        if self.phase == Phase.NODES and code >= 0:
            # A mistake that shows at the start would show at every start; only a signal may have been chance.
            tail = view.files.log_tail(name)
            text = f"{name} ended before the run began, {how}" + (f"; the end of its log:\n{tail}" if tail else "")
            self.stop(RunOutcome("FAILED", code or ExitCode.CRASH, text), now)
            return
        self._gone(name, message.incarnation, code, words, now)

    def _gone(self, name: str, incarnation: int, code: int, words: str, now: float) -> None:
        """What becomes of a node whose process ended while the run goes on: `code` as in `NodeEnded`, `words` of why, if there are any."""
        view, how = self.view, describe_exit(code) + (f": {words}" if words else "")
        silence = view.troubles.get(name)
        by_hand = self._by_hand.ended(name, now)
        planned = by_hand or self.faults.after_end(name, incarnation, code, now)
        if planned is None and code == ExitCode.ENVIRONMENT:
            self.stop(RunOutcome("FAILED", ExitCode.ENVIRONMENT, f"{name}: {words or how}"), now)
            return
        if planned is None and code != 0 and view.configuration.clock == "logical":
            text = f"{name} ended, {how}; under the logical clock the run can't continue without it"
            cure = f"from the last checkpoint: orchestrate up --resume {view.files.directory.name}"
            self.stop(RunOutcome("FAILED", ExitCode.CRASH, f"{text}; {cure}"), now)
            return
        decision = planned or view.supervisor.ended(name, code, now)
        if decision.outcome == RestartOutcome.RESTART:
            attempt = f"attempt {decision.attempt} of {decision.of}" if decision.attempt else decision.reason
            trouble = view.troubles[name] = f"{silence or how}, {attempt}"
            text = f"{name} {trouble}, back in {decision.delay:.1f} s" if isfinite(decision.delay) else f"{name} {trouble}, back later"
            severity, kind = ("warning", "node.restart") if by_hand is None else ("info", "node.restarted_by_hand")
            self.view.event(severity, kind, text, name, exit=code, incarnation=incarnation)
        elif decision.outcome == RestartOutcome.LOST:
            view.troubles[name] = f"given up: {decision.reason}" + (f": {words}" if words else "")
            view.membership.lost(name, decision.reason)

    # --- from phase to phase ------------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Go to the next phase when this one is complete, or end the run when it can't be."""
        view = self.view
        members = view.membership.members.values()
        if self.phase == Phase.QUEUED:
            self._queue(now)
        elif self.phase == Phase.HOSTS and self._hosts.all_in:
            if self._living is not None:
                self._go_on(self._living, now)
            else:
                self._nodes.start_all(self._hosts.slots, now)
                self._go(Phase.NODES)
        elif self.phase == Phase.NODES and all(member.state in UP for member in members):
            self._begin(now)
        elif self.phase in (Phase.HOSTS, Phase.NODES) and now >= self._start_deadline:
            missing = [member.name for member in members if member.state not in UP] or list(self._hosts.records)
            self.stop(RunOutcome("FAILED", ExitCode.CRASH, self._too_late(missing)), now)
        elif self.phase == Phase.TRAINING and (reached := self._over(now)) is not None:
            self._finish(reached, now)
        elif self.phase == Phase.EVALUATION and view.evaluation[:2] != self._episodes_seen:
            self._episodes_seen = view.evaluation[:2]
            self._finish_deadline = now + FINISH_TIMEOUT
        elif self.phase == Phase.EVALUATION and (self._reception.finished or now >= self._finish_deadline):
            if not self._reception.finished:
                self.view.event("warning", "run.unfinished", f"no episode of the last evaluation has ended for {FINISH_TIMEOUT:g} s")
            self.stop(RunOutcome("DONE", ExitCode.OK, self._reached), now)
        if Phase.NODES <= self.phase < Phase.STOPPING and (verdict := view.supervisor.verdict()) is not None:
            causes = [f"{name}: {view.troubles[name]}" for name in view.supervisor.given_up() if name in view.troubles]
            self.stop(RunOutcome("FAILED", ExitCode.ABORTED, "; ".join([verdict, *causes[:1]])), now)

    def _queue(self, now: float) -> None:
        """Invite the hosts once there is room for them; the time to come up is counted from then on."""
        files = self.view.files
        if self._hosts.start(self._invitation, files.directory / "hosts", now):
            self._transport.guard.expect(self._hosts.records)
            self._start_deadline = now + self._start_timeout
            files.update(state="STARTING")
            self._go(Phase.HOSTS)
        elif (waiting := self._hosts.waiting) != self._queued_for:
            self._queued_for = waiting
            files.update(state="QUEUED")
            self.view.event("info", "run.queued", waiting)

    def _over(self, now: float) -> str | None:
        """Why training is over, or None."""
        if self.view.configuration.clock == "logical":
            return self._reception.training_over
        return self.view.progress.reached(now)

    def _too_late(self, missing: Sequence[str]) -> str:
        """Why a run that did not come up ends, and the cure."""
        return f"not up within {self._start_timeout:g} s: {', '.join(missing)}; more time: --timeout {2 * self._start_timeout:g}s"

    def _begin(self, now: float) -> None:
        """All are up: all nodes start."""
        view = self.view
        self._go(Phase.TRAINING)
        view.membership.begin(now)
        view.files.update(state="RUNNING", began=view.progress.begin(now))
        self.view.event("info", "run.running", f"{len(view.membership.members)} nodes up after {now - view.started:.1f} s")
        for member in view.membership.members.values():
            self._commands.give(member.name, member.incarnation, "start", now)

    def _take_over(self, living: LivingRun, now: float) -> None:
        """Expect the hosts and nodes of a living run, before the first message of them is taken."""
        self._go(Phase.HOSTS)
        self._start_deadline = now + self._start_timeout
        self._hosts.adopt(living.hosts, now)
        self._transport.guard.expect(self._hosts.records)
        self._nodes.adopt(self._hosts.slots, living.placement, living.incarnations, now)

    def _go_on(self, living: LivingRun, now: float) -> None:
        """The hosts are in, and so will be the nodes: the run goes on where it is."""
        self._go(Phase.TRAINING)
        self.view.files.update(state="RUNNING")
        text = f"segment {self.view.files.state['segment']}: a new run server takes over {len(living.incarnations)} nodes"
        self.view.event("info", "run.adopted", text)
        for member in self.view.membership.members.values():
            if member.state in UP:
                self._commands.give(member.name, member.incarnation, "start", now)
        if living.training_over:
            self._finish(living.training_over, now)

    def _finish(self, reached: str, now: float) -> None:
        """Training is over: agents stop learning, and one more evaluation is played."""
        self._reached = reached
        self._finish_deadline = now + FINISH_TIMEOUT
        self.view.progress.end(now)
        self.view.files.update(training_over=reached, trained=round(self.view.progress.seconds(now), 3))
        self._go(Phase.EVALUATION)
        self.view.event("info", "run.evaluation", f"training is over after {reached}; last evaluation")
        for member in self.view.membership.members.values():
            if member.state in UP:
                self._commands.give(member.name, member.incarnation, "finish", now)

    def _waits(self) -> list[PendingWait]:
        """What the run server waits for in this phase; in training it leads, and waits for nothing."""
        hosts, nodes, began = self._hosts, self.view.membership.members.values(), self._phase_began
        if self.phase == Phase.QUEUED:
            return [PendingWait(hosts.waiting or "capacity for hosts", (), began)]
        if self.phase == Phase.HOSTS:
            missing = [name for name in hosts.records if name not in hosts.living]
            return [PendingWait("the registration", tuple(missing), began, self._start_deadline)]
        if self.phase == Phase.NODES:
            missing = [member.name for member in nodes if member.state not in UP]
            return [PendingWait("the registration", tuple(missing), began, self._start_deadline)]
        if self.phase == Phase.EVALUATION:
            return [PendingWait("the end of the last evaluation", (ENVIRONMENT,), began, self._finish_deadline)]
        if self.phase == Phase.STOPPING and self._stopping is not None:
            remaining, deadline = self._stopping.waiting(self._nodes.living)
            return [PendingWait("the end of the process", tuple(remaining), began, deadline)]
        return [PendingWait("the end of the process", tuple(hosts.running), began)] if self.phase == Phase.CLOSING else []

    def _advance_stop(self, now: float) -> None:
        """End nodes in their order, then hosts."""
        if self._stopping is not None:
            for name, measure in self._stopping.tick(now, self._nodes.living):
                member = self.view.membership[name]
                if measure == "stop" and member.state != MemberState.JOINING:
                    self._commands.give(name, member.incarnation, "stop", now)
                    continue
                self._nodes.end(name, now=measure == "kill")
                if measure != "stop":
                    self.view.event("warning", "node.ending", f"{name} gets SIG{measure.upper()}", name)
            if self.phase == Phase.STOPPING and self._stopping.done:
                self._go(Phase.CLOSING)
                for name in self._hosts.records:
                    self._commands.give(name, 1, "stop", now)
            if self.phase == Phase.CLOSING and self._hosts.end(now, self._stopping.at_once):
                self._go(Phase.OVER)

    def _keep_informed(self, now: float) -> None:
        """Send the roster to all nodes after every change (and now and then, should one be lost), then commands that are due."""
        membership = self.view.membership
        version, sent = self._roster_sent
        if membership.version != version or self._reception.newcomers or now - sent >= _ROSTER_AGAIN:
            self._roster_sent, self._reception.newcomers = (membership.version, now), False
            if self.phase == Phase.TRAINING:  # what a run that goes on later has had of `until.time`
                self.view.files.update(trained=round(self.view.progress.seconds(now), 3))
            self._transport.guard.follow(membership.version, membership.roster().entries)
            for member in membership.members.values():
                if member.state in UP:
                    self._transport.try_send("ctl", member.name, membership.roster())
        for name, command in self._commands.due(now):
            self._transport.try_send("ctl", name, command)

    def _go(self, phase: Phase) -> None:
        self.phase, self._phase_began = phase, time.monotonic()
        self.view.phase = phase.name.lower()
