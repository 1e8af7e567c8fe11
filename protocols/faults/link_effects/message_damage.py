"""Damaged copies of messages, which a receiver must detect."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.runtime.errors import BadMessage
from protocols.wire import codec

_NEVER = 0xC1
"""a byte that is in no MessagePack document as a marker, and in no UTF-8 text"""


def damaged(parts: Sequence[codec.Buffer], what: str, place: float) -> list[codec.Buffer]:
    """A copy with one thing wrong, at the share `place` of what can be hit. payload: a byte of the frames (of the header,
    without frames); header: a byte of the header; truncate: the last part loses its end."""
    if what == "truncate":
        last = bytes(parts[-1])
        return [*parts[:-1], last[: int(place * len(last))]]
    if what == "payload" and any(len(part) for part in parts[1:]):
        return _flipped(parts, place)
    header = bytes(parts[0])
    first = int(place * len(header))
    for offset in range(len(header)):
        changed = bytearray(header)
        changed[(first + offset) % len(header)] = _NEVER
        candidate: list[codec.Buffer] = [bytes(changed), *parts[1:]]
        if _refused(candidate):  # a byte of a number may come to another number
            return candidate
    return [b"", *parts[1:]]


def _flipped(parts: Sequence[codec.Buffer], place: float) -> list[codec.Buffer]:
    """All bits of one byte of the frames flipped, which their checksum detects."""
    position = int(place * sum(map(len, parts[1:])))
    copies: list[codec.Buffer] = [parts[0]]
    for part in parts[1:]:
        if 0 <= position < len(part):
            changed = bytearray(part)
            changed[position] ^= 0xFF
            copies.append(bytes(changed))
        else:
            copies.append(part)
        position -= len(part)
    return copies


def _refused(parts: Sequence[codec.Buffer]) -> bool:
    try:
        codec.decode(parts)
    except BadMessage:
        return True
    return False
