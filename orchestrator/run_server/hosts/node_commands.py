"""Admission to a run, and commands to its nodes: admission by token and schema, commands repeated until acknowledged."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from protocols.conversations.control.control_messages import Command
from protocols.conversations.membership.membership_messages import Hello, Refuse
from protocols.runtime.errors import ExitCode
from protocols.wire.message_registry import schema_hash

RETRY = 1.0
"""seconds after which a command or a start without acknowledgement is sent again"""


class Admission:
    """Judges `Hello`: the token of this run, and messages of the same schema. No token ("") is asked for where connections are encrypted:
    a peer that gets as far as this has shown whose key it has."""

    def __init__(self, token: str) -> None:
        self._token = token

    def judge(self, hello: Hello) -> Refuse | None:
        """A refusal with its code and the cure, or None: admitted."""
        if self._token and not secrets.compare_digest(hello.token.encode(), self._token.encode()):
            return Refuse(
                code=ExitCode.AUTHENTICATION, text="the token is not that of this run; it is in control.json of the run's directory"
            )
        expected = schema_hash(hello.role)
        if hello.schema != expected:
            return Refuse(
                code=ExitCode.SCHEMA,
                text=f"messages differ: schema {hello.schema[:12] or 'unnamed'} here, {expected[:12]} at the run server; "
                "install the same version of murmuration, and of the plugins, everywhere",
            )
        return None


@dataclass
class _Pending:
    node: str
    incarnation: int
    op: str
    fault: str
    due: float


@dataclass
class NodeCommands:
    """Commands on their way: each has a number and is sent again until its node acknowledges it or its incarnation ends. `_last`: the
    highest number that the nodes may have seen."""

    _last: int = 0
    _pending: dict[int, _Pending] = field(default_factory=dict)

    def give(self, node: str, incarnation: int, op: str, now: float, fault: str = "") -> None:
        """Have a command sent, unless the same one is on its way."""
        same = (node, incarnation, op, fault)
        if any((p.node, p.incarnation, p.op, p.fault) == same for p in self._pending.values()):
            return
        self._last += 1
        self._pending[self._last] = _Pending(node, incarnation, op, fault, now)

    def acknowledged(self, node: str, number: int) -> None:
        """The node has it."""
        pending = self._pending.get(number)
        if pending is not None and pending.node == node:
            del self._pending[number]

    def forget(self, node: str) -> None:
        """The node's process is gone."""
        self._pending = {number: p for number, p in self._pending.items() if p.node != node}

    def due(self, now: float) -> list[tuple[str, Command]]:
        """What is to be sent now, by destination."""
        sends = []
        for number, pending in self._pending.items():
            if pending.due <= now:
                pending.due = now + RETRY
                sends.append((pending.node, Command(id=number, op=pending.op, fault=pending.fault)))  # type: ignore[arg-type]
        return sends
