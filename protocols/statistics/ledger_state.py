"""One agent's copy of the statistics of all agents: a state-based replicated data type (Shapiro et al. 2011), merged by the greater
version.

origin -> (version, payload), sealed by the origin so that no relay changes them unnoticed. Entries come in any order, any number of times:
only a greater version replaces what is there, so that all agents that have received the same versions have the same state, and their totals
are equal bit for bit (the sum is taken in the order of the names).

Versions are ordered by (incarnation, count, seal). Incarnation and count decide which is newer; the seal only breaks the tie of two
different payloads under one number, which an honest origin never makes, so that even then all agents keep the same one.

The own entry has one writer with many incarnations: a new one publishes above all known publications of the earlier ones. Their last
publication, if the present state does not contain it, is news (`is_former`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array
from protocols.runtime.errors import BadMessage
from protocols.statistics.ledger_messages import LedgerDigest, LedgerEntry

Vector = NDArray[np.float64]
_NUMBERS = Struct("<3Q")
_DOUBLE = np.dtype("<f8")


class LedgerVersion(NamedTuple):
    """Of an origin's statistics; the greater one replaces the less."""

    incarnation: int
    """incarnation of the origin"""
    number: int
    """how often it has published"""
    seal: int = 0

    def missing(self, known: LedgerVersion) -> int:
        """How many publications lie between this version and a `known` one: at least one where that is newer. Those of earlier
        incarnations are not counted, since the first publication of an incarnation contains them or they are lost."""
        if known <= self:
            return 0
        return max(1, known.number - self.number if known.incarnation == self.incarnation else known.number)


NOTHING = LedgerVersion(0, 0)
"""below every version"""


@dataclass(frozen=True, eq=False)
class LedgerRecord:
    """The newest statistics of one origin that this agent holds, with their version."""

    origin: str
    version: LedgerVersion
    payload: Vector
    """`[P]`, never written to; `[0]`: the origin's statistics are withdrawn"""


def make_entry(basis: str, epoch: int, origin: str, incarnation: int, count: int, payload: Array) -> LedgerRecord:
    """A new entry with a copy of the payload. Its seal: the upper 63 bits of BLAKE2b-64 over the contents."""
    own = np.array(payload, _DOUBLE, order="C")
    own.flags.writeable = False
    hashed = blake2b(f"{basis}\0{origin}\0".encode() + _NUMBERS.pack(epoch, incarnation, count), digest_size=8)
    hashed.update(own.data)
    return LedgerRecord(origin, LedgerVersion(incarnation, count, int.from_bytes(hashed.digest(), "little") >> 1), own)


def entry_of(message: LedgerEntry, payload: Array | None, size: int) -> LedgerRecord:
    """The entry that a message brings; `BadMessage` unless its payload is `[size]` or `[0]` finite float64 and its seal is right."""
    if payload is None or payload.dtype != _DOUBLE or payload.shape not in ((size,), (0,)):
        raise BadMessage("E_FRAME", f"the statistics of {message.origin} are no vector of {size} float64 numbers")
    if not np.isfinite(payload).all():
        raise BadMessage("E_NONFINITE", f"the statistics of {message.origin} hold a number that is not finite")
    entry = make_entry(message.basis, message.epoch, message.origin, message.incarnation, message.count, payload)
    if entry.version.seal != message.seal:
        raise BadMessage("E_FRAME", f"the statistics of {message.origin} are not those that it has sealed")
    return entry


def version_frame(versions: Iterable[LedgerVersion]) -> NDArray[np.int64]:
    """The frame `version[n, 3] i8` of a `LedgerDigest`."""
    return np.array(list(versions), np.int64).reshape(-1, 3)


def versions_of(message: LedgerDigest, arrays: Mapping[str, Array]) -> dict[str, LedgerVersion]:
    """The versions in a `LedgerDigest`; `BadMessage` for a wrong format."""
    frame = arrays.get("version")
    if frame is None or frame.dtype != np.dtype("<i8") or frame.shape != (len(message.origins), 3):
        raise BadMessage("E_FRAME", f"version is not i8[{len(message.origins)}, 3]")
    if frame.size and (frame.min() < 0 or frame[:, 0].max() >= 2**32):
        raise BadMessage("E_FRAME", "a version out of bounds")
    if len(set(message.origins)) != len(message.origins):
        raise BadMessage("E_FRAME", "an origin twice in one digest")
    return {origin: LedgerVersion(*row) for origin, row in zip(message.origins, frame.tolist(), strict=True)}


class LedgerState:
    """One agent's copy, of payloads of `size` numbers in a `basis`; `incarnation`: of the agent."""

    def __init__(self, name: str, basis: str, size: int, incarnation: int) -> None:
        self.name, self.basis, self.epoch, self.size = name, basis, 0, size
        self.entries: dict[str, LedgerRecord] = {}
        self.own: Vector | None = None
        """the publication of this incarnation"""
        self.base = NOTHING
        """the newest own version of an earlier incarnation that the owner's statistics contain"""
        self._incarnation = incarnation
        self._sum: Vector | None = None

    # --- what is held -------------------------------------------------------------------------------------------------------------

    @property
    def versions(self) -> dict[str, LedgerVersion]:
        """The version vector, in the order of the origins' names."""
        return {origin: self.entries[origin].version for origin in sorted(self.entries)}

    def held(self, origin: str) -> LedgerVersion:
        """The version of what is held of an origin."""
        entry = self.entries.get(origin)
        return NOTHING if entry is None else entry.version

    def holds(self, versions: Mapping[str, LedgerVersion]) -> bool:
        """Whether exactly these versions are held."""
        return len(versions) == len(self.entries) and all(versions.get(origin) == entry.version for origin, entry in self.entries.items())

    def exceeds(self, versions: Mapping[str, LedgerVersion]) -> bool:
        """Whether something newer than these is held."""
        return any(versions.get(origin, NOTHING) < entry.version for origin, entry in self.entries.items())

    def total(self) -> Vector:
        """The sum of what is held, `[P]`; not to be written to."""
        if self._sum is None:
            total = np.zeros(self.size)
            for origin in sorted(self.entries):
                if self.entries[origin].payload.size:
                    total += self.entries[origin].payload
            total.flags.writeable = False
            self._sum = total
        return self._sum

    def present(self) -> int:
        """Origins in the sum: those that have published and have not been withdrawn."""
        return sum(entry.payload.size > 0 for entry in self.entries.values())

    def is_former(self, version: LedgerVersion) -> bool:
        """Whether an own version is news of an earlier incarnation: without incarnation numbers, while nothing was published yet."""
        if version <= self.base:
            return False
        return version.incarnation < self._incarnation or (self.own is None and version > self.held(self.name))

    def is_news(self, origin: str, version: LedgerVersion) -> bool:
        """Whether a version of an origin is worth having: newer than what is held, or of an earlier incarnation of this agent."""
        return version > self.held(origin) or (origin == self.name and self.is_former(version))

    # --- what changes -------------------------------------------------------------------------------------------------------------

    def keep(self, entry: LedgerRecord) -> None:
        """Replace what is held of its origin."""
        self.entries[entry.origin] = entry
        self._sum = None

    def put(self, payload: Vector, known: LedgerVersion) -> None:
        """Replace the own payload `[P]`, under a version above all own ones that are held here or `known` elsewhere."""
        known = max(self.held(self.name), known)
        incarnation = max(self._incarnation, known.incarnation)
        count = known.number + 1 if known.incarnation == incarnation else 1
        self.own = payload
        self.keep(make_entry(self.basis, self.epoch, self.name, incarnation, count, payload))

    def withdraw(self, origin: str) -> bool:
        """Put nothing in the place of what an origin has published, as a version above it; whether there was anything."""
        held = self.entries.get(origin)
        if held is None or not held.payload.size:
            return False
        if origin == self.name:
            self.own = None
        self.keep(make_entry(self.basis, self.epoch, origin, held.version.incarnation, held.version.number + 1, np.empty(0)))
        return True

    def begin_epoch(self, epoch: int) -> None:
        """Hold nothing, in another epoch."""
        self.epoch = epoch
        self.entries.clear()
        self.own, self.base, self._sum = None, NOTHING, None

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """All entries, and the version of earlier incarnations that the own one contains."""
        state: dict[str, Array] = {"base": np.array(self.base, np.int64)}
        for origin, entry in self.entries.items():
            state |= {f"version/{origin}": np.array(entry.version, np.int64), f"payload/{origin}": np.array(entry.payload)}
        return state

    def load_state(self, state: Mapping[str, Array], epoch: int, own: bool, members: Collection[str]) -> None:
        """Restore what `state` gave in that epoch; `own`: whether the agent had published. `ValueError` for what does not fit, `KeyError`
        for what is lacking: then nothing is changed."""
        base = LedgerVersion(*map(int, state["base"]))
        entries = {}
        for name, numbers in state.items():
            kind, _, origin = name.partition("/")
            if kind == "version":
                incarnation, count, seal = map(int, numbers)
                entry = make_entry(self.basis, epoch, origin, incarnation, count, state[f"payload/{origin}"])
                if entry.version.seal != seal or entry.payload.shape not in ((self.size,), (0,)) or origin not in members:
                    raise ValueError(f"the statistics of {origin} in the checkpoint are of another basis or size, or damaged")
                entries[origin] = entry
        self.epoch, self.entries, self._sum = epoch, entries, None
        held = self.held(self.name)
        self.base = max(base, held) if own else base
        if own and held.incarnation == self._incarnation and entries[self.name].payload.size:
            self.own = entries[self.name].payload
