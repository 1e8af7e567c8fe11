"""A ledger of the newest statistics of all agents, flooded over the graph: the sum is exact after as many hops as the diameter.

Every agent has its `LedgerState`, merged by the greater version: what is lost, repeated, overtaken, or learnt again after a restart or a
partition changes nothing in where it ends. Own statistics are replaced at each `publish`. Anti-entropy with each neighbour, by three
messages:

- `LedgerDigest`, the versions that an agent has: after a change, again every `every` seconds while the neighbour does not report the same
  versions, and every `idle` seconds when it does;
- `LedgerPull`, a request for missing entries: when and from which neighbour is decided in `protocols.statistics.pull_requests`;
- `LedgerEntry`, one for each requested origin.

Agents with equal ledgers have totals that are equal bit for bit. A part of a total is the exact statistics of a part of the data.

A new incarnation publishes above all earlier ones. The last publication of an earlier incarnation is kept by the
neighbours: if that is more than it has from a checkpoint, it is pulled back and handed over (`EarlierStatisticsFound`). To withdraw an
origin is a version too, with nothing in it; one that turns out to live publishes above it.

Entries are relayed. The seal shows damage, `validate` refuses vectors that cannot be statistics; a relay that falsifies an entry with a
correct seal is not detected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import inf

import numpy as np

from protocols.conversations.conversation import Array, Send
from protocols.runtime.errors import BadMessage
from protocols.statistics.ledger_messages import LedgerDigest, LedgerEntry, LedgerPull
from protocols.statistics.ledger_state import LedgerRecord, LedgerState, LedgerVersion, Vector, entry_of, version_frame, versions_of
from protocols.statistics.pull_requests import PullRequests
from protocols.statistics.statistics_consensus import EarlierStatisticsFound, NewerEpoch, StatisticsConsensus, StatisticsTotal
from protocols.wire.messages import Message

Validate = Callable[[str, Vector], str]
"""origin and payload -> the rule that it breaks, or an empty text"""

MOST_ORIGINS = 128
"""origins in one ledger: what a `LedgerDigest` has room for"""
LARGEST = 8 * 2**20
"""numbers in a payload: one frame of the wire"""
WINDOW = 4 * 2**20
"""bytes that may be on their way from one neighbour"""


class Ledger(StatisticsConsensus):
    """One agent's ledger.

    `members`: all that may publish; `neighbours`: those of them that are talked with. `basis`: identity of the basis that all payloads of
    `size` numbers are in. `random`: jitter of repetitions. `forget_after`: seconds after which what a dead neighbour has published
    is withdrawn (None: never). `ValueError` for what does not fit the limits.
    """

    def __init__(
        self,
        name: str,
        members: Collection[str],
        neighbours: Collection[str],
        basis: str,
        size: int,
        random: np.random.Generator,
        incarnation: int = 1,
        validate: Validate | None = None,
        every: float = 0.5,
        idle: float = 5.0,
        deadline: float = 30.0,
        forget_after: float | None = None,
    ) -> None:
        super().__init__()
        if len(members) > MOST_ORIGINS or not 1 <= size <= LARGEST:
            raise ValueError(
                f"a ledger holds up to {MOST_ORIGINS} origins of up to {LARGEST} numbers, not {len(members)} of {size}: "
                "average such statistics instead (mode pushsum)"
            )
        self.name = name
        self._members = frozenset(members) | {name}
        self._neighbours = frozenset(neighbours) - {name}
        self._validate = validate
        self._every, self._idle = every, idle
        self._forget_after = forget_after
        self._died: dict[str, float] = {}
        """when neighbours died, while their statistics are kept"""
        self._random = random
        self._ledger_state = LedgerState(name, basis, size, incarnation)
        window = max(1, WINDOW // (8 * size))
        self._pull_requests = PullRequests(
            self._neighbours, self._ledger_state.is_news, self._ask, self.counters, random, window, every, deadline
        )
        self._say: dict[str, float] = dict.fromkeys(self._pull_requests.claims, -inf)
        """when the own versions are sent next to a neighbour"""
        self._said: dict[str, float] = {}
        self._request = 0
        self._answered: dict[str, tuple[int, int]] = {}
        """neighbour -> (incarnation, number) of its newest request"""
        self._newer_epochs: set[int] = set()

    # --- what is asked ------------------------------------------------------------------------------------------------------------

    @property
    def basis(self) -> str:
        """Identity of the basis of the statistics that the payloads contain."""
        return self._ledger_state.basis

    @property
    def epoch(self) -> int:
        """How often the basis has been replaced."""
        return self._ledger_state.epoch

    @property
    def versions(self) -> dict[str, LedgerVersion]:
        """The version vector, in the order of the origins' names."""
        return self._ledger_state.versions

    def entry(self, origin: str) -> LedgerRecord | None:
        """The newest record of the sums of agent `origin`; None where none has arrived."""
        return self._ledger_state.entries.get(origin)

    def total(self) -> StatisticsTotal:
        """The sum of what is held. Its staleness counts the versions that some neighbour claims, and that are missing here."""
        origins = {origin for claims in self._pull_requests.claims.values() for origin in claims}
        staleness = sum(self._ledger_state.held(origin).missing(self._pull_requests.newest(origin)) for origin in origins)
        return StatisticsTotal(self._ledger_state.total(), True, staleness, self._ledger_state.present())

    # --- calls of the owner -------------------------------------------------------------------------------------------------------

    def publish(self, vector: Array, transitions: int, now: float) -> None:
        """Replace the own entry by `vector`, `[P]`. `ValueError` for a wrong length, a number that is not finite, or what `validate`
        refuses."""
        payload = self._finite(vector, self._ledger_state.size)
        broken = self._validate(self.name, payload) if self._validate is not None else ""
        if broken:
            raise ValueError(f"the own statistics of {self.name} can't be statistics: {broken}")
        self.published = transitions
        self._put(payload, now)

    def forget(self, origin: str, now: float) -> None:
        """Withdraw what `origin` has published, here and everywhere: the agent itself that takes its data with it, or one that has been
        dead longer than the rule allows. An origin that still runs publishes again."""
        if self._ledger_state.withdraw(origin):
            self._changed(now)
            self.counters["withdrawn"] += 1

    def begin_epoch(self, epoch: int, now: float) -> None:
        """All statistics that were held mean nothing any more. Epochs only rise; `ValueError` else."""
        if epoch <= self.epoch:
            raise ValueError(f"epoch {epoch} is not above {self.epoch}")
        self._ledger_state.begin_epoch(epoch)
        self._pull_requests.clear()
        self.published = 0
        self._announce_all(now)

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send due messages, repeat unanswered requests, and withdraw what the rule no longer allows."""
        if self._forget_after is not None:
            for peer in [peer for peer, died in self._died.items() if now >= died + self._forget_after]:
                del self._died[peer]
                self.forget(peer, now)
        self._pull_requests.tick(now)
        self._pull_requests.seek(now)
        self._speak(now)

    def wake(self) -> float:
        """The next digest, repetition or withdrawal."""
        forget = min(self._died.values(), default=inf) + (inf if self._forget_after is None else self._forget_after)
        return min(forget, min(self._say.values(), default=inf), self._pull_requests.wake())

    def peer_dead(self, peer: str, now: float) -> None:
        """Send nothing to `peer` any more; its publications stay."""
        if not self._pull_requests.peer_dead(peer):
            return
        self._died[peer] = now
        self._say.pop(peer, None)
        self._answered.pop(peer, None)
        self._pull_requests.seek(now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there (again), and may have lost its ledger."""
        if peer in self._neighbours:
            self.peer_dead(peer, now)
            self._died.pop(peer, None)
            self._pull_requests.claims[peer] = {}
            self._said.pop(peer, None)
            self._say[peer] = now

    def state(self) -> dict[str, Array]:
        """The whole ledger: the publications of the others included, so that all agents continue from the same checkpoint."""
        published = np.array([self.published, self._ledger_state.own is not None, self.epoch], np.int64)
        return {"published": published, "request": np.array(self._request), **self._ledger_state.state()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` for what does not fit. A newer incarnation publishes above what is restored."""
        try:
            published, own, epoch = map(int, state["published"])
            request = int(state["request"])
            self._ledger_state.load_state(state, epoch, bool(own), self._members)
        except KeyError as error:
            raise ValueError(f"the ledger's state lacks {error}") from None
        self.published, self._request = published, request

    # --- messages -----------------------------------------------------------------------------------------------------------------

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, (LedgerDigest, LedgerPull, LedgerEntry)):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the ledger")
        if src not in self._neighbours:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
        if src not in self._pull_requests.claims:
            self.counters["stale"] += 1
            return
        if not self._fits(src, message):
            return
        strangers = [
            name for name in ([message.origin] if isinstance(message, LedgerEntry) else message.origins) if name not in self._members
        ]
        if strangers:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} names {strangers[0]}, who is no member")
        if isinstance(message, LedgerDigest):
            self._claimed(src, versions_of(message, arrays), message.answer, now)
        elif isinstance(message, LedgerPull):
            self._asked(src, message)
        else:
            self._brought(src, message, entry_of(message, arrays.get("payload"), self._ledger_state.size), now)
        self._pull_requests.seek(now)
        self._speak(now)

    def _fits(self, src: str, message: LedgerDigest | LedgerPull | LedgerEntry) -> bool:
        """Whether it is of this basis and epoch. Anything else is counted and reported to the owner."""
        if message.epoch == self.epoch and message.basis == self.basis:
            return True
        if message.epoch < self.epoch:
            self.counters["epoch_past"] += 1
        elif message.epoch > self.epoch:
            self.counters["epoch_ahead"] += 1
            if message.epoch not in self._newer_epochs:
                self._newer_epochs.add(message.epoch)
                self._events.append(NewerEpoch(message.epoch))
        else:
            self.counters["foreign_basis"] += 1
            self._incompatible(src, f"its statistics are in the basis {message.basis}, the own ones in {self.basis}: they can't be added")
        return False

    def _claimed(self, src: str, claims: dict[str, LedgerVersion], answer: bool, now: float) -> None:
        self._pull_requests.claimed(src, claims, now)
        if answer or self._ledger_state.exceeds(claims):
            self._announce(src, now)
        elif self._same(src):
            self._say[src] = now + self._idle

    def _asked(self, src: str, message: LedgerPull) -> None:
        last = self._answered.get(src)
        if last is not None and last[0] == message.inc and message.request <= last[1]:
            self.counters["duplicate.pull"] += 1
            return
        self._answered[src] = message.inc, message.request
        for origin in dict.fromkeys(message.origins):
            entry = self.entry(origin)
            if entry is None:
                continue
            incarnation, count, seal = entry.version
            answer = LedgerEntry(basis=self.basis, epoch=self.epoch, origin=origin, incarnation=incarnation, count=count, seal=seal)
            self._sends.append(Send(src, answer, {"payload": entry.payload}))
            self.counters["entries.sent"] += 1
            self.counters["bytes.sent"] += entry.payload.nbytes

    def _brought(self, src: str, message: LedgerEntry, entry: LedgerRecord, now: float) -> None:
        origin, version = entry.origin, entry.version
        self._pull_requests.brought(src, origin, version, now)
        broken = self._validate(origin, entry.payload) if self._validate is not None and entry.payload.size else ""
        if broken:
            self.counters["invalid"] += 1
            self._pull_requests.refuse(origin, version)
            self._incompatible(src, f"statistics of {origin} that can't be any: {broken}")
            return
        self.counters["bytes.taken"] += entry.payload.nbytes
        if origin == self.name:
            self._brought_own(entry, now)
        elif version > self._ledger_state.held(origin):
            self.counters["entries.taken"] += 1
            self._keep(entry, now)
        else:
            self.counters["entries.known"] += 1

    def _brought_own(self, entry: LedgerRecord, now: float) -> None:
        """An entry under the own name: of an earlier incarnation, or withdrawn by another agent."""
        holdings, version = self._ledger_state, entry.version
        former, newer = holdings.is_former(version), version > holdings.held(self.name)
        if newer:
            self._keep(entry, now)
        if former:
            holdings.base = version
            if entry.payload.size:
                self._events.append(EarlierStatisticsFound(entry.payload))
                self.counters["former"] += 1
        elif newer and holdings.own is not None:
            # Withdrawn while it runs, or published by another agent: the own publication is above it.
            self.counters["overtaken"] += 1
            self._put(holdings.own, now)

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _put(self, payload: Vector, now: float) -> None:
        """The own payload under a version above everything that is known of the own."""
        self._ledger_state.put(payload, self._pull_requests.newest(self.name))
        self._changed(now)

    def _keep(self, entry: LedgerRecord, now: float) -> None:
        self._ledger_state.keep(entry)
        self._changed(now)

    def _changed(self, now: float) -> None:
        self._total_changed()
        self._announce_all(now)

    def _same(self, peer: str) -> bool:
        """Whether a neighbour has reported exactly the own versions."""
        return self._ledger_state.holds(self._pull_requests.claims[peer])

    def _announce_all(self, now: float) -> None:
        for peer in self._pull_requests.claims:
            self._announce(peer, now)

    def _announce(self, peer: str, now: float) -> None:
        """Soon, but not more often than four times in `every`."""
        self._say[peer] = min(self._say[peer], max(now, self._said.get(peer, -inf) + self._every / 4))

    def _speak(self, now: float) -> None:
        """Digests that are due."""
        due = [peer for peer, time in self._say.items() if time <= now]
        if not due:
            return
        versions = self.versions
        frames: dict[str, Array] = {"version": version_frame(versions.values())}
        for peer in due:
            same = self._same(peer)
            message = LedgerDigest(basis=self.basis, epoch=self.epoch, origins=list(versions), answer=not same)
            self._sends.append(Send(peer, message, frames))
            self._said[peer] = now
            jitter = 1.0 + 0.2 * float(self._random.uniform(-1.0, 1.0))
            self._say[peer] = now + (self._idle if same else self._every) * jitter

    def _ask(self, src: str, origins: list[str]) -> None:
        self._request += 1
        self._sends.append(Send(src, LedgerPull(basis=self.basis, epoch=self.epoch, request=self._request, origins=origins)))
