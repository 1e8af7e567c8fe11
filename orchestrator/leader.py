"""Leads one run: starts its nodes, admits them, keeps them informed, restarts them, and ends the run in order.

    HOSTS -> NODES -> TRAINING -> EVALUATION -> STOPPING -> CLOSING -> OVER
      every host in, every node up, `until` reached, last evaluation done, nodes ended, hosts ended

Any phase before STOPPING may go there at once: a request, a signal, the leash, a host that is lost, too few agents. One turn of
`Leader.turn` handles what has arrived and lets what is due happen; it never waits for longer than a tenth of a second.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from orchestrator.clients import Clients
from orchestrator.hosts import Hosts
from orchestrator.launch.placement import NodeRequest, Slot, place
from orchestrator.rendezvous import RETRY, Admission, Commands
from orchestrator.run_files import write_json
from orchestrator.snapshot import RunView, snapshot
from orchestrator.stopping import OrderedStop
from orchestrator.supervision import Fate, describe_exit
from orchestrator.sweep import ProcessRecord, identify, write_records
from protocols.errors import ExitCode
from protocols.membership import Change, State
from protocols.messages import (
    Bye,
    CommandAck,
    Event,
    EventAck,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Message,
    Metrics,
    NodeEnded,
    NodeEndedAck,
    NodeStarted,
    Refuse,
    StartNode,
    Status,
    StatusRequest,
    StopNode,
    StopRequest,
    Welcome,
)
from protocols.transport import Received, Transport

logger = logging.getLogger(__name__)

ENVIRONMENT = "env-0"
FINISH_TIMEOUT = 600.0
"""seconds for the last evaluation"""
_TURN = 0.1
_ROSTER_AGAIN = 5.0
_EVENTS_REMEMBERED = 4096
_STATUS_LIMIT = 900_000
_EVENTS_AT_LEAST = 50
_UP = (State.ALIVE, State.STUCK, State.SUSPECT)
_SEVERITY = {State.STUCK: "warning", State.SUSPECT: "warning", State.DEAD: "warning", State.LOST: "error"}


class Phase(IntEnum):
    """Of a run, in order."""

    HOSTS = 0
    NODES = 1
    TRAINING = 2
    EVALUATION = 3
    STOPPING = 4
    CLOSING = 5
    OVER = 6


@dataclass(frozen=True)
class Outcome:
    """How a run ends: DONE, FAILED or STOPPED, with the exit code and the reason in words."""

    state: str
    exit_code: int
    reason: str


@dataclass
class _Process:
    """The process of a node's newest incarnation."""

    host: str
    start: StartNode
    pid: int | None = None
    ended: bool = False
    due: float = 0.0
    """when StartNode is sent again (until `pid` is known)"""
    kill_due: float | None = None
    """when StopNode is sent (again) to a process that was declared dead"""


class Leader:
    """See the module. `view` holds the parts that others look at too."""

    def __init__(
        self,
        view: RunView,
        transport: Transport,
        hosts: Hosts,
        slots: Sequence[Slot],
        admission: Admission,
        configuration_json: bytes,
        start_timeout: float,
    ) -> None:
        self.view = view
        self.outcome: Outcome | None = None
        self.phase = Phase.HOSTS
        self._transport = transport
        self._hosts = hosts
        self._slots = slots
        self._admission = admission
        self._configuration = np.frombuffer(configuration_json, np.uint8)
        self._start_deadline = view.started + start_timeout
        self._start_timeout = start_timeout
        self._processes: dict[str, _Process] = {}
        self._records: list[ProcessRecord] = []
        self._commands = Commands()
        self._clients = Clients()
        self._seen_events: OrderedDict[tuple[str, int, str], None] = OrderedDict()
        self._byes: dict[str, Bye] = {}
        self._roster_sent = (-1, 0.0)
        self._stopping: OrderedStop | None = None
        self._finish_deadline = 0.0
        self._reached = ""
        self._signals = 0
        self._signals_seen = 0

    # --- from outside -------------------------------------------------------------------------------------------------------------

    def signal(self) -> None:
        """A signal asks the run server to end: the first in order, the second at once. Safe in a signal handler."""
        self._signals += 1

    def turn(self) -> bool:
        """Handle what has arrived, let happen what is due. False when the run is over."""
        for received in self._transport.receive(_TURN):
            try:
                self._handle(received)
            except (KeyError, ValueError) as error:
                logger.warning("%s from %s was not understood: %r", type(received.message).__name__, received.src, error)
        now = time.monotonic()
        self._obey_signals(now)
        self._watch_hosts(now)
        self._watch_nodes(now)
        self._advance(now)
        self._keep_informed(now)
        self.view.collector.check()
        return self.phase != Phase.OVER

    def stop(self, outcome: Outcome, now: float, at_once: bool = False) -> None:
        """End the run with this outcome; the first outcome counts. Again with `at_once`: no more order."""
        if self.outcome is None:
            self.outcome = outcome
            self.view.progress.end(now)
            self.view.files.update(state="STOPPING", reason=outcome.reason)
            self._event("info" if outcome.exit_code in (0, ExitCode.INTERRUPTED) else "error", "run.stopping", outcome.reason)
            roles = self.view.membership
            stages = [[n for n in self._processes if roles[n].role == "agent"], [n for n in self._processes if roles[n].role == "env"]]
            self._stopping = OrderedStop(stages, at_once)
            self._go(Phase.STOPPING)
        elif at_once and self._stopping is not None:
            self._stopping.hurry()
        if at_once and self.phase == Phase.CLOSING:
            self._hosts.hurry()

    # --- messages -----------------------------------------------------------------------------------------------------------------

    def _handle(self, received: Received) -> None:
        message, src, now = received.message, received.src, time.monotonic()
        if isinstance(message, Hello):
            self._hello(src, message, now)
        elif src in self._hosts.records:
            self._from_host(src, message, now)
        elif src in self.view.membership.members:
            self._from_node(received, now)
        elif src in self._clients:
            self._from_client(src, message, now)
        elif isinstance(message, StatusRequest | StopRequest):
            self._refuse(src, message, Refuse(code=ExitCode.AUTHENTICATION, text="say hello with the run's token first"))

    def _hello(self, src: str, hello: Hello, now: float) -> None:
        refusal = self._admission.judge(hello)
        if refusal is None:
            refusal = self._known(src, hello, now)
        if refusal is not None:
            self._event("warning", "hello.refused", f"{src or 'somebody'} was refused: {refusal.text}")
            self._refuse(src, hello, refusal)
            return
        welcome = Welcome(
            rid=hello.rid, digest=str(self.view.files.state.get("config_digest", "")), directory=str(self.view.files.directory)
        )
        self._transport.try_send("ctl", src, welcome, {"config": self._configuration} if hello.role in ("agent", "env") else None)
        if hello.role in ("agent", "env"):
            self._roster_sent = (-1, 0.0)

    def _known(self, src: str, hello: Hello, now: float) -> Refuse | None:
        """Whether somebody of that name and incarnation is expected."""
        if hello.role == "client":
            self._clients.admit(src)
            return None
        if hello.role == "host" and src in self._hosts.records:
            if self._hosts.membership.hello(src, hello.inc, "", now):
                self._hosts.records[src].machine = hello.host
                self._record_process(src, hello.pid)
                return None
        elif src in self.view.membership.members and self.view.membership[src].role == hello.role:
            if self.view.membership.hello(src, hello.inc, hello.endpoint, now):
                return None
            return Refuse(code=ExitCode.CRASH, text=f"incarnation {hello.inc} of {src} has ended for this run; a new one will be started")
        return Refuse(code=ExitCode.AUTHENTICATION, text=f"nobody expects {src!r} in the role {hello.role}")

    def _refuse(self, src: str, request: Message, refusal: Refuse) -> None:
        refusal.rid = request.rid
        self._transport.try_send("ctl", src, refusal)

    def _from_host(self, host: str, message: Message, now: float) -> None:
        if not self._hosts.membership.life(host, message.inc, now):
            return
        if isinstance(message, Heartbeat):
            self._transport.try_send("ctl", host, HeartbeatAck())
        elif isinstance(message, NodeStarted):
            process = self._processes.get(message.node)
            if process is not None and process.start.incarnation == message.incarnation and process.pid is None:
                process.pid = self.view.pids[message.node] = message.pid
                self._record_process(message.node, message.pid)
        elif isinstance(message, NodeEnded):
            self._transport.try_send("ctl", host, NodeEndedAck(node=message.node, incarnation=message.incarnation))
            self._node_ended(message, now)
        elif isinstance(message, CommandAck):
            self._commands.acknowledged(host, message.id)
        elif isinstance(message, Event):
            self._node_event(host, message)

    def _from_node(self, received: Received, now: float) -> None:
        src, message, view = received.src, received.message, self.view
        counters = None
        if isinstance(message, Heartbeat):
            counters = (message.ticks, message.updates, message.rounds, message.episodes, message.phase)
        if not view.membership.life(src, message.inc, now, counters):
            return
        if isinstance(message, Heartbeat):
            self._transport.try_send("ctl", src, HeartbeatAck())
            view.phases[src] = message.phase
            if src == ENVIRONMENT and message.phase != "joining":
                view.progress.count(message.inc, episodes=message.episodes)
        elif isinstance(message, Metrics):
            view.collector.receive(src, message, received.arrays, self._living_agents())
            if src == ENVIRONMENT:
                reported = view.collector.newest[src].get("steps", message.step)
                view.progress.count(message.inc, steps=int(reported))
        elif isinstance(message, CommandAck):
            self._commands.acknowledged(src, message.id)
            if message.status == "failed":
                self._event("warning", "command.failed", f"a command failed: {message.detail}", src)
        elif isinstance(message, Event):
            self._node_event(src, message)
        elif isinstance(message, Bye):
            self._byes[src] = message

    def _from_client(self, src: str, message: Message, now: float) -> None:
        if isinstance(message, StatusRequest):
            self._clients.asked(src, message, now)
            self._answer(src, message, message.after, now)
        elif isinstance(message, StopRequest):
            self.stop(Outcome("STOPPED", ExitCode.INTERRUPTED, message.reason or "stopped by request"), now, message.now)
            self._answer(src, message, self.view.events.last_id, now)

    def _answer(self, src: str, request: Message, after: int, now: float) -> None:
        contents = snapshot(self.view, now, after)
        text = json.dumps(contents).encode()
        if len(text) > _STATUS_LIMIT:
            # The control channel takes 1 MiB: events.jsonl has what is left out here, the nodes' files have the history.
            contents["events"] = contents["events"][-_EVENTS_AT_LEAST:]
            for node in contents["nodes"]:
                node["history"] = {}
            text = json.dumps(contents).encode()
        self._transport.try_send("ctl", src, Status(rid=request.rid), {"snapshot": np.frombuffer(text, np.uint8)})

    def _node_event(self, src: str, event: Event) -> None:
        self._transport.try_send("ctl", src, EventAck(rid=event.rid))
        key = (src, event.inc, event.rid)
        if event.rid and key in self._seen_events:
            return
        self._seen_events[key] = None
        while len(self._seen_events) > _EVENTS_REMEMBERED:
            self._seen_events.popitem(last=False)
        fields = {field.name: field.value for field in event.fields}
        self._event(event.severity, event.code, event.text, src, **({"fields": fields} if fields else {}))
        if event.code == "finished" and src == ENVIRONMENT and self.phase == Phase.EVALUATION:
            self.stop(Outcome("DONE", ExitCode.OK, self._reached), time.monotonic())

    # --- nodes --------------------------------------------------------------------------------------------------------------------

    def _start_nodes(self, now: float) -> None:
        """Place all nodes and have each started."""
        configuration = self.view.configuration
        needs = configuration.launch.resources
        requests = [NodeRequest(ENVIRONMENT, "env", needs.env.cores, needs.env.memory)]
        requests += [NodeRequest(name, "agent", needs.agent.cores, needs.agent.memory) for name in configuration.agent_names()]
        where = place(requests, self._slots, configuration.launch.placement)
        directory = self.view.files.directory
        write_json(directory / "placement.json", where)
        write_json(
            directory / "hosts.json",
            [
                {"name": s.name, "machine": self._hosts.records[s.name].machine, "cores": s.cores, "memory": s.memory, "gpus": s.gpus}
                for s in self._slots
            ],
        )
        cores = {slot.name: slot.cores for slot in self._slots}
        for request in requests:
            slot = where[request.name]
            sharing = sum(other == slot for other in where.values())
            threads = configuration.launch.threads
            count = max(1, int(cores[slot] / sharing)) if threads == "auto" else threads
            self._start(request.name, "env" if request.role == "env" else "agent", slot, count, now)

    def _start(self, name: str, role: str, host: str, threads: int, now: float) -> None:
        """Have the next incarnation of a node started."""
        incarnation = self.view.files.next_incarnation(name)
        message = StartNode(node=name, role=role, incarnation=incarnation, threads=threads)  # type: ignore[arg-type]
        self.view.membership.expect(name, message.role, incarnation, now)
        self.view.troubles.pop(name, None)
        self.view.pids.pop(name, None)
        self._byes.pop(name, None)
        self._processes[name] = _Process(host, message)

    def _watch_nodes(self, now: float) -> None:
        self.view.membership.tick(now, judge_progress=self.phase in (Phase.TRAINING, Phase.EVALUATION))
        for change in self.view.membership.changes():
            self._changed(change, now)
        for name, process in self._processes.items():
            if process.pid is None and not process.ended and process.due <= now:
                process.due = now + RETRY
                self._transport.try_send("ctl", process.host, process.start)
            if process.kill_due is not None and process.kill_due <= now:
                process.kill_due = now + RETRY
                self._transport.try_send("ctl", process.host, StopNode(node=name, now=True))
        if self.phase < Phase.STOPPING:
            for name in self.view.supervisor.due(now):
                old = self._processes[name]
                self.view.collector.forget(name)
                self._start(name, old.start.role, old.host, old.start.threads, now)

    def _changed(self, change: Change, now: float) -> None:
        """A node went from one state to another."""
        name, view = change.node, self.view
        if change.new == State.DEAD:
            process = self._processes[name]
            if not process.ended and process.start.incarnation == change.incarnation:
                process.kill_due = now
                view.troubles[name] = change.reason
        if change.old == State.JOINING and change.new == State.ALIVE:
            view.supervisor.alive(name, now)
            view.up_after.setdefault(name, now - view.started)
            if self.phase in (Phase.TRAINING, Phase.EVALUATION):
                self._commands.give(name, change.incarnation, "start", now)
            if self.phase == Phase.EVALUATION:
                self._commands.give(name, change.incarnation, "finish", now)
        if change.new in (State.DEAD, State.LEFT, State.LOST):
            view.collector.close_rounds(self._living_agents())
        old = f" (was {change.old.value})" if change.old is not None and change.old != State.JOINING else ""
        text = f"{name} {change.new.value}{old}, incarnation {change.incarnation}: {change.reason}"
        self._event(_SEVERITY.get(change.new, "info"), f"node.{change.new.value}", text, name, incarnation=change.incarnation)

    def _node_ended(self, message: NodeEnded, now: float) -> None:
        """A node's process is gone: restart it, give it up, or let it rest."""
        name, view = message.node, self.view
        process = self._processes.get(name)
        if process is None or process.start.incarnation != message.incarnation or process.ended:
            return
        # Whatever it says with its last breath: a node that was declared dead was ended by us.
        code = message.code if process.kill_due is None else -9
        process.ended, process.kill_due = True, None
        self._commands.forget(name)
        bye = self._byes.get(name)
        how = describe_exit(code) + (f": {bye.reason}" if bye is not None and bye.reason else "")
        if self.phase >= Phase.STOPPING:
            view.membership.ended(name, message.incarnation, code == 0, how)
            return
        view.membership.ended(name, message.incarnation, code == 0, how)
        if self.phase == Phase.NODES and code >= 0:
            tail = view.files.log_tail(name)
            text = f"{name} ended before the run began, {how}" + (f"; the end of its log:\n{tail}" if tail else "")
            self.stop(Outcome("FAILED", code or ExitCode.CRASH, text), now)
            return
        silence = view.troubles.get(name)
        decision = view.supervisor.ended(name, code, now)
        if decision.fate == Fate.RESTART:
            trouble = f"{silence or how}, attempt {decision.attempt} of {decision.of}"
            view.troubles[name] = trouble
            self._event("warning", "node.restart", f"{name} {trouble}, back in {decision.delay:.1f} s", name, exit=code)
        elif decision.fate == Fate.LOST:
            view.troubles[name] = f"given up: {decision.reason}"
            view.membership.lost(name, decision.reason)

    def _living_agents(self) -> list[str]:
        return self.view.membership.names(*_UP, role="agent")

    def _record_process(self, name: str, pid: int) -> None:
        record = identify(name, pid)
        if record is not None:
            self._records.append(record)
            write_records(self.view.files.directory, self._records)

    # --- what is due --------------------------------------------------------------------------------------------------------------

    def _obey_signals(self, now: float) -> None:
        while self._signals_seen < self._signals:
            self._signals_seen += 1
            self.stop(Outcome("STOPPED", ExitCode.INTERRUPTED, "stopped by a signal"), now, at_once=self._signals_seen > 1)
        if self.phase < Phase.STOPPING and self._clients.torn(now):
            self.stop(Outcome("STOPPED", ExitCode.INTERRUPTED, "the terminal went away"), now)

    def _watch_hosts(self, now: float) -> None:
        for name, code, how in self._hosts.watch(now):
            for process in self._processes.values():
                if process.host == name and not process.ended:
                    process.ended = True
                    self.view.membership.ended(process.start.node, process.start.incarnation, False, f"its host {name} {how}")
            if self.phase < Phase.STOPPING:
                exit_code = code if code is not None and code > 0 and self.phase == Phase.HOSTS else int(ExitCode.CRASH)
                log = self.view.files.directory / "hosts" / f"{name}.log"
                self.stop(Outcome("FAILED", exit_code, f"the host {name} is lost ({how}); its log is {log}"), now)

    def _advance(self, now: float) -> None:
        """Go to the next phase when this one is complete, or end the run when it can't be."""
        view = self.view
        if self.phase == Phase.HOSTS and self._hosts.all_in:
            self._start_nodes(now)
            self._go(Phase.NODES)
        elif self.phase == Phase.NODES and all(m.state in _UP for m in view.membership.members.values()):
            self._begin(now)
        elif self.phase <= Phase.NODES and now >= self._start_deadline:
            missing = [m.name for m in view.membership.members.values() if m.state not in _UP] or list(self._hosts.records)
            text = f"not up within {self._start_timeout:g} s: {', '.join(missing)}"
            self.stop(Outcome("FAILED", ExitCode.CRASH, text), now)
        elif self.phase == Phase.TRAINING and (reached := view.progress.reached(now)) is not None:
            self._reached = reached
            view.progress.end(now)
            self._go(Phase.EVALUATION)
            self._finish_deadline = now + FINISH_TIMEOUT
            self._event("info", "run.evaluation", f"training is over after {reached}; last evaluation")
            for member in view.membership.members.values():
                self._commands.give(member.name, member.incarnation, "finish", now)
        elif self.phase == Phase.EVALUATION and now >= self._finish_deadline:
            self._event("warning", "run.unfinished", f"the last evaluation did not end within {FINISH_TIMEOUT:g} s")
            self.stop(Outcome("DONE", ExitCode.OK, self._reached), now)
        if Phase.NODES <= self.phase < Phase.STOPPING and (verdict := view.supervisor.verdict()) is not None:
            self.stop(Outcome("FAILED", ExitCode.ABORTED, verdict), now)
        self._advance_stop(now)

    def _begin(self, now: float) -> None:
        """All are up: let everybody start."""
        view = self.view
        self._go(Phase.TRAINING)
        view.membership.begin(now)
        view.progress.begin(now)
        view.files.update(state="RUNNING")
        self._event("info", "run.running", f"{len(view.membership.members)} nodes up after {now - view.started:.1f} s")
        for member in view.membership.members.values():
            self._commands.give(member.name, member.incarnation, "start", now)

    def _advance_stop(self, now: float) -> None:
        if self.phase == Phase.STOPPING and self._stopping is not None:
            living = [name for name, process in self._processes.items() if not process.ended]
            for name, measure in self._stopping.tick(now, living):
                process = self._processes[name]
                if measure == "stop" and self.view.membership[name].state != State.JOINING:
                    self._commands.give(name, process.start.incarnation, "stop", now)
                else:
                    self._transport.try_send("ctl", process.host, StopNode(node=name, now=measure == "kill"))
                    if measure != "stop":
                        self._event("warning", "node.ending", f"{name} gets SIG{measure.upper()}", name)
            if self._stopping.done:
                self._go(Phase.CLOSING)
                for name in self._hosts.records:
                    self._commands.give(name, 1, "stop", now)
                if self._stopping.at_once:
                    self._hosts.hurry()
        if self.phase == Phase.CLOSING:
            self._hosts.end(now)
            if self._hosts.all_ended or self._hosts.given_up:
                self._go(Phase.OVER)

    def _keep_informed(self, now: float) -> None:
        """Send the roster to everybody after every change (and now and then, should one be lost), then commands that are due."""
        membership = self.view.membership
        version, sent = self._roster_sent
        if membership.version != version or now - sent >= _ROSTER_AGAIN:
            self._roster_sent = (membership.version, now)
            for member in membership.members.values():
                if member.state in _UP:
                    self._transport.try_send("ctl", member.name, membership.roster())
        for name, command in self._commands.due(now):
            self._transport.try_send("ctl", name, command)

    def _go(self, phase: Phase) -> None:
        self.phase = phase
        self.view.phase = phase.name.lower()

    def _event(self, severity: str, code: str, text: str, node: str = "run", **fields: object) -> None:
        logger.log({"info": logging.INFO, "warning": logging.WARNING}.get(severity, logging.ERROR), "%s: %s", code, text)
        self.view.events.record(severity, code, text, node, **fields)
