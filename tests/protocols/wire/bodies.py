"""Hypothesis strategies for the bodies of all messages, derived from their type annotations and bounds."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from msgspec import inspect as mi

from protocols.wire.message_registry import message_types
from protocols.wire.messages import FILE_PATH, Message

TYPES = message_types()

TRANSPORT = {"v", "frames", "crc"}
DTYPES = [np.dtype(name) for name in ("<f2", "<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "?")]


def values(kind: mi.Type) -> st.SearchStrategy[Any]:
    """Values that a field of this type accepts."""
    match kind:
        case mi.IntType(ge=ge, le=le):
            return st.integers(ge, le)
        case mi.FloatType(ge=ge, gt=gt, le=le):
            least = gt if ge is None else ge
            return st.floats(least, le, exclude_min=gt is not None, allow_nan=False)
        case mi.BoolType():
            return st.booleans()
        case mi.NoneType():
            return st.none()
        case mi.StrType(max_length=most, pattern=None):
            return st.text(st.characters(codec="utf-8"), max_size=most)
        case mi.StrType(pattern=pattern) if pattern == FILE_PATH:
            part = st.text("abcXYZ019_+-", min_size=1, max_size=20)
            return st.lists(st.tuples(part, st.text("ab9.", max_size=5)).map("".join), min_size=1, max_size=6).map("/".join)
        case mi.StrType(max_length=most):
            return st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", max_size=most)
        case mi.LiteralType(values=choices):
            return st.sampled_from(choices)
        case mi.ListType(item_type=item, min_length=least, max_length=most):
            return st.lists(values(item), min_size=least or 0, max_size=min(4, most))
        case mi.UnionType(types=types):
            return st.one_of(*map(values, types))
        case mi.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{f.name: values(f.type) for f in fields if f.name not in TRANSPORT})
    raise TypeError(f"no strategy for {kind}")


def smallest(kind: mi.Type) -> Any:
    """The plainest value of that type."""
    match kind:
        case mi.IntType(ge=ge):
            return ge
        case mi.FloatType(ge=ge, gt=gt):
            return gt + 1.0 if ge is None else ge
        case mi.BoolType():
            return False
        case mi.StrType():
            return ""
        case mi.ListType(item_type=item, min_length=least):
            return [smallest(item)] * (least or 0)
        case mi.LiteralType(values=choices):
            return choices[0]
        case mi.UnionType(types=types):
            return smallest(types[0])
        case mi.StructType(cls=cls, fields=fields):
            return cls(**{f.name: smallest(f.type) for f in fields if f.required})
    raise TypeError(f"no value for {kind}")


def plainest(cls: type[Message]) -> Message:
    """A message of one type with nothing in it but what it needs."""
    message: Message = smallest(mi.type_info(cls))
    return message


@cache  # a strategy costs far more to make than a value
def messages(cls: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of one type, small enough for the header limit."""
    return values(mi.type_info(cls)).filter(lambda message: len(msgspec.msgpack.encode(message)) < 12_000)


def _array(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5), elements=finite or None)


FRAMES = st.dictionaries(st.text(max_size=16), st.one_of(*map(_array, DTYPES)), max_size=6)


def raw(tree: Any) -> bytes:
    """MessagePack by hand, so that what no encoder writes can be written: `pairs` lists become maps, keys repeated and all."""
    if isinstance(tree, Pairs):
        return b"\xdf" + struct.pack(">I", len(tree.items)) + b"".join(raw(key) + raw(value) for key, value in tree.items)
    return msgspec.msgpack.encode(tree)


class Pairs:
    """A map as a list of pairs."""

    def __init__(self, *items: tuple[Any, Any]) -> None:
        self.items = items
