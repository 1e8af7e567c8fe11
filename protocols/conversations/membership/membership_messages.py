"""Messages of membership: joining a run, the roster, leaving."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Address, Count, CountOrMinusOne, Digest, Key, Message, Name, Names, Role, Text


class Hello(Message):
    """Node, host or client -> run server. EO by (src, inc); answered by `Welcome` or `Refuse`."""

    role: Role
    token: Digest = ""
    schema: Digest = ""
    endpoint: Address = ""
    pid: Count = 0
    host: Annotated[str, Meta(max_length=256)] = ""
    features: Names = []


class Welcome(Message):
    """Run server -> node. The resolved configuration travels as the frame `config[bytes] u1` (JSON). `rejoin`: the run continued without
    this node, which returns. `checkpoint`: under the logical clock, the tick of the checkpoint to continue from (-1: none).
    `trained`: seconds of training so far, those before interruptions included; `training`: whether training continues."""

    rejoin: bool = False
    checkpoint: CountOrMinusOne = -1
    trained: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    training: bool = False
    digest: Digest = ""
    directory: Annotated[str, Meta(max_length=1024)] = ""


class Refuse(Message):
    """Run server or environment server -> sender of the request. `code` is an exit code of `protocols.runtime.errors`."""

    code: Annotated[int, Meta(ge=0, le=255)]
    text: Text = ""


class RosterEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One node in the membership of the run server. `key`: its public key, where connections are encrypted."""

    name: Name
    role: Role
    state: Literal["joining", "alive", "stuck", "suspect", "dead", "left", "lost"]
    endpoint: Address = ""
    inc: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    key: Key = ""


class Roster(Message):
    """Run server -> every node, on every change. LW by `version`. The verdict `dead` is final for an incarnation."""

    version: Count
    entries: Annotated[list[RosterEntry], Meta(max_length=1024)]


class Bye(Message):
    """Node or host -> run server: it ends by itself, with this exit code."""

    code: Annotated[int, Meta(ge=0, le=255)]
    reason: Text = ""


register_conversation(
    "membership",
    route("ctl", "agent env host client", "run", Hello),
    route("ctl", "run", "agent env host client", Welcome, Refuse),
    route("ctl", "run", "agent env", Roster),
    route("ctl", "agent env host", "run", Bye),
    route("env", "env", "agent", Refuse),
    newest_only=(Roster,),
)
