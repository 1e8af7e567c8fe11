"""A node's side of the control channel: joining, heartbeats, commands and the roster."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from protocols.conversations.control.control_messages import Command, CommandAck, Event, EventAck, EventField, Heartbeat
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse, Roster, RosterEntry, Welcome
from protocols.runtime.errors import AuthenticationError, ConfigurationError, MurmurationError, ResourceError, SchemaError
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.runtime.settings_types import parse_duration
from protocols.transport import ReceivedMessage, Transport
from protocols.wire.message_registry import schema_hash

logger = logging.getLogger(__name__)

_HELLO_AGAIN = 0.5
_EVENT_AGAIN = 1.0
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


class NodeControl:
    """Conversation of one node with the run server."""

    def __init__(self, start: NodeStart, transport: Transport, endpoint: str) -> None:
        self.progress = NodeProgress()
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
        self._commands: list[str] = []
        self._faults: list[tuple[str, str]] = []
        self._done: set[int] = set()
        self._events: dict[str, tuple[Event, float]] = {}
        transport.connect("ctl", RUN_SERVER, start.control, start.server_key)
        transport.connect("tele", RUN_SERVER, start.telemetry, start.server_key)

    def join(self, timeout: float = 30.0) -> dict[str, Any]:
        """Send `Hello` until welcomed; the configuration of the run. Raises the error of a refusal, `ResourceError` at the time-out."""
        deadline = time.monotonic() + timeout
        again = 0.0
        while (now := time.monotonic()) < deadline:
            if now >= again:
                again = now + _HELLO_AGAIN
                self._transport.try_send("ctl", RUN_SERVER, self._hello())
            configuration: dict[str, Any] | None = None
            # All of a batch is taken: what follows the welcome (the roster) is not sent again for seconds.
            for received in self._transport.receive(min(again, deadline) - now):
                if isinstance(received.message, Welcome):
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
                self._transport.every(parse_duration(configuration["supervision"]["heartbeat"]), self._beat)
                self._beat()
                return configuration
        raise ResourceError(f"the run server at {self._start.control} did not answer within {timeout:g} s")

    def receive(self, received: ReceivedMessage) -> None:
        """Process a message of the channel `ctl`: a newer roster replaces the present one; each command is acknowledged at every arrival
        and executed once."""
        message = received.message
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
            # Sent to a running node only after the run has declared it dead: it must not continue beside its successor.
            raise _REFUSALS.get(message.code, ResourceError)(message.text)

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
        self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Repeat events that are not acknowledged."""
        for rid, (event, due) in self._events.items():
            if now >= due:
                self._events[rid] = (event, now + _EVENT_AGAIN)
                self._transport.try_send("ctl", RUN_SERVER, event)

    def leave(self, code: int, reason: str = "") -> None:
        """Report that this node ends by itself."""
        self._transport.try_send("ctl", RUN_SERVER, Bye(code=code, reason=reason))

    def _hello(self) -> Hello:
        return Hello(
            role=self._start.role,
            token=self._start.token(),
            schema=schema_hash(),
            endpoint=self._endpoint,
            pid=os.getpid(),
            host=socket.gethostname(),
        )

    def _beat(self) -> None:
        progress = self.progress
        beat = Heartbeat(
            ticks=progress.ticks,
            updates=progress.updates,
            rounds=progress.rounds,
            episodes=progress.episodes,
            steps=progress.steps,
            phase=progress.phase,
            depth=max(0, self._transport.depth),
        )
        self._transport.try_send("ctl", RUN_SERVER, beat)
