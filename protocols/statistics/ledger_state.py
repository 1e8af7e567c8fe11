"""One agent's copy of the statistics of all agents: a state-based replicated data type (Shapiro et al. 2011), merged by the greater
version.

origin -> (version, payload). Entries come in any order, any number of times: only a greater version replaces what is there, so that all
agents that have received the same versions have the same state, and their totals are equal bit for bit (the sum is taken in the order of
the names).

The own entry has one writer with many incarnations: a new one publishes above all known publications of the earlier ones. Their last
publication, if the present state does not contain it, is news (`is_former`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b

import numpy as np

from protocols.conversations.conversation import Array
from protocols.statistics.ledger_entries import NOTHING, LedgerRecord, LedgerVersion, Vector, make_entry


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

    @property
    def digest(self) -> str:
        """Hash of basis, epoch and version vector: equal ones stand for equal ledgers."""
        text = f"{self.basis}\0{self.epoch}\0" + "\0".join(f"{origin}\0{version}" for origin, version in self.versions.items())
        return blake2b(text.encode(), digest_size=16).hexdigest()

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

    def begin_epoch(self, epoch: int, basis: str) -> None:
        """Hold nothing, in another basis."""
        self.epoch, self.basis = epoch, basis
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
