"""Compiled forms of `protocols.averaging.vector_arithmetic`, equal to its numpy forms bit for bit, where the library was built.

`library` is None without a compiler, where the source is newer than the library, and with `MURMURATION_KERNELS=numpy` in the environment.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import numpy as np

from protocols.conversations.conversation import Array
from protocols.kernels.build import LIBRARY, digest

_POINTER, _COUNT, _SIZE, _REAL = ctypes.c_void_p, ctypes.c_int, ctypes.c_ssize_t, ctypes.c_double
_ARGUMENTS = {
    "weighted_differences": (_POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _SIZE),
    "give": (_POINTER, _POINTER, _POINTER, _REAL, _REAL, _COUNT, _POINTER, _POINTER, _POINTER, _SIZE),
    "take": (_POINTER, _POINTER, _REAL, _COUNT, _POINTER, _POINTER, _POINTER, _SIZE),
}
_KINDS = {np.dtype(np.float32): "f4", np.dtype(np.float64): "f8"}


def _load() -> ctypes.CDLL | None:
    if os.environ.get("MURMURATION_KERNELS") == "numpy":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.source_digest.restype = ctypes.c_char_p
        built_from: bytes = library.source_digest()
        if built_from.decode() != digest():
            return None
    except (OSError, AttributeError):
        return None
    for name, variants in {
        "weighted_differences": ("f4", "f8"),
        "give": ("f4_f4", "f4_f8", "f8_f4", "f8_f8"),
        "take": ("f4", "f8"),
    }.items():
        for variant in variants:
            function = getattr(library, f"{name}_{variant}")
            function.argtypes, function.restype = _ARGUMENTS[name], None
    return library


library = _load()


def kind_of(size: int, *arrays: Array | None) -> str | None:
    """`f4` or `f8` where all of them are contiguous vectors of `size` numbers of that type (None counts for any); None for anything else,
    which the kernels would read beyond its end or at wrong places."""
    kinds = {_kind(array, size) for array in arrays if array is not None}
    return kinds.pop() if len(kinds) == 1 else None


def _kind(array: Array, size: int) -> str | None:
    flags = array.flags
    return _KINDS.get(array.dtype) if array.size == size and flags.c_contiguous and flags.aligned else None


def address(array: Array | None) -> int | None:
    """Where its numbers begin; None for None."""
    return None if array is None else int(array.__array_interface__["data"][0])


def addresses(arrays: Sequence[Array | None]) -> ctypes.Array[ctypes.c_void_p]:
    """A C array of the addresses of these arrays, null for None."""
    return (ctypes.c_void_p * len(arrays))(*map(address, arrays))


def reals(values: Sequence[float]) -> ctypes.Array[ctypes.c_double]:
    """A C array of these numbers."""
    return (ctypes.c_double * len(values))(*values)
