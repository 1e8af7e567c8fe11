"""Bytes of the wire: one msgpack header and raw array frames; limits are checked before anything is decoded.

Nothing that arrives can execute code or allocate much more than its own size: headers are typed (`protocols.wire.messages`), arrays are
views on the received frames, and every failure is one `BadMessage`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any
from zlib import crc32

import msgpack
import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import BadMessage
from protocols.wire.message_registry import message_decoder
from protocols.wire.messages import ArrayInfo, Message

Array = NDArray[Any]
Buffer = bytes | bytearray | memoryview

_KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_DTYPES = {kind: np.dtype("?" if kind == "b1" else "<" + kind) for kind in _KINDS}
_KIND_OF = {dtype: kind for kind, dtype in _DTYPES.items()}
_FLOATS = [dtype for dtype in _DTYPES.values() if dtype.kind == "f"]


@dataclass(frozen=True)
class MessageLimits:
    """Largest message that is accepted; sizes in bytes."""

    frames: int = 64
    header: int = 16 * 1024
    frame: int = 64 * 2**20
    total: int = 256 * 2**20


LARGEST = 1e15
"""largest magnitude of a number that agents accept from each other: its square, and the sum of many squares, are finite in float32"""
SMALL = 64 * 1024
"""bytes from which an array has a frame of its own"""
MANY = 4096
"""numbers from which the largest and the smallest are found faster than magnitudes are compared one by one"""
_PADDING = [b"\0" * (-n % 8) for n in range(8)]

_BOUNDS = {dtype: dtype.type(min(LARGEST, float(np.finfo(dtype).max))) for dtype in _FLOATS}

_encoder = msgspec.msgpack.Encoder()


def encode(message: Message, arrays: Mapping[str, Array] | None = None, checked: bool = False) -> list[Buffer]:
    """Header and frames of a message; `message.frames` is set from `arrays`, and for a `checked` one `message.crc` from the frames.

    Arrays below `SMALL` bytes travel together in the first frame, each at a multiple of 8 bytes, since a frame costs more than their
    copy; larger ones have a frame of their own, in order, and are not copied if they are contiguous.
    """
    message.crc = 0
    if not arrays:
        message.frames = []
        return [_encoder.encode(message)]
    infos: list[ArrayInfo] = []
    small: list[bytes] = []
    large: list[Buffer] = []
    for name, array in arrays.items():
        kind = _KIND_OF.get(array.dtype)
        if kind is None:  # of another byte order, or of no kind that travels
            array = np.asarray(array, dtype=array.dtype.newbyteorder("<"))
            kind = _KIND_OF.get(array.dtype)
            if kind is None:
                raise TypeError(f"array {name!r} has dtype {array.dtype}, which does not travel")
        infos.append(ArrayInfo(name, kind, list(array.shape)))  # type: ignore[arg-type]
        size = array.nbytes
        if size < SMALL:
            small.append(array.tobytes())
            if size % 8:
                small.append(_PADDING[size % 8])
        else:
            large.append(np.ascontiguousarray(array).data.cast("B"))
    message.frames = infos
    frames = [b"".join(small), *large] if small else large
    if checked:
        message.crc = _checksum(frames)
    return [_encoder.encode(message), *frames]


def _checksum(frames: Sequence[Buffer]) -> int:
    """CRC-32 of all frames one after the other; 1 where that is 0, which means: none."""
    crc = 0
    for frame in frames:
        crc = crc32(frame, crc)
    return crc or 1


def decode(parts: Sequence[Buffer], limits: MessageLimits = MessageLimits(), bounded: bool = False) -> tuple[Message, dict[str, Array]]:
    """The message and its arrays (read-only views on `parts`). Raises `BadMessage`, and nothing else, for whatever is wrong. `bounded`:
    numbers above `LARGEST` are refused like those that are not finite."""
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
        message = message_decoder().decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage("E_DECODE", printable(str(error))) from None
    if _encoder.encode(message) != parts[0]:
        _refuse_duplicate_keys(parts[0])
    if message.crc and message.crc != _checksum(parts[1:]):
        raise BadMessage("E_FRAME", "the frames are not those that were sent: their checksum is wrong")
    return message, _arrays(message.frames, parts[1:], bounded)


def _arrays(infos: Sequence[ArrayInfo], frames: Sequence[Buffer], bounded: bool) -> dict[str, Array]:
    """Views on the frames as the header describes them; every byte of every frame must be accounted for."""
    sizes = [prod(info.s) * _DTYPES[info.d].itemsize for info in infos]
    padded = large = 0
    for size in sizes:
        if size < SMALL:
            padded += size + -size % 8
        else:
            large += 1
    shared = large < len(sizes)
    if len(frames) != shared + large:
        raise BadMessage("E_FRAME", f"{len(frames)} frames do not hold the {len(infos)} arrays described")
    if shared and padded != len(frames[0]):
        raise BadMessage("E_FRAME", f"small arrays of {padded} bytes described, {len(frames[0])} sent")
    arrays: dict[str, Array] = {}
    offset, own = 0, int(shared)
    for info, size in zip(infos, sizes, strict=True):
        dtype = _DTYPES[info.d]
        if info.n in arrays:
            raise BadMessage("E_FRAME", f"{printable(info.n)} twice")
        if not size:
            arrays[info.n] = _empty(info, dtype)
            continue
        if size < SMALL:
            array = np.ndarray(info.s, dtype, frames[0], offset)
            offset += size + -size % 8
        else:
            if size != len(frames[own]):
                raise BadMessage("E_FRAME", f"{printable(info.n)}: shape {info.s} of {info.d} is not {len(frames[own])} bytes")
            array = np.ndarray(info.s, dtype, frames[own])
            own += 1
        if dtype.kind == "f":
            _check_numbers(info.n, array, bounded)
        if dtype.kind == "b" and array.view(np.uint8).max() > 1:
            raise BadMessage("E_FRAME", f"{printable(info.n)} holds a byte that is neither 0 nor 1")
        array.flags.writeable = False
        arrays[info.n] = array
    return arrays


def _check_numbers(name: str, array: Array, bounded: bool) -> None:
    """`BadMessage` for a number that is not finite, or (bounded) of a magnitude above `LARGEST`."""
    if bounded and array.size >= MANY:
        largest = max(float(array.max()), -float(array.min()))  # NaN where any number is
        finite, near = isfinite(largest), largest <= _BOUNDS[array.dtype]
    else:
        # A search for the byte 0 (False) takes a third of the time of `all`, which matters for small arrays, hence for all messages.
        finite = b"\0" not in np.isfinite(array).tobytes()
        near = not bounded or b"\0" not in (np.abs(array) <= _BOUNDS[array.dtype]).tobytes()
    if not finite:
        raise BadMessage("E_NONFINITE", f"{printable(name)} holds a value that is not finite")
    if not near:
        raise BadMessage("E_RANGE", f"{printable(name)} holds a value of a magnitude above {LARGEST:g}")


def _empty(info: ArrayInfo, dtype: np.dtype[Any]) -> Array:
    array = np.empty(0, dtype)
    array.flags.writeable = False
    try:
        return array.reshape(info.s)
    except ValueError:  # the other dimensions' product is larger than that of any array
        raise BadMessage("E_FRAME", f"{printable(info.n)}: shape {info.s} is too large") from None


def _refuse_duplicate_keys(header: Buffer) -> None:
    """The typed decoder takes the last of two equal keys. Headers as our encoder writes them have none, so only others are looked at."""

    def distinct(pairs: list[tuple[Any, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise BadMessage("E_DECODE", "a key twice in one map")

    msgpack.unpackb(header, object_pairs_hook=distinct)


def printable(text: str) -> str:
    """A text from the wire as it may be shown: without control characters, at most 200 characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
