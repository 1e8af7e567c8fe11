"""Messages between the run server and its nodes and hosts: heartbeats, commands, events, metrics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocols.runtime.waits import LONGEST_TEXT, MOST_FRAMES, MOST_PEERS, MOST_WAITS, WaitReport
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message, Name, Seconds, Text

MOST_PROCESSES = 128
"""processes of nodes of which one heartbeat of a host has the state"""


class WaitField(msgspec.Struct, forbid_unknown_fields=True):
    """One wait of a process (`protocols.runtime.waits.CurrentWait`)."""

    operation: Annotated[str, Meta(max_length=LONGEST_TEXT)]
    peers: Annotated[list[Name], Meta(max_length=MOST_PEERS)] = []
    seconds: Seconds = 0.0
    left: Seconds | None = None
    usual: Seconds = 0.0
    own: bool = False


class ProcessField(msgspec.Struct, forbid_unknown_fields=True):
    """The process of a node as its host finds it: the system's letter for its state (R, S, D, T, Z) and its share of a core."""

    node: Name
    state: Annotated[str, Meta(max_length=1)]
    cpu: Seconds = 0.0


class Heartbeat(Message):
    """Node or host -> run server, every 0.5 s from the communication thread. LW. `evaluated` of `evaluating` episodes of an evaluation have
    ended, and the others take about `evaluation_left` seconds (0: unknown); 0 of 0 where none is played. `waits`: what the process waits
    for, `stack`: its main thread's, innermost frame first, where that has been away. `processes`: of a host, those of its nodes."""

    ticks: Count = 0
    updates: Count = 0
    rounds: Count = 0
    episodes: Count = 0
    steps: Count = 0
    phase: Annotated[str, Meta(max_length=32)] = ""
    idle: Seconds = 0.0
    depth: Count = 0
    memory: Count = 0
    evaluated: Count = 0
    evaluating: Count = 0
    evaluation_left: Seconds = 0.0
    waits: Annotated[list[WaitField], Meta(max_length=MOST_WAITS)] = []
    stack: Annotated[list[Annotated[str, Meta(max_length=LONGEST_TEXT)]], Meta(max_length=MOST_FRAMES)] = []
    processes: Annotated[list[ProcessField], Meta(max_length=MOST_PROCESSES)] = []


def wait_fields(report: WaitReport) -> dict[str, Any]:
    """The fields of a heartbeat with the waits of a process."""
    waits = [
        WaitField(wait.operation[:LONGEST_TEXT], list(wait.peers[:MOST_PEERS]), wait.seconds, wait.left, wait.usual, wait.own)
        for wait in report.waits
    ]
    return {"waits": waits, "stack": list(report.stack)}


class HeartbeatAck(Message):
    """Run server -> node or host; its absence starts the orphan time-out."""


class Command(Message):
    """Run server -> node. EO by `id`; answered by `CommandAck`. `fault`: for the op fault the fault that begins (`ScheduledFault.to_json`),
    for heal the id of what ends, or `*`."""

    id: Count
    op: Literal["start", "stop", "checkpoint", "finish", "dump", "fault", "heal"]
    fault: Annotated[str, Meta(max_length=8192)] = ""


class CommandAck(Message):
    """Node -> run server."""

    id: Count
    status: Literal["ok", "failed"] = "ok"
    detail: Text = ""


class EventField(msgspec.Struct, forbid_unknown_fields=True):
    """One named value of an event."""

    name: Name
    value: Text


class Event(Message):
    """Node or host -> run server. EO by rid; the sender's local log is written first. Answered by `EventAck`."""

    severity: Literal["info", "warning", "error"]
    code: Name
    text: Text = ""
    fields: Annotated[list[EventField], Meta(max_length=32)] = []


class EventAck(Message):
    """Run server -> sender of the event with the same rid."""


class Metrics(Message):
    """Node -> run server over `tele`, with the frame `values[n] f8`, and the inputs of metrics of the whole run: `sketch[2, s] f8` of a
    closed averaging round; current values `models[s] f8` where models are averaged, `leading[|G|] i4` and `reading[|M|] i4` where goals are
    negotiated. The node's own file is the truth; rows that may be lost are sent again, and each `number` of an incarnation is taken once
    (0: not numbered)."""

    step: Count
    episode: Count
    names: Annotated[list[Name], Meta(max_length=512)]
    stamp: Seconds
    """time of the metrics as in the node's own file: Unix time, or virtual seconds under the logical clock"""
    number: Count = 0


register_conversation(
    "control",
    route("ctl", "agent env host", "run", Heartbeat, CommandAck, Event),
    route("ctl", "run", "agent env host", HeartbeatAck, Command, EventAck),
    route("tele", "agent env", "run", Metrics),
    newest_only=(Heartbeat, HeartbeatAck),
)
