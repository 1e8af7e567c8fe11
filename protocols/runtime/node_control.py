"""A node's side of the control channel: joining, heartbeats, commands, events, metrics and the roster. How a node joins its run: it binds
its channel, is welcomed, and receives the configuration."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from protocols.conversations.control.control_messages import (
    Command,
    CommandAck,
    Event,
    EventAck,
    EventField,
    Heartbeat,
    Metrics,
    wait_fields,
)
from protocols.conversations.control.unconfirmed_metrics import UnconfirmedMetrics
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse, Roster, RosterEntry, Welcome
from protocols.conversations.membership.run_server_contact import ContactState, RunServerContact
from protocols.faults.link_effects.run_links import inject
from protocols.runtime.errors import AuthenticationError, ConfigurationError, MurmurationError, ResourceError, SchemaError
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.runtime.settings_types import parse_duration
from protocols.runtime.waits import WaitRegistry
from protocols.transport import Identity, ReceivedMessage, Transport, TransportOptions
from protocols.wire.message_registry import schema_hash
from protocols.wire.messages import Channel, Role

if TYPE_CHECKING:
    from protocols.faults.link_effects.link_shim import Shim
    from protocols.transport.connections import Destination

logger = logging.getLogger(__name__)

_JOIN_TURN = 0.1
_EVENT_AGAIN = 1.0
_MOST_EVENTS = 1024
"""events that are kept until they are acknowledged; the oldest of more are dropped and counted"""
_REFUSALS: dict[int, type[MurmurationError]] = {
    error.exit_code: error for error in (AuthenticationError, SchemaError, ConfigurationError, ResourceError)
}


@dataclass
class NodeProgress:
    """The values of a node's heartbeat; the main thread writes, the communication thread reads."""

    ticks: int = 0
    updates: int = 0
    rounds: int = 0
    episodes: int = 0
    steps: int = 0
    phase: str = "joining"
    evaluated: int = 0
    """episodes that ended of the evaluation that is being played"""
    evaluating: int = 0
    """episodes of that evaluation; 0: none is being played"""
    evaluation_left: float = 0.0
    """seconds that it takes until its end; 0: unknown"""


class NodeControl:
    """Conversation of one node with the run server."""

    def __init__(self, start: NodeStart, transport: Transport, endpoint: str) -> None:
        self.progress = NodeProgress()
        self.waits = WaitRegistry()
        self.roster: dict[str, RosterEntry] = {}
        self.roster_changed = False
        self.rejoin = False
        """the run went on without this node, which comes back into it; known after `join`"""
        self.checkpoint = -1
        """under the logical clock: the tick of the checkpoint from which all nodes continue, -1 for none"""
        self.trained, self.training = 0.0, False
        """seconds of training of the run when it was joined, those before interruptions too; whether they went on then"""
        self._start = start
        self._transport = transport
        self._endpoint = endpoint
        self._version = -1
        self._numbers = count(1)
        self._hello_id = secrets.token_hex(8)
        """request id of every `Hello`, which a refusal must contain"""
        self._commands: list[str] = []
        self._faults: list[tuple[str, str]] = []
        self._done: set[int] = set()
        self._events: OrderedDict[str, tuple[Event, float]] = OrderedDict()
        self._contact = RunServerContact(time.monotonic())
        self._metrics = UnconfirmedMetrics()
        transport.connect("ctl", RUN_SERVER, start.control, start.server_key)
        transport.connect("tele", RUN_SERVER, start.telemetry, start.server_key)

    def join(self, timeout: float = 30.0) -> dict[str, Any]:
        """Send `Hello` until welcomed; the configuration of the run. Raises the error of a refusal, `ResourceError` at the time-out."""
        deadline = time.monotonic() + timeout
        while (now := time.monotonic()) < deadline:
            if self._contact.tick(now):
                self._transport.try_send("ctl", RUN_SERVER, self._hello())
            configuration: dict[str, Any] | None = None
            # All of a batch is taken: what follows the welcome (the roster) is not sent again for seconds.
            for received in self._transport.receive(min(_JOIN_TURN, deadline - now)):
                if isinstance(received.message, Welcome):
                    self._contact.receive(received.message, time.monotonic())
                    self.rejoin, self.checkpoint = received.message.rejoin, received.message.checkpoint
                    self.trained, self.training = received.message.trained, received.message.training
                    configuration = json.loads(received.arrays["config"].tobytes())
                else:
                    self.receive(received)
            if refusal := self._transport.refusal("ctl", RUN_SERVER):
                raise AuthenticationError(refusal)
            if configuration is not None:
                if "agents" in configuration:
                    count = int(configuration["agents"]["count"])
                    self._transport.guard.expect(["env-0", *(f"agent-{i}" for i in range(count))])
                heartbeat = parse_duration(configuration["supervision"]["heartbeat"])
                self._contact.beats(heartbeat)
                self._transport.every(heartbeat, self._beat)
                self._beat()
                return configuration
        raise ResourceError(f"the run server at {self._start.control} did not answer within {timeout:g} s")

    def receive(self, received: ReceivedMessage) -> None:
        """Process a message of the channel `ctl`: a newer roster replaces the present one; each command is acknowledged at every arrival
        and executed once."""
        message, now = received.message, time.monotonic()
        if self._contact.receive(message, now):
            self._send_again()
        if self.answered:
            self._metrics.answered(now)
        if isinstance(message, Roster):
            if message.version > self._version:
                self._version = message.version
                self.roster = {entry.name: entry for entry in message.entries}
                self.roster_changed = True
        elif isinstance(message, Command):
            self._transport.try_send("ctl", RUN_SERVER, CommandAck(id=message.id))
            if message.id not in self._done:
                self._done.add(message.id)
                if message.op in ("fault", "heal"):
                    self._faults.append((message.op, message.fault))
                else:
                    self._commands.append(message.op)
        elif isinstance(message, EventAck):
            self._events.pop(message.rid, None)
        elif isinstance(message, Refuse):
            if message.rid == self._hello_id:
                raise _REFUSALS.get(message.code, ResourceError)(message.text)
            # Of a request in this node's name that it has not sent. The run server only answered, and is not to blame.
            self._transport.counters["rx.bad.E_AUTH"] += 1

    @property
    def answered(self) -> bool:
        """Whether the run server answers. While it does not, events and metrics are kept, and this node offers itself to a successor."""
        return self._contact.state == ContactState.REGISTERED

    def commands(self) -> Iterator[str]:
        """Commands that came since the last call, each once."""
        commands, self._commands = self._commands, []
        return iter(commands)

    def faults(self) -> list[tuple[str, str]]:
        """Orders about faults that came since the last call, each once: (fault or heal, what)."""
        faults, self._faults = self._faults, []
        return faults

    def event(self, severity: str, code: str, text: str, **fields: object) -> None:
        """Send an event to the run server until it is acknowledged; the local log has it first."""
        logger.log({"info": logging.INFO, "warning": logging.WARNING}.get(severity, logging.ERROR), "%s: %s", code, text)
        rid = f"{self._start.incarnation}-{next(self._numbers)}"
        named = [EventField(name, str(value)[:1000]) for name, value in fields.items()]
        event = Event(severity=severity, code=code, text=text[:1000], fields=named, rid=rid)  # type: ignore[arg-type]
        self._events[rid] = (event, 0.0)
        while len(self._events) > _MOST_EVENTS:
            self._events.popitem(last=False)
            self._transport.counters["tx.dropped_events"] += 1
        self.tick(time.monotonic())

    def report(self, metrics: Metrics, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Send a row of metrics to the run server, which may be gone: rows are kept, and sent again where another one takes over. The
        arrays must not be changed afterwards."""
        dropped = self._metrics.dropped
        self._metrics.add(metrics, arrays)
        if self._metrics.dropped > dropped:
            self._transport.counters["tx.dropped_metrics"] += self._metrics.dropped - dropped
        self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Register again where the run server is silent; else send what it does not have yet. `now`: monotonic time in seconds."""
        if self._contact.tick(now):
            self._transport.try_send("ctl", RUN_SERVER, self._hello())
        if not self.answered:
            return
        self._metrics.send(lambda message, arrays: self._transport.try_send("tele", RUN_SERVER, message, arrays), now)
        for rid, (event, due) in self._events.items():
            if now >= due:
                self._events[rid] = (event, now + _EVENT_AGAIN)
                self._transport.try_send("ctl", RUN_SERVER, event)

    def _send_again(self) -> None:
        """The run server answers again, or another one does: what was sent before may be lost."""
        self._metrics.send_again()
        for rid, (event, _) in self._events.items():
            self._events[rid] = (event, 0.0)

    def leave(self, code: int, reason: str = "") -> None:
        """Report that this node ends by itself, after its last counters: the last periodic heartbeat may be older than they are."""
        self.tick(time.monotonic())
        self._beat()
        self._transport.try_send("ctl", RUN_SERVER, Bye(code=code, reason=reason))

    def _hello(self) -> Hello:
        return Hello(
            rid=self._hello_id,
            role=self._start.role,
            token=self._start.token(),
            schema=schema_hash(),
            endpoint=self._endpoint,
            pid=os.getpid(),
            host=socket.gethostname(),
        )

    def _beat(self) -> None:
        beat = Heartbeat(**vars(self.progress), depth=max(0, self._transport.depth), **wait_fields(self.waits.report()))
        self._transport.try_send("ctl", RUN_SERVER, beat)


@dataclass(frozen=True)
class Entrance:
    """A node that was welcomed to its run."""

    start: NodeStart
    transport: Transport
    control: NodeControl
    configuration: Mapping[str, Any]
    """the run's, whole and checked"""
    shim: Shim[Destination] | None
    """what happens to its messages under `clock: wall`, where the run has faults of the links"""

    @property
    def logical(self) -> bool:
        """Whether the run goes by ticks instead of by real time."""
        return bool(self.configuration["clock"] == "logical")


def enter(start: NodeStart, role: Role, channel: Channel) -> Entrance:
    """Listen on `channel` and send `Hello` until welcomed. Raises what `NodeControl.join` does."""
    options = TransportOptions(shared_memory=start.carrier == "shared", keys=start.keys, token=start.token())
    transport = Transport(Identity(start.run, start.node, start.incarnation, role), options)
    endpoint = transport.bind(channel, start.bind, carrier=start.carrier, advertise=start.advertise)
    control = NodeControl(start, transport, endpoint)
    configuration = control.join()
    shim = inject(transport, start, configuration, control.trained, control.training)
    return Entrance(start, transport, control, configuration, shim)
