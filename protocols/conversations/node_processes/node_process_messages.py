"""Messages by which the run server starts, signals and stops the processes of nodes on a host."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Key, Message, Name, Role


class StartNode(Message):
    """Run server -> host. EO by (node, incarnation); answered by `NodeStarted` or `NodeEnded`. `cold`: it begins anew, its checkpoints are
    set aside."""

    node: Name
    role: Role
    incarnation: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    threads: Annotated[int, Meta(ge=1, le=4096)]
    cold: bool = False


class StopNode(Message):
    """Run server -> host: end the process group of a node, with SIGTERM or, `now`, with SIGKILL."""

    node: Name
    now: bool = False


class SignalNode(Message):
    """Run server -> host: stop or continue the processes of a node (faults). Only to that incarnation: its successor is another node."""

    node: Name
    incarnation: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    signal: Literal["stop", "cont", "term", "kill"]


class NodeStarted(Message):
    """Host -> run server. `key`: the node's public key, where connections are encrypted; its host has made the pair."""

    node: Name
    incarnation: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    pid: Count
    key: Key = ""


class NodeEnded(Message):
    """Host -> run server, repeated until acknowledged. `code` is the exit code, or the negative number of the signal."""

    node: Name
    incarnation: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    code: Annotated[int, Meta(ge=-128, le=255)]


class NodeEndedAck(Message):
    """Run server -> host."""

    node: Name
    incarnation: Annotated[int, Meta(ge=1, le=2**32 - 1)]


register_conversation(
    "node_processes",
    route("ctl", "run", "host", StartNode, StopNode, SignalNode, NodeEndedAck),
    route("ctl", "host", "run", NodeStarted, NodeEnded),
)
