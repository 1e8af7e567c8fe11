"""Every message of the system, typed: who sends it, what answers it.

A message on the wire is `[header][frame]*`. The header is one of the structs below as a msgpack map, tagged by its key `t`; arrays
travel only as raw frames, named in `frames`. Every text and list is bounded, there is no `Any`, no untyped container, nothing that
executes. Delivery: AM1 at most once, EO effectively once (retried, idempotent), LW latest wins, BE best effort.

Arrays are written `name[shape] dtype`; `n` counts the rows of that message, `K` the environment copies.
"""

from __future__ import annotations

import re
from enum import IntFlag
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

FILE_PATH = r"^[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)*\Z"
"""of a file in a run directory: no part of it begins with a point, so that it stays there, and is nothing unfinished"""
Name = Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9_.-]*\Z")]
Text = Annotated[str, Meta(max_length=1024)]
Address = Annotated[str, Meta(max_length=256)]
FilePath = Annotated[str, Meta(max_length=256, pattern=FILE_PATH)]
Digest = Annotated[str, Meta(max_length=64)]
Key = Annotated[str, Meta(max_length=40)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
CountOrMinusOne = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Names = Annotated[list[Name], Meta(max_length=1024)]
Origins = Annotated[list[Name], Meta(max_length=128)]
Channel = Literal["ctl", "tele", "env", "peer"]
Role = Literal["agent", "env", "host", "client", "run"]


class ArrayInfo(msgspec.Struct, forbid_unknown_fields=True, array_like=False):
    """Description of one raw frame: little endian, C order."""

    n: Annotated[str, Meta(max_length=64)]
    d: Literal["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]
    s: Annotated[list[Annotated[int, Meta(ge=0, le=2**40)]], Meta(max_length=8)]


class Message(msgspec.Struct, tag_field="t", tag=str.lower, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Fields of every header. The transport fills them in; a sender sets only the body, for requests `rid`, and under the logical clock
    `sent` and `at`, the ticks at which the message was sent and counts as arrived. `crc` is the CRC-32 of the frames (0: not given)."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    run: Name = ""
    src: Name = ""
    dst: Name = ""
    inc: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    seq: Count = 0
    rid: Digest = ""
    ts: Seconds = 0.0
    sent: Count = 0
    at: Count = 0
    crc: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    frames: Annotated[list[ArrayInfo], Meta(max_length=64)] = []


# --- control: node, host or client <-> run server ---------------------------------------------------------------------------------


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
    """Run server -> node. The resolved configuration travels as the frame `config[bytes] u1` (JSON). `rejoin`: the run went on without
    this node, which comes back into it. `checkpoint`: under the logical clock, the tick whose checkpoint to go on from (-1: none).
    `trained`: seconds of training so far, those before interruptions too; `training`: they go on."""

    rejoin: bool = False
    checkpoint: CountOrMinusOne = -1
    trained: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    training: bool = False
    digest: Digest = ""
    directory: Annotated[str, Meta(max_length=1024)] = ""


class Refuse(Message):
    """Run server or environment server -> whoever asked. `code` is an exit code of `protocols.runtime.errors`."""

    code: Annotated[int, Meta(ge=0, le=255)]
    text: Text = ""


class RosterEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One node as the run server sees it. `key`: its public key, where connections are encrypted."""

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


class Heartbeat(Message):
    """Node -> run server, every 0.5 s from the communication thread. LW."""

    ticks: Count = 0
    updates: Count = 0
    rounds: Count = 0
    episodes: Count = 0
    steps: Count = 0
    phase: Annotated[str, Meta(max_length=32)] = ""
    idle: Seconds = 0.0
    depth: Count = 0
    memory: Count = 0


class HeartbeatAck(Message):
    """Run server -> node or host; its silence starts the orphan time-out."""


class Command(Message):
    """Run server -> node. EO by `id`; answered by `CommandAck`. `fault`: for the op fault what begins (`ScheduledFault.to_json`), for heal
    the id of what ends, or `*`."""

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
    """Node -> run server over `tele`, with the frame `values[n] f8`, and what figures of the whole run are made of: `sketch[2, s] f8` of a
    closed averaging round; of this moment `models[s] f8` where models are averaged, `leading[|G|] i4` and `reading[|M|] i4` where goals are
    negotiated. BE: the node's own file is the truth."""

    step: Count
    episode: Count
    names: Annotated[list[Name], Meta(max_length=512)]
    stamp: Seconds
    """time of the figures as in the node's own file: Unix time, or virtual seconds under the logical clock"""


class Bye(Message):
    """Node or host -> run server: it leaves by itself, with this exit code."""

    code: Annotated[int, Meta(ge=0, le=255)]
    reason: Text = ""


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


class FileAsk(Message):
    """Host <-> run server: what is there of a file? EO by (src, transfer); answered by `FileHave`."""

    path: FilePath
    transfer: Count


class FilePiece(Message):
    """Host <-> run server: a part of a file, the frame `data[n] u1`. EO by (src, transfer, offset); answered by `FileHave`. A file that
    `grows` is continued from `start` on; any other is put in place when its `last` piece is there, and `digest` is that of all of it."""

    path: FilePath
    transfer: Count
    start: Count
    offset: Count
    grows: bool = False
    last: bool = False
    digest: Digest = ""


class FileGone(Message):
    """Host <-> run server: there is no such file any more. EO by (src, transfer); answered by `FileHave`."""

    path: FilePath
    transfer: Count


class FileHave(Message):
    """Host <-> run server: what is there. To `FileAsk`: `size` bytes with that `digest`, -1 for no file. To `FilePiece`: bytes of this
    transfer, -1 where it must begin anew, and whether the file is `whole`. To `FileGone`: -1."""

    path: FilePath
    transfer: Count
    size: CountOrMinusOne
    whole: bool = False
    digest: Digest = ""


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
    """Client -> run server: begin this fault now (JSON of an entry of `faults.events` without `id` and `at`), or, where there is none, end
    the one with the id `heal` (`*`: all). EO by rid; answered by `Status`, whose snapshot has an `answer`, or `Refuse`."""

    event: Annotated[str, Meta(max_length=8192)] = ""
    heal: Annotated[str, Meta(max_length=64)] = ""


# --- environment: agent <-> environment server ------------------------------------------------------------------------------------


class ObservationField(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Part of an observation vector: components `start` to `start + size`. Fields in radians are circular. Components lie between `low` and
    `high`; equal ones mean that nobody knows bounds."""

    name: Annotated[str, Meta(max_length=64)]
    start: Count
    size: Count
    unit: Literal["", "radian"] = ""
    low: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0
    high: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0


class GoalSpaceInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Parameters of `protocols.spaces.goal_space.GoalSpace`: all that two parties must agree on to talk about goals."""

    landmarks: Annotated[int, Meta(ge=1, le=64)]
    largest: Annotated[int, Meta(ge=1, le=8)] = 2
    premium: Annotated[float, Meta(gt=0, le=1e6)] = 2.0
    scheme: Literal["consistent", "original"] = "consistent"
    smallest: Annotated[int, Meta(ge=1, le=8)] = 1


class RewardMapInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parameters of `protocols.spaces.reward_map.RewardMap`: where in a plane reward is paid. Site j is (`x[j]`, `y[j]`), worth
    `value[j]`."""

    x: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)]
    y: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)]
    value: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)]
    radius: Annotated[float, Meta(gt=0, le=1e12)]
    low: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=2)]
    high: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=2)]
    action_cost: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    exclusive: bool = False


class GridInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parameters of `protocols.spaces.grid_space.Grids`: which grids an observation vector holds. First the egocentric one of side
    `partial`, then the
    whole one of `width` times `height` cells; 0 where it holds no such grid. With `crowd`, the whole one is there twice, first with the
    bodies of all agents, last with one's own alone."""

    width: Annotated[int, Meta(ge=0, le=1024)] = 0
    height: Annotated[int, Meta(ge=0, le=1024)] = 0
    partial: Annotated[int, Meta(ge=0, le=255)] = 0
    longest: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    crowd: bool = False


class Layout(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What an agent sees and does: its observation array, its actions, the goals it may hold, and where it is paid, if it may know."""

    shape: Annotated[list[Count], Meta(max_length=4)]
    dtype: Literal["f4", "u1"] = "f4"
    fields: Annotated[list[ObservationField], Meta(max_length=256)] = []
    actions: Annotated[list[Annotated[int, Meta(ge=1, le=2**20)]], Meta(max_length=64)] = []
    low: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)] = []
    high: Annotated[list[Annotated[float, Meta(ge=-1e12, le=1e12)]], Meta(max_length=256)] = []
    goals: GoalSpaceInfo | None = None
    reward_map: RewardMapInfo | None = None
    grid: GridInfo | None = None


class Join(Message):
    """Agent -> environment server. EO by (src, inc); answered by `Joined` or `Refuse`, then by `Observation`."""


class Joined(Message):
    """Environment server -> agent: what it will see and do in `copies` environment copies. Episodes with goals have `party` members."""

    copies: Annotated[int, Meta(ge=1, le=65536)]
    layout: Layout
    members: Names
    tick: Count
    party: Count = 0


class Flag(IntFlag):
    """What holds for one agent in one copy after a tick; the row of a copy without `MEMBER` means nothing."""

    MEMBER = 1
    """the agent takes part in the episode that this copy plays"""
    FIRST = 2
    """first observation of an episode: reward means nothing"""
    TERMINATED = 4
    """the agent's part ended at this tick by its own outcome"""
    TRUNCATED = 8
    """the agent's part ended at this tick by a limit or by the loss of a partner"""
    PARKED = 16
    """the agent's part ended before this tick; it only watches, its action is not used"""
    OVER = 32
    """the whole episode ended at this tick; the next tick starts another in this copy"""
    SUBSTITUTED = 64
    """the agent's action came too late: the stand-in action in `applied` counted"""
    PEER_LOST = 128
    """the episode ended because a partner died"""
    EVALUATION = 256
    """act greedily, and keep nothing for learning"""


class Act(Message):
    """Agent -> environment server: `action[K, A] f4|i4` for tick `tick`. EO by (src, tick), first value wins; rid = run/src/tick.

    Frame `restart[K] u1` (where an agent ends episodes itself): 1 where the copy's next episode begins now, in the place of the action.
    """

    tick: Count


class Observation(Message):
    """Environment server -> agent, cached for retries.

    Frames: `observation[K, ...] f4|u1`, `reward[K] f4`, `flags[K] u2` (`Flag`), `episode[K] i8`, `applied[K, A]` (the actions that
    counted), and in goal environments `achieved[K, L] u1`, the landmarks that the agent's own body touches, and `goal[K] i4`, its own
    goal in the episode that each copy plays (-1: no member).

    `steps` and `episodes` are the run's progress at this tick, the same for all agents: what triggers by step or episode go by. From a
    tick with `phase` evaluation on nobody learns; with `checkpoint` (logical clock) everybody makes a checkpoint of this tick and joins
    anew.
    """

    tick: Count
    steps: Count = 0
    episodes: Count = 0
    phase: Literal["training", "evaluation", "checkpoint"] = "training"


class Offer(Message):
    """Environment server -> each member: episodes to come, so that goals can be agreed on while others run. EO by (episode, dst),
    answered by `Goals`.

    Frames: `episode[n] i8`, `copy[n] i4`, `members[n, M] i2` (indices into `Joined.members`, the episode's leader first, -1 pads),
    `evaluation[n] u1`, `goal[n] i4` (a goal assigned to everybody, or -1: choose).
    """


class Goals(Message):
    """Agent -> environment server: `episode[n] i8`, `goal[n] i4`, `negotiated[n] u1`. EO by (episode, src): it answers an `Offer`, which
    the server repeats until then; the first value wins."""


# --- peers: agent <-> agent -------------------------------------------------------------------------------------------------------


class Propose(Message):
    """Leader -> other members: `episode[n] i8`, `message[n] i4`. EO by (episode, src); acknowledged by `ProposeAck`."""

    version: Count = 0


class ProposeAck(Message):
    """Follower -> leader: `episode[n] i8`, `message[n] i4` that it uses for each."""


class Trace(Message):
    """Member -> other members, after the episode is over: what it wanted and what it touched. EO by (episode, src).

    Frames: `episode[n] i8`, `goal[n] i4`, `message[n] i4` (-1: none), `role[n] u1` (1 leader), `reward[n] f4`, `stop[n] i4` (its own
    last step), `length[n] i4` (the episode's steps), `touch[m, 4] i4` (row, first step, last step + 1, landmark).
    """


class TraceAck(Message):
    """Receiver -> sender: `episode[n] i8`."""


class Correction(Message):
    """Member -> other members, when all traces of an episode are there: how much likelier each of its actions would have been under the
    goal with which all members relabel the episode than under the one it pursued. EO by (episode, src).

    Frames: `episode[n] i8`, `goal[n] i4` (that all relabel it with), `steps[n] i4` (its own), `ratio[m] f2` (of all their steps, episode
    after episode; 0 ... 2).
    """


class CorrectionAck(Message):
    """Receiver -> sender: `episode[n] i8`."""


class Segment(Message):
    """Member -> other members, when all traces of an episode are there: steps that surprised it, for them to learn from. Without goals:
    agent -> neighbours, when an own episode is over: all of it. AM1. `layout`: digest of what it sees, does and may want; `version`:
    updates of its policy.

    Frames: `episode[n] i8`, `first[n] i4` (step), `lead[n] i4` (steps that are only history), `steps[n] i4` (lead included), and of all of
    them one after the other `observation[m + n, D] f4 or u1`, `action[m, A] i4 or f4`. With goals `goal[n] i4` (pursued) and
    `log_probability[m] f4`, without `reward[m] f4` and `terminated[n] u1` (no value follows its last step).
    """

    layout: Digest
    version: Count


class Plan(Message):
    """Agent -> neighbours, when its world model has learnt: the steps that it is going to take next, as it expects them. AM1, only the
    newest counts. `layout`: digest of what it sees and does; `number`: of its plans in this life.

    Frames: `observation[n, D] f4`, `action[n, A] i4 or f4`.
    """

    layout: Digest
    number: Count


class GoalCall(Message):
    """Agent -> neighbours: its teacher has proposed goals; who would pursue them? AM1.

    Frames: `number[n] i8` (of the proposer's goals in this life), `copy[n] i4`, `episode[n] i8`, `goal[n] i4`.
    """


class GoalBid(Message):
    """Neighbour -> caller: what it would give its own goal for. AM1, answers a `GoalCall`.

    Frames: `number[n] i8` (that was called), `own[n] i8`, `goal[n] i4` (the bidder's), `value[n] f4`, `kept[n] f4` (what the called goal
    and its own goal are worth to the bidder's policy).
    """


class GoalAward(Message):
    """Caller -> bidder: each pursues the other's goal from now on, if it still can. AM1. Frames: `number[n] i8` (the caller's), `own[n]
    i8` (the bidder's)."""


class GoalReply(Message):
    """Bidder -> caller: whether it takes the goal. AM1, answers a `GoalAward`. Frames: `number[n] i8`, `own[n] i8`, `taken[n] u1`."""


class GoalReport(Message):
    """Who pursued a neighbour's goal -> its proposer: what became of it. AM1; a goal whose report is lost teaches nobody.

    Frames: `number[n] i8`, `duration[n] i4` (steps; 0: never pursued), `reached[n] u1`, `reward[n] f4` (the environment's, in the step that
    ended it).
    """


class Marker(Message):
    """Agent -> every partner under the logical clock: all that it says at tick `sent` are the `count` messages before this one."""

    count: Count


class Average(Message):
    """Agent -> neighbour: `vector[d] f4` of parameter group layout `layout` (f8 of statistics) at averaging round `round`. LW."""

    round: Count
    layout: Digest


class Compressed(Message):
    """Agent -> neighbour: change number `change` of its replica, made at averaging round `round`; `digest` is that of the replica after it.
    AM1: who misses one sends `ReplicaRequest`.

    Frames by the compression: `index[k] u4`, `value[k] f4`, or `scale[m] f4`, `level[m] u1` (`protocols.averaging.compressors`).
    """

    round: Count
    change: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    layout: Digest
    digest: Digest


class ReplicaRequest(Message):
    """Agent -> neighbour, repeated until `Replica` comes: my copy of your replica is at `change` and has `digest`. `shown`: the newest
    change of the sender's own replica, from which the receiver sees whether its copy is behind; `round`: the round it was made for, which
    waits for the receiver no more."""

    request: Count
    round: CountOrMinusOne
    change: Count
    digest: Digest
    layout: Digest
    shown: Count


class Replica(Message):
    """Answer to the `ReplicaRequest` of that number: state of the sender's replica, made at `round` (-1: none yet), with the frame
    `vector[d] f4` unless the copy was right."""

    request: Count
    round: CountOrMinusOne
    change: Count
    layout: Digest
    digest: Digest


class Share(Message):
    """Agent -> neighbour, in every push-sum round: all that it has given over this edge since offer number `base`, as mass `weight` and
    frame `offer[d] f8|f4`, `number` offers in all. LW by `number`; the frame may be left out where the receiver has that offer already.

    `round` is the sender's own count, `ack` the receiver's offer that the sender took last, `to` the receiver's incarnation as the sender
    knows it (0: unknown).
    """

    round: Count
    layout: Digest
    to: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    number: Count = 0
    base: Count = 0
    weight: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    ack: Count = 0


class Leave(Message):
    """Agent -> neighbour, when it leaves sums by push-sum in order: all that it had is with another neighbour, all that it gave is taken.
    `ack`: the receiver's offer that it took last; the receiver takes back what it gave after it. BE: who misses it loses nothing but time,
    since it begins a new epoch when it hears that the sender is gone."""

    layout: Digest
    ack: Count


class LedgerDigest(Message):
    """Agent -> neighbour, when its ledger of statistics has changed and every so often: what it holds. LW; who lacks something sends
    `LedgerPull`. `answer`: the sender does not know yet that the receiver holds the same, so that a `LedgerDigest` answers it.

    Frame `version[n, 3] i8`: incarnation, count and seal of the newest entry of each of the `origins`.
    """

    basis: Digest
    epoch: Count
    origins: Origins
    answer: bool = False


class LedgerPull(Message):
    """Agent -> neighbour, repeated until `LedgerEntry` comes: send me your entries of these origins. EO; answered by one `LedgerEntry` for
    each origin that the receiver has. `request` rises, so that repetitions by the network are not answered twice."""

    basis: Digest
    epoch: Count
    request: Count
    origins: Origins


class LedgerEntry(Message):
    """Answer to `LedgerPull`: what one origin has published, relayed as it was, with the frame `payload[P] f8` (P = 0: withdrawn). EO: the
    receiver keeps it if (incarnation, count, seal) is above what it has. `seal`: hash of all the rest, made by the origin."""

    basis: Digest
    epoch: Count
    origin: Name
    incarnation: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    count: Count
    seal: Count


AnyMessage = (
    Hello
    | Welcome
    | Refuse
    | Roster
    | Heartbeat
    | HeartbeatAck
    | Command
    | CommandAck
    | Event
    | EventAck
    | Metrics
    | Bye
    | StartNode
    | StopNode
    | SignalNode
    | FileAsk
    | FilePiece
    | FileGone
    | FileHave
    | NodeStarted
    | NodeEnded
    | NodeEndedAck
    | StatusRequest
    | Status
    | StopRequest
    | RestartRequest
    | FaultRequest
    | Join
    | Joined
    | Act
    | Observation
    | Offer
    | Goals
    | Propose
    | ProposeAck
    | Trace
    | TraceAck
    | Correction
    | CorrectionAck
    | Segment
    | Plan
    | GoalCall
    | GoalBid
    | GoalAward
    | GoalReply
    | GoalReport
    | Marker
    | Average
    | Compressed
    | ReplicaRequest
    | Replica
    | Share
    | Leave
    | LedgerDigest
    | LedgerPull
    | LedgerEntry
)


@cache
def schema_hash() -> str:
    """SHA-256 over the JSON schema of all messages, without their documentation: two processes talk only if theirs are equal."""
    return schema_digest(AnyMessage)


def is_file_path(path: str) -> bool:
    """Whether a message may name this file, by its path below the run directory."""
    return len(path) <= 256 and re.match(FILE_PATH, path) is not None


def schema_digest(messages: Any) -> str:
    """As `schema_hash`, of any type or union of types."""

    def bare(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: bare(value) for key, value in schema.items() if not (key == "description" and isinstance(value, str))}
        return [bare(value) for value in schema] if isinstance(schema, list) else schema

    return sha256(msgspec.json.encode(bare(msgspec.json.schema(messages)), order="sorted")).hexdigest()
