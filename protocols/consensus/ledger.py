"""A ledger of everybody's newest statistics, flooded over the graph: the sum over all agents, exact after as many hops as it is wide.

Every agent holds origin -> (version, payload) and merges by the greater version, so that the ledger is a state-based replicated data type
(Shapiro et al. 2011): what is lost, repeated, overtaken, or learnt again after a restart or a partition changes nothing in where it ends.
Own statistics are replaced at each `publish`. Anti-entropy with each neighbour, by three messages:

- `LedgerDigest`, what I hold: when it has changed, again every `every` seconds while the neighbour does not say that it holds the same, and
  every `idle` seconds when it does;
- `LedgerPull`, what I lack of what you hold: to one neighbour for each origin, at most `window` bytes at a time, repeated by
  `protocols.retries`, then asked of others, given up after `deadline` until a digest claims it again;
- `LedgerEntry`, one for each origin that was asked for.

The total is the sum over origins in the order of their names: agents with equal ledgers have totals that are equal bit for bit. A part of
it is the exact statistics of a part of the data.

A new life (`incarnation`) publishes above all former ones, whatever it remembers. What its former life said last lives on at the
neighbours: if that is more than it has from a checkpoint, it is pulled back and handed over (`Former`). To withdraw an origin is a version
too, with nothing in it; one that turns out to live publishes above it.

Entries are relayed. The seal shows damage, `validate` refuses what can't be statistics; a relay that lies with a right seal is not found
out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import inf

import numpy as np

from protocols.consensus.entries import NOTHING, Entry, Vector, Version, entry_of, make_entry, version_frame, versions_of
from protocols.consensus.statistics import Changed, Foreign, Former, NewerEpoch, StatisticsConsensus, Total
from protocols.conversation import Array, Send
from protocols.errors import BadMessage
from protocols.messages import LedgerDigest, LedgerEntry, LedgerPull, Message
from protocols.retries import Attempt, RetryTimer

Validate = Callable[[str, Vector], str]
"""origin and payload -> the rule that it breaks, or an empty text"""

MOST_ORIGINS = 128
"""origins in one ledger: what a `LedgerDigest` has room for"""
LARGEST = 8 * 2**20
"""numbers in a payload: one frame of the wire"""
WINDOW = 4 * 2**20
"""bytes that may be on their way from one neighbour"""
MORE = 3
"""times that an entry is asked of whoever claims it next, before the first one asked is late"""
REMEMBERED = 8
"""refused versions of an origin that are not asked for again"""


@dataclass
class _Pull:
    version: Version
    src: str
    attempt: Attempt
    begun: float
    asked: float
    """when it was asked for last"""
    more: int = 0
    """others who were asked before the first was late"""


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
        self.name, self.basis, self.epoch = name, basis, 0
        self.refusals: Counter[str] = Counter()
        """entries that broke a rule, by who sent them"""
        self._members = frozenset(members) | {name}
        self._neighbours = frozenset(neighbours) - {name}
        self._size, self._incarnation = size, incarnation
        self._validate = validate
        self._every, self._idle, self._deadline = every, idle, deadline
        self._forget_after = forget_after
        self._died: dict[str, float] = {}
        """when neighbours died, while they are not forgotten"""
        self._window = max(1, WINDOW // (8 * size))
        self._random = random
        self._timers: dict[str, RetryTimer] = {}
        self._entries: dict[str, Entry] = {}
        self._own: Vector | None = None
        """what was published in this life"""
        self._base = NOTHING
        """the newest own version of a former life that is in what the owner has"""
        self._claims: dict[str, dict[str, Version]] = {name: {} for name in sorted(self._neighbours)}
        """what every living neighbour says that it holds"""
        self._say: dict[str, float] = dict.fromkeys(self._claims, -inf)
        """when it is told next what is here"""
        self._said: dict[str, float] = {}
        self._wanted: set[str] = set()
        """origins of which some neighbour may have more"""
        self._pulls: dict[str, _Pull] = {}
        self._request = 0
        self._answered: dict[str, tuple[int, int]] = {}
        """neighbour -> (incarnation, number) of its newest request"""
        self._refused: dict[str, list[Version]] = {}
        self._shown: set[Foreign | int] = set()
        self._sum: Vector | None = None

    # --- what is asked ------------------------------------------------------------------------------------------------------------

    @property
    def versions(self) -> dict[str, Version]:
        """The version vector, in the order of the origins' names."""
        return {origin: self._entries[origin].version for origin in sorted(self._entries)}

    @property
    def digest(self) -> str:
        """Hash of basis, epoch and version vector: equal ones stand for equal ledgers."""
        text = f"{self.basis}\0{self.epoch}\0" + "\0".join(f"{origin}\0{version}" for origin, version in self.versions.items())
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def entry(self, origin: str) -> Entry | None:
        """What is held of an origin."""
        return self._entries.get(origin)

    def total(self) -> Total:
        """The sum of what is held. Its staleness counts what neighbours have said to hold."""
        if self._sum is None:
            total = np.zeros(self._size)
            for origin in sorted(self._entries):
                if self._entries[origin].payload.size:
                    total += self._entries[origin].payload
            total.flags.writeable = False
            self._sum = total
        there = sum(entry.payload.size > 0 for entry in self._entries.values())
        return Total(self._sum, True, self.staleness(), there)

    def staleness(self) -> int:
        """Sum over origins of the versions that some neighbour claims, and that are missing here."""
        newest: dict[str, Version] = {}
        for claims in self._claims.values():
            for origin, version in claims.items():
                newest[origin] = max(newest.get(origin, NOTHING), version)
        return sum(self._held(origin).missing(version) for origin, version in newest.items())

    # --- what the owner says ------------------------------------------------------------------------------------------------------

    def publish(self, vector: Array, transitions: int, now: float) -> None:
        """Replace the own entry by `vector`, `[P]`. `ValueError` for a wrong length, a number that is not finite, or what `validate`
        refuses."""
        payload = np.array(vector, np.float64)
        if payload.shape != (self._size,) or not np.isfinite(payload).all():
            raise ValueError(f"the statistics of {self.name} are not {self._size} finite numbers")
        broken = self._validate(self.name, payload) if self._validate is not None else ""
        if broken:
            raise ValueError(f"the own statistics of {self.name} can't be statistics: {broken}")
        self.published = transitions
        self._own = payload
        self._put(payload, now)

    def forget(self, origin: str, now: float) -> None:
        """Withdraw what `origin` has published, here and everywhere: the agent itself that takes its data with it, or one that has been
        dead longer than the rule allows. An origin that still lives publishes again."""
        held = self._entries.get(origin)
        if held is None or not held.payload.size:
            return
        if origin == self.name:
            self._own = None
        version = held.version
        self._keep(make_entry(self.basis, self.epoch, origin, version.incarnation, version.number + 1, np.empty(0)), now)
        self.counters["withdrawn"] += 1

    def begin_epoch(self, epoch: int, now: float, basis: str = "") -> None:
        """Statistics are in another basis from now on: all that were held mean nothing any more. Epochs only rise; `ValueError` else."""
        if epoch <= self.epoch:
            raise ValueError(f"epoch {epoch} is not above {self.epoch}")
        self.epoch, self.basis = epoch, basis or self.basis
        self._entries.clear()
        self._pulls.clear()
        self._refused.clear()
        self._own, self._base, self._sum, self.published = None, NOTHING, None, 0
        for claims in self._claims.values():
            claims.clear()
        self._tell_all(now)

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Say what is due to be said, ask again for what has not come, and withdraw what the rule no longer allows."""
        if self._forget_after is not None:
            for peer in [peer for peer, died in self._died.items() if now >= died + self._forget_after]:
                del self._died[peer]
                self.forget(peer, now)
        for origin, pull in list(self._pulls.items()):
            if now < pull.attempt.due:
                continue
            if now >= pull.begun + self._deadline:
                self.counters["unanswered"] += 1
                self._claims.get(pull.src, {}).pop(origin, None)
                del self._pulls[origin]
                continue
            self.counters["retry.pull"] += 1
            others = [name for name, claims in self._claims.items() if name != pull.src and claims.get(origin, NOTHING) >= pull.version]
            if others:  # the one whose answers come soonest
                pull.src = min(others, key=lambda name: (self._timer(name).smoothed or 0.0, name))
            self._timer(pull.src).again(pull.attempt, now)
            pull.asked = now
            self._ask(pull.src, [origin])
        self._seek(now)
        self._speak(now)

    def wake(self) -> float:
        """The next digest, repetition or withdrawal."""
        forget = min(self._died.values(), default=inf) + (inf if self._forget_after is None else self._forget_after)
        return min(forget, min(self._say.values(), default=inf), min((pull.attempt.due for pull in self._pulls.values()), default=inf))

    def peer_dead(self, peer: str, now: float) -> None:
        """Nothing is asked of `peer` or said to it any more; what it has published stays."""
        if self._claims.pop(peer, None) is None:
            return
        self._died[peer] = now
        self._say.pop(peer, None)
        self._timers.pop(peer, None)
        self._answered.pop(peer, None)
        for origin in [origin for origin, pull in self._pulls.items() if pull.src == peer]:
            del self._pulls[origin]
        self._seek(now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there (again), and may have forgotten everything."""
        if peer in self._neighbours:
            self.peer_dead(peer, now)
            self._died.pop(peer, None)
            self._claims[peer] = {}
            self._said.pop(peer, None)
            self._say[peer] = now

    def state(self) -> dict[str, Array]:
        """The whole ledger: what others have published too, so that everybody goes on together from one checkpoint."""
        state: dict[str, Array] = {
            "published": np.array([self.published, self._own is not None, self.epoch], np.int64),
            "base": np.array(self._base, np.int64),
            "request": np.array(self._request),
        }
        for origin, entry in self._entries.items():
            state |= {f"version/{origin}": np.array(entry.version, np.int64), f"payload/{origin}": np.array(entry.payload)}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` for what does not fit. What a newer life publishes is above what is restored."""
        try:
            published, own, epoch = map(int, state["published"])
            base, request = Version(*map(int, state["base"])), int(state["request"])
            entries = {}
            for name, numbers in state.items():
                kind, _, origin = name.partition("/")
                if kind == "version":
                    incarnation, count, seal = map(int, numbers)
                    entry = make_entry(self.basis, epoch, origin, incarnation, count, state[f"payload/{origin}"])
                    if entry.version.seal != seal or entry.payload.shape not in ((self._size,), (0,)) or origin not in self._members:
                        raise ValueError(f"the statistics of {origin} in the checkpoint are of another basis or size, or damaged")
                    entries[origin] = entry
        except KeyError as error:
            raise ValueError(f"the ledger's state lacks {error}") from None
        self.published, self.epoch, self._request, self._entries, self._sum = published, epoch, request, entries, None
        held = self._held(self.name)
        self._base = max(base, held) if own else base
        if own and held.incarnation == self._incarnation and entries[self.name].payload.size:
            self._own = entries[self.name].payload

    # --- messages -----------------------------------------------------------------------------------------------------------------

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, (LedgerDigest, LedgerPull, LedgerEntry)):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the ledger")
        if src not in self._neighbours:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
        if src not in self._claims:
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
            self._brought(src, message, entry_of(message, arrays.get("payload"), self._size), now)
        self._seek(now)
        self._speak(now)

    def _fits(self, src: str, message: LedgerDigest | LedgerPull | LedgerEntry) -> bool:
        """Whether it is of this basis and epoch. Anything else is counted, and the owner is told."""
        if message.epoch == self.epoch and message.basis == self.basis:
            return True
        if message.epoch < self.epoch:
            self.counters["epoch_past"] += 1
        elif message.epoch > self.epoch:
            self.counters["epoch_ahead"] += 1
            if message.epoch not in self._shown:
                self._shown.add(message.epoch)
                self._events.append(NewerEpoch(message.epoch))
        else:
            self.counters["foreign_basis"] += 1
            self._foreign(src, f"its statistics are in the basis {message.basis}, the own ones in {self.basis}: they can't be added")
        return False

    def _claimed(self, src: str, claims: dict[str, Version], answer: bool, now: float) -> None:
        self._claims[src] = claims
        self._wanted.update(origin for origin, version in claims.items() if self._lacks(origin, version))
        for origin, pull in self._pulls.items():  # it is here sooner if this one has it too, and the question or its answer was lost
            if pull.more < MORE and now >= pull.asked + self._every and claims.get(origin, NOTHING) >= pull.version:
                pull.more, pull.asked, pull.src = pull.more + 1, now, src
                pull.attempt.retries += 1
                self.counters["more.pull"] += 1
                self._ask(src, [origin])
        if self._same(src):
            if answer:
                self._tell(src, now)
            else:
                self._say[src] = now + self._idle
        elif any(claims.get(origin, NOTHING) < entry.version for origin, entry in self._entries.items()) or answer:
            self._tell(src, now)

    def _asked(self, src: str, message: LedgerPull) -> None:
        last = self._answered.get(src)
        if last is not None and last[0] == message.inc and message.request <= last[1]:
            self.counters["duplicate.pull"] += 1
            return
        self._answered[src] = message.inc, message.request
        for origin in dict.fromkeys(message.origins):
            entry = self._entries.get(origin)
            if entry is None:
                continue
            incarnation, count, seal = entry.version
            answer = LedgerEntry(basis=self.basis, epoch=self.epoch, origin=origin, incarnation=incarnation, count=count, seal=seal)
            self._sends.append(Send(src, answer, {"payload": entry.payload}))
            self.counters["entries.sent"] += 1
            self.counters["bytes.sent"] += entry.payload.nbytes

    def _brought(self, src: str, message: LedgerEntry, entry: Entry, now: float) -> None:
        origin, version = entry.origin, entry.version
        pull = self._pulls.get(origin)
        if pull is not None and version >= pull.version:
            if pull.src == src:
                self._timer(src).answered(pull.attempt, now)
            del self._pulls[origin]
        broken = self._validate(origin, entry.payload) if self._validate is not None and entry.payload.size else ""
        if broken:
            self.counters["invalid"] += 1
            self.refusals[src] += 1
            self._refused[origin] = [*self._refused.get(origin, [])[-REMEMBERED + 1 :], version]
            self._foreign(src, f"statistics of {origin} that can't be any: {broken}")
            return
        self.counters["bytes.taken"] += entry.payload.nbytes
        if origin == self.name:
            self._brought_own(entry, now)
        elif version > self._held(origin):
            self.counters["entries.taken"] += 1
            self._keep(entry, now)
        else:
            self.counters["entries.known"] += 1

    def _brought_own(self, entry: Entry, now: float) -> None:
        """Something that is said to be the own statistics: of a former life, or withdrawn by somebody."""
        version, former = entry.version, self._is_former(entry.version)
        newer = version > self._held(self.name)
        if newer:
            self._keep(entry, now)
        if former:
            self._base = version
            if entry.payload.size:
                self._events.append(Former(entry.payload))
                self.counters["former"] += 1
        elif newer and self._own is not None:
            # Withdrawn while it lives, or claimed by somebody else: the own word is above it.
            self.counters["overtaken"] += 1
            self._put(self._own, now)

    def _is_former(self, version: Version) -> bool:
        """Whether an own version is news of a former life: without a process that counts lives, of one that has not published yet."""
        if version <= self._base:
            return False
        return version.incarnation < self._incarnation or (self._own is None and version > self._held(self.name))

    def _foreign(self, src: str, reason: str) -> None:
        event = Foreign(src, reason)
        if event not in self._shown and len(self._shown) < 1024:
            self._shown.add(event)
            self._events.append(event)

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _held(self, origin: str) -> Version:
        entry = self._entries.get(origin)
        return NOTHING if entry is None else entry.version

    def _put(self, payload: Vector, now: float) -> None:
        """The own payload under a version above everything that is known of the own."""
        known = max([self._held(self.name), *(claims.get(self.name, NOTHING) for claims in self._claims.values())])
        incarnation = max(self._incarnation, known.incarnation)
        count = known.number + 1 if known.incarnation == incarnation else 1
        self._keep(make_entry(self.basis, self.epoch, self.name, incarnation, count, payload), now)

    def _keep(self, entry: Entry, now: float) -> None:
        self._entries[entry.origin] = entry
        self._sum = None
        if not any(isinstance(event, Changed) for event in self._events):
            self._events.append(Changed())
        self._tell_all(now)

    def _same(self, peer: str) -> bool:
        """Whether a neighbour has said to hold exactly what is here."""
        claims = self._claims[peer]
        return len(claims) == len(self._entries) and all(claims.get(origin) == entry.version for origin, entry in self._entries.items())

    def _tell_all(self, now: float) -> None:
        for peer in self._claims:
            self._tell(peer, now)

    def _tell(self, peer: str, now: float) -> None:
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

    def _seek(self, now: float) -> None:
        """Ask for what is lacking: every origin of the neighbour that claims the newest version of it, and of these the least busy one."""
        if not self._wanted:
            return
        busy = Counter(pull.src for pull in self._pulls.values())
        wanted: dict[str, list[str]] = {}
        for origin in sorted(self._wanted - self._pulls.keys()):
            best = max((claims.get(origin, NOTHING) for claims in self._claims.values()), default=NOTHING)
            if not self._lacks(origin, best):
                self._wanted.discard(origin)
                continue
            holders = [peer for peer, claims in self._claims.items() if claims.get(origin) == best and busy[peer] < self._window]
            if not holders:
                continue
            src = min(holders, key=lambda peer: (busy[peer], peer))
            busy[src] += 1
            wanted.setdefault(src, []).append(origin)
            self._pulls[origin] = _Pull(best, src, self._timer(src).start(now), now, now)
        for src, origins in wanted.items():
            self._ask(src, origins)

    def _lacks(self, origin: str, version: Version) -> bool:
        if version in self._refused.get(origin, ()):
            return False
        return version > self._held(origin) or (origin == self.name and self._is_former(version))

    def _ask(self, src: str, origins: list[str]) -> None:
        self._request += 1
        self._sends.append(Send(src, LedgerPull(basis=self.basis, epoch=self.epoch, request=self._request, origins=origins)))

    def _timer(self, peer: str) -> RetryTimer:
        timer = self._timers.get(peer)
        if timer is None:
            timer = self._timers[peer] = RetryTimer(self._random, least=min(0.2, self._every))
        return timer
