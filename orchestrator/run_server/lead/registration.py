"""Takes every message that reaches the run server: admits who may take part, answers clients, records metrics and events.

What needs a decision about the run is laid out for the leader: `ended`, `stops`, `requests`, `finished`.
"""

from __future__ import annotations

import logging
import socket
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from orchestrator.launch.host.host_files import APART
from orchestrator.launch.process_control import ProcessRecord, identify
from orchestrator.run_server.hosts.node_commands import Admission, NodeCommands
from orchestrator.run_server.hosts.run_hosts import PATIENCE, RunHosts
from orchestrator.run_server.hosts.run_nodes import ENVIRONMENT, RunNodes
from orchestrator.run_server.lead.status_snapshot import RunView, snapshot_json
from protocols.conversations.client_requests.client_messages import (
    FaultRequest,
    RestartRequest,
    Status,
    StatusRequest,
    StopRequest,
    WhyRequest,
)
from protocols.conversations.control.control_messages import CommandAck, Event, EventAck, Heartbeat, HeartbeatAck, Metrics
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse, Welcome
from protocols.conversations.node_processes.node_process_messages import NodeEnded, NodeEndedAck, NodeStarted
from protocols.runtime.errors import ExitCode
from protocols.transport import ReceivedMessage, Transport
from protocols.wire.guard_sources import MessageSender
from protocols.wire.messages import Message

logger = logging.getLogger(__name__)

_EVENTS_REMEMBERED = 4096
_WISHES_REMEMBERED = 256
_KNOWN = 256
_SILENCE = 5.0


@dataclass
class _Leash:
    pid: int
    machine: str
    process: ProcessRecord | None
    asked: float


class AttachedClients:
    """Clients of one run server."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._leashes: dict[str, _Leash] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def admit(self, name: str) -> None:
        """A client showed the run's token. The oldest of many are dropped, and must send `Hello` again."""
        self._known[name] = None
        self._known.move_to_end(name)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def asked(self, name: str, request: StatusRequest, now: float) -> None:
        """A client asks for the status; the newest request states whether it holds the leash."""
        if not request.leash:
            self._leashes.pop(name, None)
        elif (leash := self._leashes.get(name)) is not None:
            leash.asked = now
        else:
            self._leashes[name] = _Leash(request.pid, request.host, identify("client", request.pid), now)

    def torn(self, now: float) -> bool:
        """A client that held the leash is gone: silent for 5 s, and its process exists no more on this machine.

        A stopped terminal (Ctrl-Z) or a busy machine is silent too, but its process exists; a client on another machine can't be seen,
        and its silence ends nothing.
        """
        for leash in self._leashes.values():
            if now - leash.asked < _SILENCE or leash.machine != socket.gethostname():
                continue
            if not psutil.pid_exists(leash.pid) or identify("client", leash.pid) != leash.process:
                return True
        return False


class Registration:
    """See the module. Nothing that arrives can raise out of `handle`."""

    def __init__(
        self,
        view: RunView,
        transport: Transport,
        hosts: RunHosts,
        nodes: RunNodes,
        commands: NodeCommands,
        admission: Admission,
    ) -> None:
        self.clients = AttachedClients()
        self.ended: list[NodeEnded] = []
        """processes that a host reports as gone"""
        self.stops: list[StopRequest] = []
        """clients' requests that the run end"""
        self.requests: list[tuple[str, RestartRequest | FaultRequest]] = []
        """what clients want of single nodes, by client; each is to be answered (`reply`)"""
        self.questions: list[tuple[str, WhyRequest]] = []
        """clients that ask what the nodes wait for; each is to be answered (`answer`)"""
        self.finished = False
        """the environment server has done the last evaluation"""
        self.training_over: str | None = None
        """what the environment server ended training for (logical clock: it decides alone)"""
        self.newcomers = False
        """a node was welcomed and needs the roster"""
        self.byes: dict[str, Bye] = {}
        self._view = view
        self._transport = transport
        self._hosts = hosts
        self._nodes = nodes
        self._commands = commands
        self._admission = admission
        self._configuration = np.frombuffer(view.files.configuration_json(), np.uint8)
        self._seen_events: OrderedDict[tuple[str, int, str], None] = OrderedDict()
        self._rows: dict[str, MessageSender] = {}
        """node to the numbers of its metrics that have come"""
        self._granted: OrderedDict[tuple[str, str], Mapping[str, Any] | Refuse | None] = OrderedDict()
        """answers by client and request, None before the answer: requests are repeated, and carried out once"""

    def handle(self, received: ReceivedMessage, now: float) -> None:
        """Take one message."""
        message, src = received.message, received.src
        try:
            if isinstance(message, Hello):
                self._hello(src, message, now)
            elif src in self._hosts.records:
                self._from_host(src, received, now)
            elif src in self._view.membership.members:
                self._from_node(received, now)
            elif src in self.clients:
                self._from_client(src, message, now)
            elif isinstance(message, StatusRequest | StopRequest | RestartRequest | FaultRequest | WhyRequest):
                self._refuse(src, message, Refuse(code=ExitCode.AUTHENTICATION, text="send Hello with the run's token first"))
        except (KeyError, ValueError, TypeError) as error:
            logger.warning("%s from %s was not understood: %r", type(message).__name__, src, error)

    # --- hello --------------------------------------------------------------------------------------------------------------------

    def _hello(self, src: str, hello: Hello, now: float) -> None:
        refusal = self._admission.judge(hello) or self._unexpected(src, hello, now)
        if refusal is not None:
            self._view.event("warning", "hello.refused", f"{src or 'an unnamed peer'} was refused: {refusal.text}")
            self._refuse(src, hello, refusal)
            return
        files, takes_part = self._view.files, hello.role in ("agent", "env")
        welcome = Welcome(
            rid=hello.rid,
            digest=str(files.state.get("config_digest", "")),
            directory=str(files.directory),
            rejoin=src in self._nodes.returned,
            checkpoint=self._view.checkpoint,
            trained=self._view.progress.seconds(now),
            training=self._view.phase in ("training", "evaluation"),
        )
        self._transport.try_send("ctl", src, welcome, {"config": self._configuration} if takes_part else None)
        self.newcomers |= takes_part

    def _unexpected(self, src: str, hello: Hello, now: float) -> Refuse | None:
        """A refusal unless a peer of that name, role and incarnation is expected."""
        if hello.role == "client":
            self.clients.admit(src)
            return None
        if hello.role == "host" and src in self._hosts.records:
            if self._hosts.membership.hello(src, hello.inc, "", now):
                self._hosts.records[src].machine, self._hosts.records[src].pid = hello.host, hello.pid
                if APART in hello.features:
                    self._hosts.patience = PATIENCE
                    self._nodes.files.apart(src)
                self._nodes.record(src, hello.pid)
                return None
        elif src in self._view.membership.members and self._view.membership[src].role == hello.role:
            if self._view.membership.hello(src, hello.inc, hello.endpoint, now):
                return None
            return Refuse(code=ExitCode.CRASH, text=f"incarnation {hello.inc} of {src} has ended for this run; a new one will be started")
        return Refuse(code=ExitCode.AUTHENTICATION, text=f"no {hello.role} {src!r} is expected")

    def _refuse(self, src: str, request: Message, refusal: Refuse) -> None:
        refusal.rid = request.rid
        self._transport.try_send("ctl", src, refusal)

    # --- hosts, nodes, clients ----------------------------------------------------------------------------------------------------

    def _from_host(self, host: str, received: ReceivedMessage, now: float) -> None:
        message = received.message
        if not self._hosts.membership.message_received(host, message.inc, now) or self._nodes.files.receive(
            host, message, received.arrays, now
        ):
            return
        if isinstance(message, Heartbeat):
            self._transport.try_send("ctl", host, HeartbeatAck())
            self._view.heartbeats[host] = now, message
        elif isinstance(message, NodeStarted):
            self._nodes.started(host, message)
        elif isinstance(message, NodeEnded):
            self._transport.try_send("ctl", host, NodeEndedAck(node=message.node, incarnation=message.incarnation))
            self.ended.append(message)
        elif isinstance(message, CommandAck):
            self._commands.acknowledged(host, message.id)
        elif isinstance(message, Event):
            self._event(host, message)

    def _from_node(self, received: ReceivedMessage, now: float) -> None:
        src, message, view = received.src, received.message, self._view
        counters = None
        if isinstance(message, Heartbeat):
            counters = (message.ticks, message.updates, message.rounds, message.episodes, message.phase)
        if not view.membership.message_received(src, message.inc, now, counters):
            return
        if isinstance(message, Heartbeat):
            self._transport.try_send("ctl", src, HeartbeatAck())
            view.heartbeats[src] = now, message
            view.phases[src] = message.phase
            view.rounds[src] = message.rounds
            if src == ENVIRONMENT:
                self.finished |= message.phase == "finished"  # the event may have gone to an earlier run server
                view.evaluation = (message.evaluated, message.evaluating, message.evaluation_left)
            if src == ENVIRONMENT and message.phase != "joining":
                view.progress.count(message.inc, message.episodes, message.steps)
        elif isinstance(message, Metrics):
            if not self._is_new(src, message):
                return
            view.collector.receive(src, message, received.arrays, self._nodes.agents_up)
        elif isinstance(message, CommandAck):
            self._commands.acknowledged(src, message.id)
            if message.status == "failed":
                view.event("warning", "command.failed", f"a command failed: {message.detail}", src)
        elif isinstance(message, Event):
            self._event(src, message)
        elif isinstance(message, Bye):
            self.byes[src] = message

    def _is_new(self, src: str, message: Metrics) -> bool:
        """Whether this row has not come before: nodes send again what may be lost."""
        known = self._rows.get(src)
        if known is None or known.incarnation != message.inc:
            known = self._rows[src] = MessageSender(src, message.inc)
        return not message.number or known.fresh(message.number)

    def _from_client(self, src: str, message: Message, now: float) -> None:
        if isinstance(message, StatusRequest):
            self.clients.asked(src, message, now)
            self.answer(src, message, message.after, now)
        elif isinstance(message, StopRequest):
            self.stops.append(message)
            self.answer(src, message, self._view.events.last_id, now)
        elif isinstance(message, WhyRequest):
            self.questions.append((src, message))
        elif isinstance(message, RestartRequest | FaultRequest):
            self._wished(src, message, now)

    def _wished(self, src: str, message: RestartRequest | FaultRequest, now: float) -> None:
        key = (src, message.rid)
        if key not in self._granted:
            self._granted[key] = None
            self.requests.append((src, message))
            while len(self._granted) > _WISHES_REMEMBERED:
                self._granted.popitem(last=False)
        elif (known := self._granted[key]) is not None:
            self.reply(src, message, known, now)

    def reply(self, src: str, request: Message, answer: Mapping[str, Any] | Refuse, now: float) -> None:
        """Answer a request, now and whenever it is repeated."""
        self._granted[src, request.rid] = answer
        if isinstance(answer, Refuse):
            self._refuse(src, request, answer)
        else:
            self.answer(src, request, self._view.events.last_id, now, answer)

    def answer(self, src: str, request: Message, after: int, now: float, answer: Mapping[str, Any] | None = None) -> None:
        """Send the status of the run, with the events after number `after`, and an `answer` where the request has one."""
        frame = np.frombuffer(snapshot_json(self._view, now, after, answer), np.uint8)
        self._transport.try_send("ctl", src, Status(rid=request.rid), {"snapshot": frame})

    def _event(self, src: str, event: Event) -> None:
        """Write an event of a node once, however often it is sent."""
        self._transport.try_send("ctl", src, EventAck(rid=event.rid))
        key = (src, event.inc, event.rid)
        if event.rid and key in self._seen_events:
            return
        self._seen_events[key] = None
        while len(self._seen_events) > _EVENTS_REMEMBERED:
            self._seen_events.popitem(last=False)
        fields = {field.name: field.value for field in event.fields}
        self._view.event(event.severity, event.code, event.text, src, **({"fields": fields} if fields else {}))
        if src == ENVIRONMENT:
            self.finished |= event.code == "finished"
            if event.code == "training.over":
                self.training_over = event.text
