"""Nodes, the links between them, and time: the driver of the state machines that real processes drive over sockets.

As in real processes a node first takes all messages that are there, then lets deadlines happen, does what its agent would do, and
sends. A message belongs to a connection between two incarnations: messages under way to a process that dies are lost with it, and those
of an earlier incarnation are dropped once one of a newer has arrived (the rule of `protocols.transport`). Nodes are notified of a death
only by `report_dead`.

Messages travel by reference, their size is counted as on the wire; with `wire` they go through the codec instead, byte by byte.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from msgspec import structs

from protocols.conversations.conversation import Array, Conversation, EdgeConversation, Send
from protocols.faults.link_effects.faulty_links import LinkOutcome
from protocols.runtime.errors import BadMessage
from protocols.wire.codec import Buffer, decode, encode
from protocols.wire.messages import Channel, Message

Entry = TypeVar("Entry")
Action = Callable[[], None]


class MomentBucket(Generic[Entry]):
    """What happens at one moment: first the actions, then the items, each in the order in which they were entered."""

    __slots__ = ("actions", "items")

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.items: list[Entry] = []


class Calendar(Generic[Entry]):
    """What happens when, in virtual time: a bucket for each moment, and a heap of the moments only, so that messages which share a moment
    cost no heap operation. `take` hands out the earliest; what is entered meanwhile for the same moment comes in the next one."""

    __slots__ = ("_buckets", "_times")

    def __init__(self) -> None:
        self._buckets: dict[float, MomentBucket[Entry]] = {}
        self._times: list[float] = []

    def at(self, time: float) -> MomentBucket[Entry]:
        """The bucket of that time, to enter something; it must be used before the next `take`."""
        bucket = self._buckets.get(time)
        if bucket is None:
            bucket = self._buckets[time] = MomentBucket()
            heappush(self._times, time)
        return bucket

    def next(self) -> float:
        """The earliest time at which anything happens; infinite if nothing does."""
        return self._times[0] if self._times else inf

    def take(self) -> tuple[float, MomentBucket[Entry]]:
        """The earliest time and what happens then; `IndexError` if nothing does."""
        time = heappop(self._times)
        return time, self._buckets.pop(time)


class LinkModel(Protocol):
    """The links of one node to all others; a run's configured links have the same method. An outcome may depend only on its
    arguments and those of earlier calls."""

    def link_outcome(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """Outcome of the message number `seq` (from 1 on) to `dst` over `channel`: `kind` is its tag, `size` its bytes on the wire."""
        ...


@dataclass(frozen=True)
class PerfectLinks:
    """Every message arrives once, undamaged, after the same time: links on which all rounds run in step."""

    delay: float = 0.01

    def link_outcome(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """One copy after `delay`."""
        return LinkOutcome((self.delay,))


Take = Callable[[str, Message, Mapping[str, Array], float], object]


class NodeScript(ABC):
    """The behaviour of one incarnation of a node: it owns the conversations, and simulates the agent (or server) around them."""

    channel: Channel = "peer"
    """over which it sends"""
    conversations: Sequence[Conversation[Any]] = ()

    def join(self, network: Network, node: Node) -> None:
        """Called once when `network` has added this script as `node`."""
        self.network = network
        self.node = node

    def takes(self) -> Mapping[type[Message], Take]:
        """Which function receives messages of which type: by default the conversations those of their `message_types`."""
        return {kind: conversation.receive for conversation in self.conversations for kind in conversation.message_types}

    @abstractmethod
    def turn(self, now: float) -> None:
        """After messages came or time passed: react to events, begin what is due. What conversations want to send goes out afterwards."""

    def wake(self) -> float:
        """When it needs a turn even if nothing arrives, besides its conversations' own deadlines."""
        return inf

    def outgoing(self) -> Iterable[Send]:
        """Messages of the script itself that are to be sent now."""
        return ()


@dataclass(slots=True, eq=False)
class Node:
    """One incarnation of a node."""

    name: str
    incarnation: int
    script: NodeScript
    links: LinkModel
    alive: bool = True
    takes: dict[type[Message], Take] = field(init=False)
    conversations: tuple[Conversation[Any], ...] = field(init=False)
    outlets: tuple[Callable[[], Iterable[Send]], ...] = field(init=False)
    routes: dict[str, SimulatedConnection] = field(default_factory=dict)
    """connections by the name of the other side"""
    gone: set[str] = field(default_factory=set)
    """peers reported dead"""
    newest: dict[str, int] = field(default_factory=dict)
    """newest incarnation of each peer, where it is not 1"""
    timer: float = inf
    """the earliest timer that is set"""
    touched: bool = False
    due: bool = False
    """whether a timer rang"""

    def __post_init__(self) -> None:
        script = self.script
        self.takes = dict(script.takes())
        self.conversations = tuple(script.conversations)
        self.outlets = tuple(c.outgoing for c in self.conversations)
        if type(script).outgoing is not NodeScript.outgoing:
            self.outlets += (script.outgoing,)


@dataclass(slots=True, eq=False)
class SimulatedConnection:
    """A connection from one incarnation to another, and its messages."""

    src: Node
    dst: Node
    channel: Channel
    seq: int
    constant: float = field(init=False)
    """delay of all messages, where it is one; else negative"""

    def __post_init__(self) -> None:
        self.constant = self.src.links.delay if type(self.src.links) is PerfectLinks else -1.0


RUN = "simulation"
Item = tuple[SimulatedConnection, Message, Mapping[str, Array]]


class Network:
    """The world of a simulation. `events` counts messages that were taken, `counters` what became of the others."""

    drops_stale = True
    """whether messages of an earlier incarnation are dropped; only a test of the rule switches it off"""

    def __init__(self, wire: bool = False) -> None:
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        """the present incarnation of every name"""
        self.counters: Counter[str] = Counter()
        self.sent = 0
        self.bytes = 0
        self.events = 0
        self.arriving: SimulatedConnection | None = None
        """the connection over which the message came that is being taken"""
        self.observe: Callable[[SimulatedConnection, Message, Mapping[str, Array], str], None] | None = None
        """if set, called with every message sent, and its outcome ("" or the cause of its loss)"""
        self._wire = wire
        self._calendar: Calendar[Item] = Calendar()
        self._heads: dict[tuple[object, ...], int] = {}

    # --- who is there ---------------------------------------------------------------------------------------------------------------

    def add(self, name: str, script: NodeScript, links: LinkModel | None = None) -> Node:
        """A node starts, as its next incarnation; an earlier one that still runs dies. It has its first turn at once."""
        former = self.nodes.get(name)
        if former is not None:
            former.alive = False
        node = Node(name, former.incarnation + 1 if former else 1, script, links or PerfectLinks())
        self.nodes[name] = node
        script.join(self, node)
        self.touch(node)
        return node

    def kill(self, name: str) -> None:
        """The process ends at this moment; the others are not notified."""
        self.nodes[name].alive = False

    def report_dead(self, node: Node, peer: str) -> None:
        """`node` is notified that `peer` is dead: the connection is closed, and no conversation waits for it."""
        node.routes.pop(peer, None)
        node.gone.add(peer)
        for conversation in node.conversations:
            conversation.peer_dead(peer, self.now)
        self.touch(node)

    def report_alive(self, node: Node, peer: str) -> None:
        """`node` is notified that `peer` is available (again), and connects to its present incarnation."""
        node.gone.discard(peer)
        self.connect(node, self.nodes[peer])
        for conversation in node.conversations:
            if isinstance(conversation, EdgeConversation):
                conversation.peer_alive(peer, self.nodes[peer].incarnation, self.now)
        self.touch(node)

    def connect(self, node: Node, peer: Node) -> SimulatedConnection:
        """A connection between two incarnations; the sequence numbers of an earlier one continue, as a process counts them by name."""
        former = node.routes.get(peer.name)
        route = node.routes[peer.name] = SimulatedConnection(node, peer, node.script.channel, former.seq if former else 0)
        return route

    # --- time -----------------------------------------------------------------------------------------------------------------------

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at that time, or now if it is over."""
        self._calendar.at(max(time, self.now)).actions.append(action)

    def touch(self, node: Node) -> None:
        """Give the node a turn at this moment."""
        now = self.now
        if node.timer != now:
            node.timer = now
            self._calendar.at(now).actions.append(lambda: self._ring(node, now))

    def run(self, until: float, most: float = inf, done: Callable[[], bool] | None = None) -> bool:
        """Let time pass until `until`, or until `done()`, which is asked after every moment. False when more than `most` messages were
        taken in this call, which indicates an endless exchange."""
        calendar, limit = self._calendar, self.events + most
        while calendar.next() <= until:
            self.now, bucket = calendar.take()
            self._moment(bucket)
            if self.events > limit:
                return False
            if done is not None and done():
                return True
        if until < inf:
            self.now = max(self.now, until)
        return True

    def _moment(self, bucket: MomentBucket[Item]) -> None:
        now = self.now
        self._touched: list[Node] = []
        touched = self._touched
        for action in bucket.actions:
            action()
        taken = 0
        for route, message, arrays in bucket.items:
            node, src = route.dst, route.src
            if not node.alive:
                self.counters["lost.dead"] += 1
                continue
            if (src.incarnation != 1 or not src.alive) and self.drops_stale and self._stale(node, src):
                continue
            take = node.takes.get(type(message))
            if take is None:
                self.counters["lost.untaken"] += 1
                continue
            taken += 1
            self.arriving = route
            take(src.name, message, arrays, now)
            if not node.touched:
                node.touched = True
                touched.append(node)
        self.events += taken
        for node in touched:
            node.touched = False
            if node.alive:
                self._turn(node, now)

    def _stale(self, node: Node, src: Node) -> bool:
        """The transport's rule: a message of an incarnation older than the newest received is dropped."""
        newest = node.newest.get(src.name, 1)
        if src.incarnation < newest:
            self.counters["lost.stale"] += 1
            return True
        node.newest[src.name] = src.incarnation
        return False

    def _ring(self, node: Node, time: float) -> None:
        if node.timer != time or not node.alive:  # an earlier one was set since then
            return
        node.timer = inf
        node.due = True
        if not node.touched:
            node.touched = True
            self._touched.append(node)

    def _turn(self, node: Node, now: float) -> None:
        if node.due:
            node.due = False
            for conversation in node.conversations:
                if now >= conversation.wake():
                    conversation.tick(now)
        script = node.script
        script.turn(now)
        for outgoing in node.outlets:
            sends = outgoing()
            if sends:
                self._post(node, sends)
        wake = script.wake()
        for conversation in node.conversations:
            due = conversation.wake()
            if due < wake:
                wake = due
        if wake < node.timer and node.alive:
            node.timer = wake = max(wake, now)
            self._calendar.at(wake).actions.append(lambda: self._ring(node, wake))

    # --- messages -------------------------------------------------------------------------------------------------------------------

    def _post(self, node: Node, sends: Iterable[Send]) -> None:
        """As `send` for each of them; what all have in common is looked up once."""
        if self._wire or self.observe is not None or type(node.links) is not PerfectLinks:
            for send in sends:
                self.send(node, send)
            return
        routes, incarnation = node.routes, node.incarnation
        kind: type[Message] | None = None
        frames: Mapping[str, Array] | None = None
        size = total = count = 0
        items = self._calendar.at(self.now + node.links.delay).items
        for send in sends:
            dst, message, arrays = send
            route = routes.get(dst)
            if route is None:
                self.send(node, send)
                continue
            route.seq = message.seq = route.seq + 1
            message.inc = incarnation
            if arrays is not frames or type(message) is not kind:
                kind, frames, size = type(message), arrays, self.size(message, arrays)
            total += size
            count += 1
            items.append((route, message, arrays))
        self.sent += count
        self.bytes += total

    def send(self, node: Node, send: Send) -> None:
        """A node sends, at this very moment; nothing comes of it where it has no connection."""
        now = self.now
        route = node.routes.get(send.dst)
        if route is None:
            peer = self.nodes.get(send.dst)
            if peer is None or send.dst in node.gone:
                self.counters["lost.unknown"] += 1
                return
            route = self.connect(node, peer)
        message, arrays = send.message, send.arrays
        route.seq += 1
        message.inc, message.seq = node.incarnation, route.seq
        self.sent += 1
        size = self.size(message, arrays)
        self.bytes += size
        if route.constant >= 0.0 and self.observe is None and not self._wire:
            self._calendar.at(now + route.constant).items.append((route, message, arrays))
            return
        link_outcome = node.links.link_outcome(send.dst, route.channel, type(message).__name__.lower(), route.seq, size, now)
        if not link_outcome.copies:
            self.counters[f"lost.{link_outcome.cause or 'loss'}"] += 1
        elif len(link_outcome.copies) > 1:
            self.counters["duplicated"] += len(link_outcome.copies) - 1
        if self.observe is not None:
            self.observe(route, message, arrays, "" if link_outcome.copies else link_outcome.cause or "loss")
        if self._wire:
            self._over_the_wire(route, message, arrays, link_outcome.copies, bool(link_outcome.corrupt))
        elif link_outcome.corrupt:
            self.counters["lost.damaged"] += len(link_outcome.copies)
        else:
            for delay in link_outcome.copies:
                self._calendar.at(now + delay).items.append((route, message, arrays))

    def size(self, message: Message, arrays: Mapping[str, Array]) -> int:
        """Bytes on the wire: the header's are those of the first message with these frames, so that numbers of more digits count a byte
        or two too few."""
        payload = 0
        for array in arrays.values():
            payload += array.nbytes
        key = (type(message), *arrays)
        head = self._heads.get(key)
        if head is None:
            example = structs.replace(message, run=RUN, src="agent-0", dst="agent-0", ts=1.0)
            head = self._heads[key] = len(encode(example, arrays)[0])
        return head + payload

    def _over_the_wire(
        self, route: SimulatedConnection, message: Message, arrays: Mapping[str, Array], delays: Sequence[float], damaged: bool
    ) -> None:
        message.run, message.src, message.dst, message.ts = RUN, route.src.name, route.dst.name, self.now
        parts: list[Buffer] = [bytes(part) for part in encode(message, arrays)]
        if damaged:  # its end is cut off; a changed bit of an array could not be distinguished from another number
            parts[-1] = bytes(parts[-1])[: len(parts[-1]) // 2]
        for delay in delays:
            try:
                arrived, frames = decode(parts)
            except BadMessage as error:
                self.counters[f"bad.{error.code}"] += 1
                continue
            self._calendar.at(self.now + delay).items.append((route, arrived, frames))
