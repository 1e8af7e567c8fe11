"""An agent's talk under the logical clock: once a tick, with all partners at the same tick.

At tick T it hears what has arrived by T (offers of the environment server, messages of partners), lets the conversations act, and says what
there is to say. Acting and learning wait for nobody; the talk of T waits for the partners' markers of T - 1.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.exchange.peer_conversations import PeerConversations
from agent_node.process.tick_barrier import TickBarrier
from protocols.conversations.conversation import column
from protocols.conversations.stepping.stepping_messages import Joined, Observation, Offer
from protocols.runtime.clock import LogicalClock
from protocols.transport import Transport

logger = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]
LONG = 5.0
"""real seconds of waiting for partners after which the log says so"""


class LockstepExchange:
    """Keeps an agent's talk in step with its partners'."""

    def __init__(self, clock: LogicalClock, lockstep: TickBarrier, neighbours: PeerConversations, transport: Transport, own: str) -> None:
        self.lockstep = lockstep
        self._clock = clock
        self._neighbours = neighbours
        self._transport = transport
        self._own = own
        self._members: list[str] = []
        self._partners: frozenset[str] = frozenset()
        self._known: dict[str, int] = {}
        self._offers: list[tuple[int, Arrays]] = []
        self._due: Observation | None = None
        self._since = 0.0
        self._warned = False

    @property
    def conversing(self) -> bool:
        """Whether the talk of a tick is not over: the next tick has to wait."""
        return self._due is not None

    def joined(self, message: Joined) -> None:
        """The environment server says who there is to talk to: the neighbours, or everybody, where more than two play one episode."""
        others = message.members if message.party > 2 else self._neighbours.names
        self._members = list(message.members)
        self._partners = frozenset(others) - {self._own}
        self._clock.tick = message.tick

    def offered(self, message: Offer, arrays: Arrays) -> None:
        """Keep an `Offer` until the talk of its tick: it comes before that tick's observation, perhaps while the tick before is talked
        of."""
        self._offers.append((message.sent, arrays))

    def observed(self, message: Observation, arrays: Arrays) -> None:
        """A tick begins: who takes part from now on, and that its talk is due. `BadMessage` when it does not say who."""
        given = column(arrays, "lives", "u2", len(self._members))
        self._clock.tick = message.tick
        self._due = message
        self._since, self._warned = time.monotonic(), False
        now = self._clock.now()
        incarnations = {name: incarnation for name, incarnation in zip(self._members, given.tolist(), strict=True) if incarnation}
        for name in sorted(self._partners):
            incarnation = incarnations.get(name)
            if self._known.get(name) == incarnation:
                continue
            if name in self._known:
                del self._known[name]
                self.lockstep.peer_left(name)
                self._neighbours.peer_left(name, now)
            if incarnation is not None:
                self._known[name] = incarnation
                self.lockstep.peer_joined(name, message.tick)
                self._neighbours.peer_joined(name, incarnation, now)
                self._neighbours.reach(name)

    def ready(self) -> Observation | None:
        """The tick whose talk can begin now, if there is one."""
        due = self._due
        if due is None:
            return None
        missing = self.lockstep.missing(due.tick - 1)
        if missing and not self._warned and time.monotonic() > self._since + LONG:
            self._warned = True
            logger.warning("tick %d waits for what %s said at the tick before", due.tick, ", ".join(missing))
        return None if missing else due

    def receive_due(self, offered: Callable[[Arrays, float], None]) -> None:
        """Take what has arrived by this tick: offers, then the partners' messages."""
        self._due = None
        now = self._clock.now()
        tick = self._clock.tick
        offers, self._offers = self._offers, [offer for offer in self._offers if offer[0] > tick]
        for sent, arrays in offers:
            if sent <= tick:
                offered(arrays, now)
        for src, message, arrays in self.lockstep.take(self._clock.tick):
            message.inc = self._known[src]
            self._neighbours.receive(src, message, arrays, now)

    def send_due(self) -> None:
        """Say all that there is to say at this tick."""
        self.lockstep.send_due(self._neighbours.outgoing(), self._clock.tick)

    def flush(self) -> None:
        """Hand to the transport what it did not take before."""
        for name in self.lockstep.waiting():
            self._neighbours.reach(name)
        self.lockstep.flush(self._transport)

    def end_interval(self) -> None:
        """Everybody begins anew from a checkpoint: what was said and offered is forgotten."""
        self.lockstep.reset()
        self._neighbours.end_interval()
        self._known.clear()
        self._offers.clear()
        self._due = None
