"""What a ledger holds of one origin: a version and a vector, sealed by the origin so that no relay changes them unnoticed.

Versions are ordered by (incarnation, count, seal). Incarnation and count decide which is newer; the seal only breaks the tie of two
different payloads under one number, which an honest origin never makes, so that even then all agents keep the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def make_seal(basis: str, epoch: int, origin: str, incarnation: int, count: int, payload: Vector) -> int:
    """The upper 63 bits of BLAKE2b-64 over the contents of an entry."""
    hashed = blake2b(f"{basis}\0{origin}\0".encode() + _NUMBERS.pack(epoch, incarnation, count), digest_size=8)
    hashed.update(np.ascontiguousarray(payload, _DOUBLE).data)
    return int.from_bytes(hashed.digest(), "little") >> 1


def make_entry(basis: str, epoch: int, origin: str, incarnation: int, count: int, payload: Array) -> LedgerRecord:
    """A new entry with a copy of the payload."""
    own = np.array(payload, _DOUBLE)
    own.flags.writeable = False
    return LedgerRecord(origin, LedgerVersion(incarnation, count, make_seal(basis, epoch, origin, incarnation, count, own)), own)


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
