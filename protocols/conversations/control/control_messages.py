"""Messages between the run server and its nodes and hosts: heartbeats, commands, events, metrics."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message, Name, Seconds, Text


class Heartbeat(Message):
    """Node -> run server, every 0.5 s from the communication thread. LW. `evaluated` of `evaluating` episodes of an evaluation have
    ended, and the others take about `evaluation_left` seconds (0: unknown); 0 of 0 where none is played."""

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
    negotiated. BE: the node's own file is the truth."""

    step: Count
    episode: Count
    names: Annotated[list[Name], Meta(max_length=512)]
    stamp: Seconds
    """time of the metrics as in the node's own file: Unix time, or virtual seconds under the logical clock"""


register_conversation(
    "control",
    route("ctl", "agent env host", "run", Heartbeat, CommandAck, Event),
    route("ctl", "run", "agent env host", HeartbeatAck, Command, EventAck),
    route("tele", "agent env", "run", Metrics),
    newest_only=(Heartbeat, HeartbeatAck),
)
