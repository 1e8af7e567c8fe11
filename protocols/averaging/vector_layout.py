"""Named groups of arrays as one vector, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class VectorLayout:
    """Positions of groups and arrays in a vector: groups in the given order, in each its arrays, each in C order.

    Two agents may average only if their layouts are equal; they compare digests.
    """

    groups: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]
    """name and shapes of each group"""

    @classmethod
    def of(cls, groups: Mapping[str, Sequence[Array]]) -> VectorLayout:
        """The layout of these arrays (anything with a `shape`)."""
        return cls(tuple((name, tuple(tuple(map(int, array.shape)) for array in arrays)) for name, arrays in groups.items()))

    @cached_property
    def size(self) -> int:
        """d, the length of the vector: the sum of the sizes of all arrays."""
        return sum(prod(shape) for _, shapes in self.groups for shape in shapes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, shapes and order (JSON), in hexadecimal."""
        return sha256(json.dumps(self.groups, separators=(",", ":")).encode()).hexdigest()

    def pack(self, groups: Mapping[str, Sequence[Array]]) -> Vector:
        """The arrays as one new vector `[d]` float32. `ValueError` if they have another layout."""
        given = VectorLayout.of(groups)
        if given != self:
            raise ValueError(f"arrays of layout {given.groups} do not fit the layout {self.groups}")
        flat = [array.reshape(-1) for arrays in groups.values() for array in arrays]
        return np.concatenate([np.zeros(0, np.float32), *flat], dtype=np.float32, casting="unsafe")

    def unpack(self, vector: Array) -> dict[str, list[Array]]:
        """The arrays in a vector `[d]` of any dtype, as views on it. `ValueError` if its shape is another."""
        if vector.shape != (self.size,):
            raise ValueError(f"a vector of shape {vector.shape} does not fit a layout of {self.size} numbers")
        groups: dict[str, list[Array]] = {}
        start = 0
        for name, shapes in self.groups:
            groups[name] = []
            for shape in shapes:
                end = start + prod(shape)
                groups[name].append(vector[start:end].reshape(shape))
                start = end
        return groups
