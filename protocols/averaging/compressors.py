"""Vectors made small for the wire: Q(v), and how a receiver adds it to what it has.

Every Q here contracts: E |Q(v) - v|^2 <= (1 - delta) |v|^2 with a known delta > 0, which is what compressed gossip needs (Stich, Cordonnier
and Jaggi 2018; Koloskova, Stich and Jaggi 2019). Both ends add the numbers as they travelled, one float32 addition each, so that
their sums agree bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import ceil, log10, sqrt

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array, frame, require
from protocols.runtime.errors import BadMessage

Vector = NDArray[np.float32]
BUCKET = 64
"""numbers that share one scale in `Quantise`"""


class TopK:
    """The k = ceil(share d) numbers of largest magnitude, the others 0; of equal ones those of lower index. delta = share.

    Frames `index[k] u4`, rising, and `value[k] f4`.
    """

    def __init__(self, share: float) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"a share of {share} is not above 0 and at most 1")
        self.share = self.contraction = share
        """|Q(v) - v|^2 <= (1 - k / d) |v|^2: what is left out is no larger than the rest on average"""

    def compress(self, vector: Vector, random: np.random.Generator) -> dict[str, Array]:
        """The frames of Q(v) for `vector` v, `[d]`: the k numbers of largest magnitude; nothing is drawn."""
        count = ceil(self.share * len(vector))
        magnitude = np.abs(vector)
        if count < len(vector):
            least = np.partition(magnitude, len(vector) - count)[len(vector) - count]
            above = np.flatnonzero(magnitude > least)
            level = np.flatnonzero(magnitude == least)[: count - len(above)]
            index = np.sort(np.concatenate([above, level])).astype(np.uint32)
        else:
            index = np.arange(len(vector), dtype=np.uint32)
        return {"index": index, "value": vector[index]}

    def added(self, base: Vector, frames: Mapping[str, Array]) -> Vector:
        """A new vector `[d]`: base with the received values added at their indices. `BadMessage` for indices that do not rise within d."""
        count = ceil(self.share * len(base))
        index, value = _frame(frames, "index", "u4", count), _frame(frames, "value", "f4", count)
        if count and (index[-1] >= len(base) or (index[1:] <= index[:-1]).any()):
            raise BadMessage("E_FRAME", f"the indices do not rise within {len(base)} numbers")
        total = base.copy()
        with np.errstate(over="ignore"):
            total[index] += value
        return _finite(total)


class Quantise:
    """Each number as one of 2 s + 1 levels, s = 2^(bits - 1) - 1, of its bucket of `BUCKET`, times the bucket's largest magnitude M.

    |v_k| s / M is rounded up with the probability of its fraction, else down (Alistarh et al. 2017, with the largest magnitude in the place
    of the norm). That is right on average, with a mean square error of at most omega |v|^2, omega = min(B / (4 s^2), sqrt(B) / s); divided
    by 1 + omega it contracts with delta = 1 / (1 + omega). Frames `scale[ceil(d / B)] f4` (M / (s (1 + omega))) and
    `level[ceil(d bits / 8)] u1` (levels + s, low bits first).
    """

    def __init__(self, bits: int) -> None:
        if bits not in (2, 4, 8):
            raise ValueError(f"{bits} bits per number are not 2, 4 or 8")
        self.bits = bits
        self._top: int = 2 ** (bits - 1) - 1
        self.contraction = 1.0 / (1.0 + min(BUCKET / (4 * self._top**2), sqrt(BUCKET) / self._top))
        """1 / (1 + omega): 0.11 with 2 bits, 0.75 with 4, 0.999 with 8"""

    def compress(self, vector: Vector, random: np.random.Generator) -> dict[str, Array]:
        """The frames of Q(v) for `vector` v, `[d]`: levels, rounded by draws of `random`, unbiased before the division by 1 + omega."""
        buckets = np.zeros((ceil(len(vector) / BUCKET), BUCKET))
        buckets.reshape(-1)[: len(vector)] = vector
        largest = np.abs(buckets).max(axis=1, initial=0.0)
        steps = buckets * (self._top / np.where(largest > 0, largest, 1.0))[:, None]
        levels = np.floor(steps + random.random(buckets.shape, np.float32))
        codes = (np.clip(levels, -self._top, self._top) + self._top).astype(np.uint8).reshape(-1)
        return {"scale": (largest * self.contraction / self._top).astype(np.float32), "level": self._packed(codes[: len(vector)])}

    def added(self, base: Vector, frames: Mapping[str, Array]) -> Vector:
        """A new vector `[d]`: base + level * scale, with the scale of each bucket. `BadMessage` for frames of a wrong length or a
        negative scale."""
        per_byte = 8 // self.bits
        scale = _frame(frames, "scale", "f4", ceil(len(base) / BUCKET))
        level = _frame(frames, "level", "u1", ceil(len(base) / per_byte))
        require(scale >= 0, "a scale is negative")
        shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(self.bits)
        codes = ((level[:, None] >> shifts) & np.uint8(2**self.bits - 1)).reshape(-1)
        if codes[: len(base)].max(initial=0) > 2 * self._top or codes[len(base) :].any():
            raise BadMessage("E_FRAME", f"a level above {self._top}, or bits behind the last number")
        levels = codes[: len(base)].astype(np.float32) - np.float32(self._top)
        with np.errstate(over="ignore"):
            return _finite(base + levels * np.repeat(scale, BUCKET)[: len(base)])

    def _packed(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        per_byte = 8 // self.bits
        padded = np.zeros((ceil(len(codes) / per_byte), per_byte), np.uint8)
        padded.reshape(-1)[: len(codes)] = codes
        shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(self.bits)
        packed: NDArray[np.uint8] = np.bitwise_or.reduce(padded << shifts, axis=1)
        return packed


Compressor = TopK | Quantise
"""an operator Q: R^d -> R^d with E|Q(v) - v|^2 <= (1 - delta) |v|^2, delta = `contraction`, whose result is sent as frames"""


def largest_step(compressor: Compressor) -> float:
    """Step gamma beyond which compressed gossip diverges on most graphs: a power law in delta through 0.3 at delta = 0.1 and 0.05 at 0.01,
    at most 1 (reached at delta = 0.47). Sparse graphs such as a ring bear this much, dense ones and stars about half."""
    return min(1.0, 0.3 * math.pow(compressor.contraction / 0.1, log10(6.0)))


def usual_step(compressor: Compressor) -> float:
    """Half the largest step: converges on rings, stars and complete graphs alike."""
    return largest_step(compressor) / 2


def _frame(frames: Mapping[str, Array], name: str, dtype: str, size: int) -> Array:
    array = frame(frames, name, dtype, (size,))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadMessage("E_NONFINITE", f"frame {name} holds a number that is not finite")
    return array


def _finite(total: Vector) -> Vector:
    if not np.isfinite(total).all():
        raise BadMessage("E_NONFINITE", "the sum is not finite")
    return total
