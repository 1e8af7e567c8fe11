"""Compressed gossip (CHOCO, Koloskova, Stich and Jaggi 2019): what travels is the change of a replica, made small.

Every agent i shows the others a replica xhat_i of x_i, of which each neighbour has a copy. In each round

    q_i = Q(x_i - xhat_i),    xhat_i += q_i at both ends,    x_i += gamma sum_j W_ij (xhat_j - xhat_i).

What Q leaves out stays in x_i - xhat_i and is sent later. Without loss the mean is kept and the disagreement goes to 0 although Q never
sends everything; a gamma too large for Q diverges. Rounds are those of `SynchronousAveraging`, with xhat in the place of x.

A copy that has missed a q would stay wrong. So every q has a number and is sent with a digest of xhat after it: an agent that finds
a gap, another digest, or a neighbour missing at the end of a round requests the replica until it is answered. In the answer the replica is
left out if the copy was right after all. Two copies therefore never differ unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf

import numpy as np

from protocols.averaging.averager import Neighbourhood, part
from protocols.averaging.averaging_messages import Compressed, Replica, ReplicaRequest
from protocols.averaging.compressors import Compressor, usual_step
from protocols.averaging.synchronous_gossip import Combination, KeptVector, SynchronousAveraging, Vector
from protocols.averaging.vector_arithmetic import magnitude
from protocols.conversations.conversation import Array, Send
from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message

OVERTAKEN = 2
"""changes beyond a gap that are kept, since the missing one may only be late; with so many it is taken for lost"""


def digest(vector: Vector) -> str:
    """64 bits of BLAKE2b over the bytes of a vector, in hexadecimal."""
    return blake2b(np.ascontiguousarray(vector).data, digest_size=8).hexdigest()


@dataclass
class ReplicaCopy:
    """A neighbour's replica as this end has it."""

    vector: Vector
    change: int = 0
    """number of the newest change in it"""
    round: int = -1
    """round of that change"""
    incarnation: int = 0
    """of the process that made it"""
    digest: str = ""
    waiting: dict[int, tuple[Compressed, Mapping[str, Array]]] = field(default_factory=dict)
    """changes that overtook another, by number"""
    request: int = 0
    """number of the newest request for the replica"""
    asked: float | None = None
    """when it was sent last; None: it is answered"""
    left: int = -1
    """newest round that the neighbour has ended without a message of this agent"""
    doubted: bool = False
    """the neighbour may have begun anew, from an older state than the copy shows"""


class ChocoAveraging(SynchronousAveraging):
    """Rounds of one agent; `compressor` is Q, `step` gamma (`usual_step` if None), `seed` that of the draws of Q, each change
    taking them from a generator of its own, so that what follows a checkpoint repeats bit for bit.

    `counters`: `bytes.changes` and `bytes.replicas` sent as frames, `parted` digests that differed, `requests` for
    replicas, `resyncs` those taken in whole, `confirmed` those that found the copy right.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        layout: str,
        size: int,
        compressor: Compressor,
        step: float | None = None,
        seed: int = 0,
        deadline: float = 2.0,
    ) -> None:
        super().__init__(neighbourhood, layout, size, deadline)
        self.step = usual_step(compressor) if step is None else step
        if not 0.0 < self.step <= 1.0:
            raise ValueError(f"a step of {self.step} is not above 0 and at most 1")
        self._compressor = compressor
        self._seed = seed
        self._patience = deadline / 4
        self._now = 0.0
        self._change = 0
        self._shown: Vector = np.zeros(size, np.float32)
        self._shown_round = -1
        self._shown_digest = digest(self._shown)
        self._copies = {name: ReplicaCopy(np.zeros(size, np.float32), digest=self._shown_digest) for name in self._kept}
        self.error = 0.0
        """|x_i - xhat_i| / |x_i| after the newest change: how much of x_i the others have not seen yet"""

    @property
    def shown(self) -> tuple[int, str]:
        """Number of the newest change and digest of the own replica after it."""
        return self._change, self._shown_digest

    def copy_of(self, neighbour: str) -> tuple[int, str]:
        """The same of the copy of a neighbour's replica."""
        copy = self._copies[neighbour]
        return copy.change, copy.digest

    # --- a round --------------------------------------------------------------------------------------------------------------------

    def begin(self, number: int, vector: Array, now: float) -> None:
        """As `SynchronousAveraging.begin`, with Q(x_i - xhat_i) in the place of x_i."""
        self._now = now
        super().begin(number, vector, now)

    def _publish(self, own: Vector, neighbours: Sequence[str]) -> Vector:
        random = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, self._change + 1]))
        try:
            with np.errstate(over="ignore"):
                frames = self._compressor.compress(own - self._shown, random)
            shown = self._compressor.added(self._shown, frames)
        except BadMessage as error:
            raise ValueError(f"round {self._round} can't be compressed, since its numbers are too large: {error.detail}") from None
        self._change, self._shown, self._shown_round, self._shown_digest = self._change + 1, shown, self._round, digest(shown)
        length = float(np.linalg.norm(own))
        self.error = float(np.linalg.norm(own - shown)) / length if length else 0.0
        for neighbour in neighbours:
            message = Compressed(round=self._round, change=self._change, layout=self._layout, digest=self._shown_digest)
            self._sends.append(Send(neighbour, message, frames))
            if self._round <= self._copies[neighbour].left:
                self._ask(neighbour)  # it does not wait for this change, and would not see that it was lost
        self.counters["bytes.changes"] += sum(frame.nbytes for frame in frames.values()) * len(neighbours)
        return shown

    def _combine(self, own: Vector, vectors: Mapping[str, Vector], weights: Mapping[str, float]) -> Combination:
        for neighbour in weights:
            if neighbour not in vectors:
                self._ask(neighbour, anew=True)  # an answer on its way may be older than what is missing
        combination = super()._combine(own, vectors, weights)
        return Combination(self.step * combination.delta, combination.used)

    def peer_dead(self, peer: str, now: float) -> None:
        """No round waits for `peer`, and it is asked for nothing."""
        self._now = now
        if peer in self._copies:
            self._copies[peer].asked, self._copies[peer].doubted = None, True
        super().peer_dead(peer, now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there (again); unless nothing was sent yet either way, it is asked whether the copy is right."""
        self._now = now
        super().peer_alive(peer, incarnation, now)
        if peer in self._copies and (self._copies[peer].change or self._change):
            self._ask(peer)

    def tick(self, now: float) -> None:
        """Close the round if its deadline has passed, and repeat requests that were not answered."""
        self._now = now
        super().tick(now)
        for neighbour, copy in self._copies.items():
            if copy.asked is not None and now >= copy.asked + self._patience:
                self._request(neighbour, copy)

    def wake(self) -> float:
        """The deadline of the open round, or the time to repeat a request."""
        return min([super().wake(), *(copy.asked + self._patience for copy in self._copies.values() if copy.asked is not None)])

    def state(self) -> dict[str, Array]:
        """The rounds, both ends' replicas, and the changes that overtook others."""
        state = super().state() | {"shown": self._shown, "change": np.array([self._change, self._shown_round])}
        for name, copy in self._copies.items():
            numbers = [copy.change, copy.round, copy.incarnation, copy.request, copy.asked is not None, copy.doubted, copy.left]
            state |= {f"copy/{name}": copy.vector, f"copied/{name}": np.array(numbers, np.int64)}
            for change, (message, frames) in copy.waiting.items():
                place = f"waiting/{name}/{change}"
                state[place] = np.array([message.round, message.inc], np.int64)
                state[f"digest/{name}/{change}"] = np.frombuffer(message.digest.encode(), np.uint8)
                state |= {f"{place}/{frame}": np.array(array) for frame, array in frames.items()}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on from there; a request that was open is sent again."""
        super().load_state(state)
        vectors = [state["shown"], *(state[f"copy/{name}"] for name in self._copies if f"copy/{name}" in state)]
        if any(vector.shape != (self._size,) for vector in vectors):
            raise ValueError(f"the replicas that were kept are not of {self._size} numbers")
        self._shown = np.array(state["shown"], np.float32)
        self._change, self._shown_round = map(int, state["change"])
        self._shown_digest = digest(self._shown)
        for name in self._copies:
            if f"copy/{name}" in state:  # else a neighbour that is new in the graph
                self._copies[name] = self._loaded(name, state)

    def _loaded(self, name: str, state: Mapping[str, Array]) -> ReplicaCopy:
        vector = np.array(state[f"copy/{name}"], np.float32)
        change, number, incarnation, request, asked, doubted, left = map(int, state[f"copied/{name}"])
        copy = ReplicaCopy(vector, change, number, incarnation, digest(vector), request=request, left=left)
        copy.asked, copy.doubted = -inf if asked else None, bool(doubted)
        overtaken = part(state, f"waiting/{name}/")
        for text in sorted(key for key in overtaken if "/" not in key):
            of, inc = map(int, overtaken[text])
            hashed = bytes(state[f"digest/{name}/{text}"]).decode()
            message = Compressed(round=of, inc=inc, change=int(text), layout=self._layout, digest=hashed)
            frames = {key.partition("/")[2]: array for key, array in overtaken.items() if key.startswith(f"{text}/")}
            copy.waiting[int(text)] = message, frames
        return copy

    # --- replicas -------------------------------------------------------------------------------------------------------------------

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Compressed | ReplicaRequest | Replica):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of compressed averaging")
        if src not in self._copies:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
        if message.layout != self._layout:
            raise BadMessage("E_FRAME", f"{src} averages another layout")
        self._now = now
        if isinstance(message, ReplicaRequest):
            self._answer(src, message)
            return
        self._refuse_far_ahead(src, message.round)
        if isinstance(message, Compressed):
            self._changed(src, message, arrays)
        else:
            self._replaced(src, message, arrays)

    def _changed(self, src: str, message: Compressed, frames: Mapping[str, Array]) -> None:
        copy = self._copies[src]
        total = self._compressor.added(copy.vector, frames)  # refuses wrong frames before anything has changed
        self._magnitude(src, message.round, total, self._now)
        if message.inc < copy.incarnation:
            self.counters["old"] += 1
        elif message.change == copy.change + 1:
            self._apply(src, message, total)
            self._apply_waiting(src)
        elif message.change > copy.change:
            copy.waiting[message.change] = message, frames
            if len(copy.waiting) > OVERTAKEN:
                del copy.waiting[min(copy.waiting)]
            if len(copy.waiting) == OVERTAKEN:
                self._ask(src)
            self._handle_message(src, message.round)
        elif message.inc > copy.incarnation or message.round > copy.round:
            copy.doubted = True
            self._ask(src)
        else:
            self.counters["duplicate"] += 1

    def _handle_message(self, src: str, number: int) -> None:
        self._newest[src] = max(self._newest.get(src, -1), number)
        self._excuse_the_lost(self._now)
        self._close_if_complete(self._now)

    def _apply(self, src: str, message: Compressed | Replica, total: Vector) -> None:
        copy = self._copies[src]
        found = digest(total)
        if found != message.digest:
            self.counters["parted"] += 1
            self._ask(src)
            return
        copy.vector, copy.change, copy.round, copy.incarnation, copy.digest = total, message.change, message.round, message.inc, found
        if message.round >= 0:
            self._take(src, message.round, KeptVector(total, magnitude(total)), self._now)

    def _apply_waiting(self, src: str) -> None:
        copy = self._copies[src]
        while (waiting := copy.waiting.pop(copy.change + 1, None)) is not None:
            try:
                self._apply(src, waiting[0], self._compressor.added(copy.vector, waiting[1]))
            except BadMessage as error:  # its frames were right, but its sum is not finite
                self.counters[f"bad.{error.code}"] += 1
                self._ask(src)
        for change in [change for change in copy.waiting if change <= copy.change]:
            del copy.waiting[change]

    def _answer(self, src: str, message: ReplicaRequest) -> None:
        same = (message.change, message.digest) == self.shown
        vector = {} if same else {"vector": self._shown}
        answer = Replica(
            request=message.request, round=self._shown_round, change=self._change, layout=self._layout, digest=self._shown_digest
        )
        self._sends.append(Send(src, answer, vector))
        self.counters["bytes.replicas"] += sum(frame.nbytes for frame in vector.values())
        self._copies[src].left = max(self._copies[src].left, message.round)
        if message.shown > self._copies[src].change + len(self._copies[src].waiting):
            self._ask(src)  # it has made changes that never came here

    def _replaced(self, src: str, message: Replica, arrays: Mapping[str, Array]) -> None:
        copy = self._copies[src]
        vector = arrays.get("vector")
        if vector is not None:
            if vector.shape != (self._size,) or vector.dtype != np.dtype("f4") or digest(vector) != message.digest:
                raise BadMessage("E_FRAME", f"the replica of {src} is not {self._size} numbers of its digest")
            self._magnitude(src, message.round, vector, self._now)
        if copy.asked is None or message.request > copy.request:
            self.counters["duplicate"] += 1
            return
        anew = copy.doubted or message.inc > copy.incarnation
        if message.request == copy.request:
            copy.asked, copy.doubted = None, False
        if vector is None:
            self.counters["confirmed"] += 1
        elif message.change < copy.change and not anew:
            self.counters["old"] += 1  # the changes in between have come while the answer was on its way
        else:
            self.counters["resyncs"] += 1
            self._apply(src, message, np.array(vector))
            self._apply_waiting(src)

    def _ask(self, neighbour: str, anew: bool = False) -> None:
        copy = self._copies[neighbour]
        if (anew or copy.asked is None) and neighbour not in self._dead:
            copy.request += 1
            self.counters["requests"] += 1
            self._request(neighbour, copy)

    def _request(self, neighbour: str, copy: ReplicaCopy) -> None:
        copy.asked = self._now
        message = ReplicaRequest(
            request=copy.request, round=self._round, change=copy.change, digest=copy.digest, layout=self._layout, shown=self._change
        )
        self._sends.append(Send(neighbour, message))
