"""The thin client of a run: asks the run server for its status, to stop, to restart nodes, or for a fault, over the control channel.

All requests may be repeated without harm, so a lost message costs a retry and nothing else. Every call has a deadline.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.results.run_directories import lock_held
from orchestrator.results.run_files import CLIENT_KEYS, KEYS, read_json
from protocols.conversations.client_requests.client_messages import (
    FaultRequest,
    RestartRequest,
    Status,
    StatusRequest,
    StopRequest,
    WhyRequest,
)
from protocols.conversations.membership.membership_messages import Hello, Refuse, Welcome
from protocols.runtime.errors import AuthenticationError, ResourceError, UsageError, error_of
from protocols.runtime.key_pairs import read_pair
from protocols.transport import Identity, Transport, TransportOptions
from protocols.wire.message_registry import schema_hash
from protocols.wire.messages import Message

SERVER = "run"
"""name of the run server on the control channel"""
_RETRY = 1.0
LONGEST_EVENT = 8192
"""characters of a fault that is asked for"""
_SLICE = 0.25
"""seconds after which a waiting client checks whether the run server still runs"""

Snapshot = dict[str, Any]
"""The run server's status of the run; its keys are listed in `docs/reference/run_directory.md`"""


class Unreachable(ResourceError):
    """No answer at the control address of the run."""


class RunClient:
    """A connection to the run server of one run. Close it, or use it as a context."""

    def __init__(self, directory: Path, timeout: float = 10.0) -> None:
        control = read_json(directory / "control.json")
        here = control.get("here") if control.get("machine") == socket.gethostname() else None
        endpoint, self._token = str(here or control.get("endpoint", "")), str(control.get("token", ""))
        if not endpoint:
            raise Unreachable(f"{directory.name} has no control address: it has not started, or it has ended")
        self.directory = directory
        self.events_seen = 0
        name = f"client-{os.getpid()}-{secrets.token_hex(3)}"
        server_key = str(control.get("key", ""))
        keys = read_pair(directory / KEYS / CLIENT_KEYS) if server_key else None
        identity = Identity(str(control.get("run") or directory.name), name, role="client")
        self._transport = Transport(identity, TransportOptions(keys=keys, token=self._token))
        try:
            self._transport.connect("ctl", SERVER, endpoint, server_key)
            self._hello(timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._transport.close(linger=0.1)

    def _hello(self, timeout: float) -> None:
        hello = Hello(role="client", token=self._token, schema=schema_hash("client"), pid=os.getpid(), host=socket.gethostname())
        hello.rid = secrets.token_hex(8)
        self._request(hello, Welcome, timeout)

    def status(self, leash: bool = False, timeout: float = 5.0) -> Snapshot:
        """The newest snapshot, with the events since the last call. With `leash` the run server stops the run in order when this
        process is gone."""
        request = StatusRequest(leash=leash, pid=os.getpid(), host=socket.gethostname(), after=self.events_seen)
        snapshot = self._snapshot(request, timeout)
        self.events_seen = max(self.events_seen, int(snapshot.get("event_id", 0)))
        return snapshot

    def stop(self, now: bool = False, reason: str = "", timeout: float = 5.0) -> Snapshot:
        """Ask the run to end: in order with checkpoints, or `now` at once."""
        return self._snapshot(StopRequest(now=now, reason=reason), timeout)

    def restart(self, nodes: Sequence[str], cold: bool = False, timeout: float = 5.0) -> dict[str, Any]:
        """Ask for a restart of these nodes (names or patterns), `cold` without their checkpoints. The answer: the incarnation that each of
        them is at now. Raises what a refusal means (`UsageError` for a name that is none)."""
        return self._answer(RestartRequest(nodes=list(nodes), cold=cold), timeout)

    def fault(self, event: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """Ask for a fault: an entry of `faults.events` without `id` and `at`. The answer: its id and what it is in words. A
        `ConfigurationError` names all its mistakes."""
        text = json.dumps(event, separators=(",", ":"))
        if len(text) > LONGEST_EVENT:
            raise UsageError(f"the fault has {len(text)} characters, more than {LONGEST_EVENT}; name nodes by patterns")
        return self._answer(FaultRequest(event=text), timeout)

    def heal(self, fault: str = "*", timeout: float = 5.0) -> dict[str, Any]:
        """Ask that one fault ends, or all of them. The answer: the ids of those that do."""
        return self._answer(FaultRequest(heal=fault), timeout)

    def waits(self, timeout: float = 5.0) -> dict[str, Any]:
        """Ask what each process of the run waits for (`orchestrator.run_server.waits.wait_facts`)."""
        return self._answer(WhyRequest(), timeout)

    def _answer(self, request: Message, timeout: float) -> dict[str, Any]:
        answer = self._snapshot(request, timeout).get("answer")
        return dict(answer) if isinstance(answer, dict) else {}

    def _snapshot(self, request: Message, timeout: float) -> Snapshot:
        request.rid = secrets.token_hex(8)
        try:
            answer = self._request(request, Status, timeout)
        except AuthenticationError:  # run servers drop the oldest of many clients
            self._hello(timeout)
            answer = self._request(request, Status, timeout)
        snapshot: Snapshot = json.loads(answer)
        return snapshot

    def _request(self, request: Message, answer: type[Welcome | Status], timeout: float) -> bytes:
        """Send, again every second, until the answer to this request comes; the bytes of its snapshot, if it has one."""
        end = time.monotonic() + timeout
        while (now := time.monotonic()) < end:
            self._transport.try_send("ctl", SERVER, request)
            retry = min(end, now + _RETRY)
            while (now := time.monotonic()) < retry:
                for received in self._transport.receive(min(_SLICE, retry - now)):
                    message = received.message
                    if isinstance(message, Refuse):
                        raise error_of(message.code, message.text or f"the run server refused (code {message.code})")
                    if isinstance(message, answer) and message.rid in ("", request.rid):
                        return bytes(received.arrays["snapshot"].data) if "snapshot" in received.arrays else b"{}"
                if refusal := self._transport.refusal("ctl", SERVER):
                    raise AuthenticationError(refusal)
                if self._deserted():
                    raise Unreachable(f"the run server of {self.directory.name} has ended")
        raise Unreachable(f"the run server of {self.directory.name} did not answer within {timeout:g} s")

    def _deserted(self) -> bool:
        """Whether the run server has ended: in order (its address is gone), or not (it holds its lock no more)."""
        if not (self.directory / "control.json").is_file():
            return True
        return (self.directory / "run.lock").is_file() and not lock_held(self.directory)
