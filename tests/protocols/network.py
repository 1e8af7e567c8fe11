"""A small network in virtual time: conversations talk over links that delay, lose, repeat and reorder, all drawn from one seed.

Messages go through the codec, as on the wire. Nothing sleeps: time jumps to the next arrival or to what a conversation waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

import numpy as np

from protocols.conversations.conversation import Conversation
from protocols.wire.codec import Buffer, decode, encode

C = TypeVar("C", bound=Conversation[Any])


@dataclass(frozen=True)
class Link:
    """What happens to every message: uniform delay in seconds (reordering comes from it), and independent loss and repetition."""

    delay: tuple[float, float] = (0.001, 0.05)
    loss: float = 0.0
    duplicate: float = 0.0

    @classmethod
    def draw(cls, random: np.random.Generator) -> Link:
        """Anything from a good network to 30 % loss, 20 % duplicates and delays up to 300 ms."""
        most = float(random.choice([0.002, 0.05, 0.3]))
        return cls((0.0005, most), float(random.choice([0, 0.1, 0.3])), float(random.choice([0, 0.05, 0.2])))


class Network(Generic[C]):
    """Nodes by name, and for each node a list of (time, event)."""

    def __init__(self, nodes: Mapping[str, C], link: Link, random: np.random.Generator) -> None:
        self.nodes = dict(nodes)
        self.heard: dict[str, list[tuple[float, Any]]] = {name: [] for name in nodes}
        self.on_event: Callable[[str, Any], None] = lambda name, event: None
        self.now = 0.0
        self.sent = 0
        self._link = link
        self._random = random
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._down: set[str] = set()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at that time."""
        self._order += 1
        heappush(self._queue, (max(time, self.now), self._order, action))

    def kill(self, name: str) -> None:
        """The node receives and sends nothing any more; the others are not notified."""
        self._down.add(name)

    def run(self, until: float, most: int = 200_000) -> None:
        """Let time pass until `until`. `most` bounds the number of happenings, so that a conversation that chatters for ever fails."""
        for _ in range(most):
            while self._flush():
                pass
            waking = min((node.wake() for name, node in self.nodes.items() if name not in self._down), default=until)
            arrival = self._queue[0][0] if self._queue else until
            time = min(waking, arrival, until)
            if time >= until:
                self.now = until
                return
            self.now = max(self.now, time)
            if arrival <= waking:
                heappop(self._queue)[2]()
            else:
                for name, node in self.nodes.items():
                    if name not in self._down:
                        node.tick(self.now)
        raise AssertionError(f"more than {most} happenings before {until} s")

    def _flush(self) -> bool:
        """Deliver events and send messages; whether there were any (what is done on an event may cause others)."""
        busy = False
        for name, node in self.nodes.items():
            if name in self._down:
                continue
            for event in node.events():
                busy = True
                self.heard[name].append((self.now, event))
                self.on_event(name, event)
            for send in node.outgoing():
                self.sent += 1
                parts = [bytes(part) for part in encode(send.message, send.arrays)]
                copies = 1 + (self._random.random() < self._link.duplicate)
                for _ in range(copies):
                    if self._random.random() >= self._link.loss:
                        delay = float(self._random.uniform(*self._link.delay))
                        self.at(self.now + delay, self._arrival(name, send.dst, parts))
        return busy

    def _arrival(self, src: str, dst: str, parts: list[Buffer]) -> Callable[[], None]:
        def arrive() -> None:
            if dst not in self._down:
                message, arrays = decode(parts)
                self.nodes[dst].receive(src, message, arrays, self.now)

        return arrive
