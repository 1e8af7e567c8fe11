"""Bytes of the wire: one msgpack header and raw tensor frames; limits are checked before anything is decoded.

Nothing that arrives can execute code or allocate much more than its own size: headers are typed (`protocols.messages`), arrays are
views on the received frames, and every failure is one `BadMessage`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.errors import BadMessage
from protocols.messages import AnyMessage, ArrayInfo, Message

Array = NDArray[Any]
Buffer = bytes | bytearray | memoryview

_KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_DTYPES = {kind: np.dtype("?" if kind == "b1" else "<" + kind) for kind in _KINDS}


@dataclass(frozen=True)
class Limits:
    """Largest message that is accepted; sizes in bytes."""

    frames: int = 64
    header: int = 16 * 1024
    frame: int = 64 * 2**20
    total: int = 256 * 2**20


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def _describe(name: str, array: Array) -> ArrayInfo:
    kind = "b1" if array.dtype == np.bool_ else f"{array.dtype.kind}{array.dtype.itemsize}"
    if kind not in _KINDS:
        raise TypeError(f"array {name!r} has dtype {array.dtype}, which does not travel")
    return ArrayInfo(name, kind, list(array.shape))  # type: ignore[arg-type]


def encode(message: Message, arrays: Mapping[str, Array] | None = None) -> list[Buffer]:
    """Header and frames of a message; `message.frames` is set from `arrays`. Arrays are not copied if they are contiguous."""
    frames: list[Buffer] = []
    if arrays:
        infos = []
        for name, array in arrays.items():
            array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
            infos.append(_describe(name, array))
            frames.append(array.data.cast("B") if array.size else b"")
        message.frames = infos
    return [_encoder.encode(message), *frames]


def decode(parts: Sequence[Buffer], limits: Limits = Limits()) -> tuple[AnyMessage, dict[str, Array]]:
    """The message and its arrays (read-only views on `parts`). Raises `BadMessage`, and nothing else, for whatever is wrong."""
    if not parts:
        raise BadMessage("E_FRAME", "no header")
    if len(parts) > 1 + limits.frames:
        raise BadMessage("E_SIZE", f"{len(parts) - 1} frames, at most {limits.frames}")
    sizes = [len(part) for part in parts]
    if sizes[0] > limits.header:
        raise BadMessage("E_SIZE", f"header of {sizes[0]} bytes, at most {limits.header}")
    if max(sizes) > limits.frame:
        raise BadMessage("E_SIZE", f"frame of {max(sizes)} bytes, at most {limits.frame}")
    if sum(sizes) > limits.total:
        raise BadMessage("E_SIZE", f"message of {sum(sizes)} bytes, at most {limits.total}")
    try:
        message = _decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage("E_DECODE", _printable(str(error))) from None
    if len(message.frames) != len(parts) - 1:
        raise BadMessage("E_FRAME", f"{len(message.frames)} frames described, {len(parts) - 1} sent")
    arrays: dict[str, Array] = {}
    for info, part in zip(message.frames, parts[1:], strict=True):
        dtype = _DTYPES[info.d]
        if prod(info.s) * dtype.itemsize != len(part):
            raise BadMessage("E_FRAME", f"{_printable(info.n)}: shape {info.s} of {info.d} is not {len(part)} bytes")
        if info.n in arrays:
            raise BadMessage("E_FRAME", f"{_printable(info.n)} twice")
        array = np.frombuffer(part, dtype).reshape(info.s)
        array.flags.writeable = False
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise BadMessage("E_NONFINITE", f"{_printable(info.n)} holds a value that is not finite")
        arrays[info.n] = array
    return message, arrays


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
