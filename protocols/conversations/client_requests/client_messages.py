"""Messages between a command line and the run server: status, stop, restart, faults, waits."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message, Text


class StatusRequest(Message):
    """Client -> run server. With `leash`, the run stops in order when this client (process `pid` on `host`) is gone."""

    leash: bool = False
    pid: Count = 0
    host: Annotated[str, Meta(max_length=256)] = ""
    after: Count = 0


class Status(Message):
    """Run server -> client: the frame `snapshot[bytes] u1` (JSON, `orchestrator.run_server.lead.status_snapshot`) with all events after
    `after`."""


class StopRequest(Message):
    """Client -> run server: end the run, in order or, `now`, at once. EO; answered by `Status`."""

    now: bool = False
    reason: Text = ""


class RestartRequest(Message):
    """Client -> run server: stop these nodes (names or patterns) and start them again, from their checkpoints or, `cold`, anew. EO by rid;
    answered by `Status`, whose snapshot has an `answer`, or `Refuse`."""

    nodes: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=1024)]
    cold: bool = False


class FaultRequest(Message):
    """Client -> run server: begin this fault now (JSON of an entry of `faults.events` without `id` and `at`), or, without it, end
    the one with the id `heal` (`*`: all). EO by rid; answered by `Status`, whose snapshot has an `answer`, or `Refuse`."""

    event: Annotated[str, Meta(max_length=8192)] = ""
    heal: Annotated[str, Meta(max_length=64)] = ""


class WhyRequest(Message):
    """Client -> run server: what does each process wait for? Answered by `Status`, whose snapshot has an `answer`
    (`orchestrator.run_server.waits.wait_facts`)."""


register_conversation(
    "client_requests",
    route("ctl", "client", "run", StatusRequest, StopRequest, RestartRequest, FaultRequest, WhyRequest),
    route("ctl", "run", "client", Status),
)
