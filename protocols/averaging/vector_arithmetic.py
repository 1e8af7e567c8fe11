"""The vector work of a round: by compiled kernels where they are (`protocols.kernels`), else by numpy with the same results.

numpy works piece by piece where vectors are long, so that all intermediate results stay in the processor's second-level cache: for 250,000
numbers a third (push-sum) to two thirds (gossip) of the time of whole-vector operations."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from protocols import kernels
from protocols.conversations.conversation import Array
from protocols.kernels import address, addresses, kind_of, reals

Vector = NDArray[np.float64]
BLOCK = 16384
"""numbers that are worked on at a time"""
TINY = 32
"""length up to which Python adds faster than numpy begins to"""
_DOUBLE = np.dtype(np.float64)
EdgeTransfer = tuple[Array | None, Array, int]
"""S before (None: zero), room for S after, and the number of edges that it is the sum of"""
ReceivedTransfer = tuple[Array, Array | None]
"""S, and R before (None: zero)"""


FARTHEST_RATIO = 1e3
"""largest number that is averaged, in units of the largest own one"""
LEAST_REACH = 1e6
"""numbers up to this are averaged whatever the own ones are: sums over data are large at an agent that has seen much"""


def magnitude(vector: Array) -> float:
    """The largest |x_k|; 0 for an empty vector; infinite or NaN where a number is not finite."""
    if vector.size <= TINY:
        numbers = vector.tolist()
        if isfinite(sum(numbers)):
            return max(max(numbers, default=0.0), -min(numbers, default=0.0))
    return max(float(vector.max()), -float(vector.min()))


def reach(largest: float) -> float:
    """Largest magnitude of a number that is averaged with own numbers up to `largest`: max(10^6, 1000 `largest`)."""
    return max(LEAST_REACH, FARTHEST_RATIO * largest)


def weighted_differences(own: Array, others: Sequence[Array], weights: Sequence[float]) -> Vector:
    """sum_j w_j (x_j - x_i), `[d]` float64, of x_i = `own`, x_j = `others`, in their order."""
    if not others:
        return np.zeros(own.size)
    delta: Vector = np.empty(own.size)
    if kernels.library is not None and (kind := kind_of(own.size, own, *others)):
        work = getattr(kernels.library, f"weighted_differences_{kind}")
        work(address(own), addresses(others), reals(weights), len(others), address(delta), own.size)
        return delta
    length = min(own.size, BLOCK) if own.size > 2 * BLOCK else own.size
    precise, difference = np.empty((2, length))
    for start in range(0, own.size, length):
        here = slice(start, min(start + length, own.size))
        count = here.stop - start
        total, x, other = delta[here], precise[:count], difference[:count]
        x[...] = own[here]
        np.subtract(others[0][here], x, total)
        np.multiply(total, weights[0], total)
        for vector, weight in zip(others[1:], weights[1:], strict=True):
            np.subtract(vector[here], x, other)
            np.multiply(other, weight, other)
            np.add(total, other, total)
    return delta


class Accumulator:
    """The push-sum numerator y and the model z = y / w of one agent, `[d]` float64 each."""

    def __init__(self, size: int) -> None:
        self.y: Vector = np.zeros(size)
        """sum"""
        self.z: Vector = np.zeros(size)
        """the model as the agent has it: the vector of `begin`, or the result of the last round"""
        self._size = size
        self._spans = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)] if size > 2 * BLOCK else []
        scratch = np.empty((2, BLOCK if self._spans else size))
        self._moved, self._given = scratch[0], scratch[1]
        self._factors = np.empty(()), np.empty(()), np.empty(())

    def give(self, x: Array, w: float, part: float, gifts: list[EdgeTransfer]) -> None:
        """y += w (x - z), z = x; then for each gift S += part y, and y -= the change of S as many times as it is given."""
        before, after, times = [old for old, _, _ in gifts], [new for _, new, _ in gifts], [copies for _, _, copies in gifts]
        sums = kind_of(self._size, *before, *after) if gifts else "f8"
        if kernels.library is not None and sums and (kind := kind_of(self._size, x)):
            work = getattr(kernels.library, f"give_{kind}_{sums}")
            numbers = address(x), address(self.y), address(self.z), w, part
            work(*numbers, len(gifts), addresses(before), addresses(after), reals(times), self._size)
            return
        factors = self._factors
        factors[0][()], factors[1][()] = w, part
        if not self._spans:
            _give(x, self.y, self.z, self._moved, self._given, factors, gifts)
            return
        for span in self._spans:
            here = [(None if old is None else old[span], new[span], times) for old, new, times in gifts]
            count = span.stop - span.start
            _give(x[span], self.y[span], self.z[span], self._moved[:count], self._given[:count], factors, here)

    def take(self, taken: list[ReceivedTransfer], scale: float) -> Vector:
        """y += S - R of each; then z = scale y. Returns the change of z."""
        delta: Vector = np.empty(self._size)
        totals, before = [total for total, _ in taken], [old for _, old in taken]
        sums = kind_of(self._size, *totals, *before) if taken else "f8"
        if kernels.library is not None and sums:
            work = getattr(kernels.library, f"take_{sums}")
            work(address(self.y), address(self.z), scale, len(taken), addresses(totals), addresses(before), address(delta), self._size)
            return delta
        factor = self._factors[0]
        factor[()] = scale
        if not self._spans:
            _take(self.y, self.z, self._moved, delta, taken, factor)
            return delta
        for span in self._spans:
            here = [(total[span], None if before is None else before[span]) for total, before in taken]
            _take(self.y[span], self.z[span], self._moved[: span.stop - span.start], delta[span], here, factor)
        return delta


# Factors are arrays without dimensions: numpy takes twice as long to begin with a Python number.
def _give(
    x: Array, y: Vector, z: Vector, moved: Vector, given: Vector, factors: tuple[Vector, Vector, Vector], gifts: list[EdgeTransfer]
) -> None:
    w, part, count = factors
    np.subtract(x, z, moved)
    np.multiply(moved, w, moved)
    np.add(y, moved, y)
    z[...] = x
    if gifts:
        np.multiply(y, part, moved)
    for old, new, times in gifts:
        if old is None:
            new[...] = moved
            given[...] = new
        else:
            np.add(old, moved, new)
            if new.dtype is _DOUBLE:
                np.subtract(new, old, given)
            else:
                np.subtract(new, old, given, dtype=_DOUBLE)
        if times > 1:
            count[()] = times
            np.multiply(given, count, given)
        np.subtract(y, given, y)


def _take(y: Vector, z: Vector, moved: Vector, delta: Vector, taken: list[ReceivedTransfer], scale: Vector) -> None:
    for total, before in taken:
        if before is None:
            np.add(y, total, y)
        else:
            if total.dtype is _DOUBLE:
                np.subtract(total, before, moved)
            else:
                np.subtract(total, before, moved, dtype=_DOUBLE)
            np.add(y, moved, y)
    np.multiply(y, scale, moved)
    np.subtract(moved, z, delta)
    z[...] = moved
