"""Random numbers of the faults: each is a keyed hash of what it is for, so none depends on timing, on threads, or on another link.

    u(seed; names, seq, index) = (w + 1/2) / 2^53,   w = the first 53 bits of word `index` of BLAKE2b(key = seed; names, seq)

`names` identify the draw (rule, sender, receiver, channel, ...), `seq` for which message, `index` which of the draws for it.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

_SEQUENCE = Struct("<QI")
_WORDS = Struct("<8Q")
_SHIFT = 11
_SCALE = 2.0**-53


class KeyedDraws:
    """The draws of one purpose. Uniform on the open interval (0, 1), 53 bits each; each call costs one hash."""

    __slots__ = ("_base",)

    def __init__(self, seed: int, *names: object) -> None:
        self._base = blake2b(key=seed.to_bytes(8, "little"), digest_size=64)
        for name in names:
            text = str(name).encode()
            self._base.update(len(text).to_bytes(4, "little") + text)

    def eight(self, seq: int, block: int = 0) -> tuple[float, ...]:
        """Draws 8 * block ... 8 * block + 7 for `seq`."""
        state = self._base.copy()
        state.update(_SEQUENCE.pack(seq, block))
        return tuple([((word >> _SHIFT) + 0.5) * _SCALE for word in _WORDS.unpack(state.digest())])

    def uniform(self, seq: int, index: int = 0) -> float:
        """Uniform number in [0, 1): draw `index` of message `seq`; the same at every call."""
        return self.eight(seq, index // 8)[index % 8]

    def choice(self, count: int, seq: int, index: int = 0) -> int:
        """A number from 0 to count - 1, each equally likely."""
        return int(self.uniform(seq, index) * count)

    def shuffled(self, names: list[str], seq: int) -> list[str]:
        """The names in a drawn order (each gets a draw, and they are sorted by it)."""
        return [name for _, name in sorted((self.uniform(seq, index), name) for index, name in enumerate(names))]
