"""The decoder against hostile bytes: only `BadMessage` leaves it, with its code, soon, and without much memory."""

from __future__ import annotations

import pickle
import struct
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.averaging.averaging_messages import Average
from protocols.conversations.control.control_messages import Event, Heartbeat
from protocols.conversations.stepping.stepping_messages import Act, Join
from protocols.runtime.errors import BadMessage
from protocols.wire.codec import MessageLimits, decode, encode
from tests.protocols.wire.bodies import TYPES, Pairs, messages, raw


def header(frames: Sequence[dict[str, Any]] = (), **fields: Any) -> bytes:
    return msgspec.msgpack.encode({"t": "join", **fields, **({"frames": list(frames)} if frames else {})})


def info(shape: list[int], dtype: str = "f4", name: str = "x") -> dict[str, Any]:
    return {"n": name, "d": dtype, "s": shape}


def map32(count: int) -> bytes:
    return b"\xdf" + struct.pack(">I", count)


def array32(count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count)


JOIN = b"\xa1t\xa4join"
FLOATS = b"\0" * 16

HOSTILE: dict[str, tuple[str, list[bytes]]] = {
    "nothing": ("E_FRAME", []),
    "empty header": ("E_DECODE", [b""]),
    "no map": ("E_DECODE", [b"\x01"]),
    "truncated": ("E_DECODE", [header()[:-1]]),
    "trailing bytes": ("E_DECODE", [header() + b"\0"]),
    "second message behind": ("E_DECODE", [header() + header()]),
    "unknown type": ("E_DECODE", [msgspec.msgpack.encode({"t": "exec"})]),
    "no type": ("E_DECODE", [msgspec.msgpack.encode({"v": 1})]),
    "unknown field": ("E_DECODE", [header(shell="rm")]),
    "other version": ("E_DECODE", [header(v=2)]),
    "map of four billion": ("E_DECODE", [map32(2**32 - 1) + JOIN]),
    "text of four billion": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xdb" + struct.pack(">I", 2**32 - 1)]),
    "bytes of four billion": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xc6" + struct.pack(">I", 2**32 - 1)]),
    "list of four billion": ("E_DECODE", [map32(2) + JOIN + b"\xa6frames" + array32(2**32 - 1)]),
    "list of nothing, four billion announced, inside": ("E_DECODE", [map32(2) + JOIN + b"\xa6frames\x91" + array32(2**32 - 1)]),
    "extension of four billion": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xc9" + struct.pack(">I", 2**32 - 1) + b"\x01"]),
    "deep lists": ("E_DECODE", [map32(2) + JOIN + b"\xa6frames" + b"\x91" * 16_000]),
    "deep lists under an unknown key": ("E_DECODE", [map32(2) + JOIN + b"\xa1x" + b"\x91" * 16_000]),
    "deep maps": ("E_DECODE", [map32(2) + JOIN + b"\xa1x" + b"\x81\xa1a" * 5_000]),
    "too deep for any header": ("E_SIZE", [b"\x91" * 100_000]),
    "a million empty containers": ("E_SIZE", [map32(2) + JOIN + b"\xa6frames" + array32(1_000_000) + b"\x80" * 1_000_000]),
    "many empty containers": ("E_DECODE", [map32(2) + JOIN + b"\xa6frames" + array32(16_000) + b"\x80" * 16_000]),
    "key twice": ("E_DECODE", [raw(Pairs(("t", "join"), ("src", "a"), ("src", "b")))]),
    "type twice": ("E_DECODE", [raw(Pairs(("t", "join"), ("t", "join")))]),
    "key twice, inside": (
        "E_DECODE",
        [
            raw(Pairs(("t", "join"), ("frames", []))).replace(
                b"\x90", b"\x91" + raw(Pairs(("n", "x"), ("n", "y"), ("d", "u1"), ("s", [0])))
            ),
            b"",
        ],
    ),
    "key that is no text": ("E_DECODE", [raw(Pairs(("t", "join"), (7, 1)))]),
    "NaN in the header": ("E_DECODE", [header(ts=float("nan"))]),
    "infinity in the header": ("E_DECODE", [header(ts=float("inf"))]),
    "integer beyond 64 bits": ("E_DECODE", [header(seq=2**64 - 1)]),
    "negative counter": ("E_DECODE", [header(seq=-1)]),
    "no UTF-8": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xa2\xff\xfe"]),
    "surrogate": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xa3\xed\xa0\x80"]),
    "timestamp": ("E_DECODE", [map32(2) + JOIN + b"\xa2ts\xd6\xff\0\0\0\0"]),
    "extension": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xd4\x05x"]),
    "extension instead of the header": ("E_DECODE", [b"\xc7\x04\x01code"]),
    "timestamp of 12 bytes": ("E_DECODE", [map32(2) + JOIN + b"\xa2ts\xc7\x0c\xff" + b"\0" * 12]),
    "bytes instead of text": ("E_DECODE", [map32(2) + JOIN + b"\xa3src\xc4\x01a"]),
    "NaN inside": ("E_DECODE", [header(t="joined", copies=1, layout={"shape": [], "low": [float("nan")]}, members=[], tick=0)]),
    "65 arrays described": ("E_DECODE", [header([info([0], "u1", str(i)) for i in range(65)]), b""]),
    "empty frame": ("E_FRAME", [header([info([4])]), b""]),
    "empty frame too many": ("E_FRAME", [header([info([4])]), FLOATS, b""]),
    "bytes behind the arrays": ("E_FRAME", [header([info([4])]), FLOATS + b"\0"]),
    "arrays that overlap nothing but need padding": ("E_FRAME", [header([info([3], "u1"), info([4], "f4", "y")]), b"\0" * 3 + FLOATS]),
    "pickle": ("E_DECODE", [pickle.dumps({"t": "join"})]),
    "pickle in a frame": ("E_FRAME", [header([info([1])]), pickle.dumps([1.0])]),
    "frame not described": ("E_FRAME", [header(), FLOATS]),
    "frame missing": ("E_FRAME", [header([info([4])])]),
    "dtype of objects": ("E_DECODE", [header([info([2], "O")]), FLOATS]),
    "complex dtype": ("E_DECODE", [header([info([2], "c8")]), FLOATS]),
    "big-endian dtype": ("E_DECODE", [header([info([4], ">f4")]), FLOATS]),
    "shape too small": ("E_FRAME", [header([info([2])]), FLOATS]),
    "shape too large": ("E_FRAME", [header([info([6])]), FLOATS]),
    "no dimension": ("E_FRAME", [header([info([])]), FLOATS]),
    "rank 9": ("E_DECODE", [header([info([1] * 8 + [4])]), FLOATS]),
    "negative dimension": ("E_DECODE", [header([info([-4])]), FLOATS]),
    "two negative dimensions": ("E_DECODE", [header([info([-2, -2])]), FLOATS]),
    "fractional dimension": ("E_DECODE", [header([info([4.5])]), FLOATS]),  # type: ignore[list-item]
    "product that wraps to the size": ("E_FRAME", [header([info([2**32, 2**32, 2**2, 2**32])]), FLOATS]),
    "empty with overflowing rest": ("E_FRAME", [header([info([0, 2**40, 2**40, 2**40])]), b""]),
    "name twice": ("E_FRAME", [header([info([4]), info([4])]), FLOATS + FLOATS]),
    "NaN": ("E_NONFINITE", [header([info([2])]), struct.pack("<2f", 1.0, float("nan"))]),
    "infinity in f2": ("E_NONFINITE", [header([info([4], "f2")]), np.array([0, 0, np.inf, 0], "<f2").tobytes()]),
    "minus infinity in f8": ("E_NONFINITE", [header([info([1], "f8")]), struct.pack("<d", -float("inf"))]),
    "byte that is no truth value": ("E_FRAME", [header([info([8], "b1")]), b"\0\1\2\1\0\0\0\0"]),
    "too many frames": ("E_SIZE", [header(), *[b""] * 65]),
    "header beyond the limit": ("E_SIZE", [header(rid="x" * 17_000)]),
    "frame beyond the limit": ("E_SIZE", [header(), b"\0" * (64 * 2**20 + 1)]),
    "message beyond the limit": ("E_SIZE", [header(), *[bytes(64 * 2**20)] * 5]),
}


def test_what_the_hostile_bytes_are_made_of_is_good_by_itself() -> None:
    for parts in ([header()], [b"\x81" + JOIN], [raw(Pairs(("t", "join"), ("src", "a")))], [header([info([4])]), FLOATS]):
        assert type(decode(parts)[0]) is Join


@pytest.mark.parametrize(("code", "parts"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_refused_with_their_code(code: str, parts: list[bytes]) -> None:
    size = sum(map(len, parts))
    tracemalloc.start()
    begun = time.perf_counter()
    try:
        with pytest.raises(BadMessage) as refused:
            decode(parts)
        taken = time.perf_counter() - begun
        allocated = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.code == code
    assert refused.value.detail.isprintable() and len(refused.value.detail) <= 200
    assert allocated < 10 * size + 256 * 1024 and taken < 1.0


@pytest.mark.parametrize("size", [8, 5000])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_numbers_of_agents_are_finite_and_bounded(kind: str, size: int) -> None:
    """Whether numbers are looked at one by one or by the largest and the smallest of them."""
    good = np.linspace(-3.0, 5.0, size).astype(kind)
    parts = [header([info([size], kind)])]
    np.testing.assert_array_equal(decode([*parts, good.tobytes()], bounded=True)[1]["x"], good)
    codes = {np.nan: "E_NONFINITE", np.inf: "E_NONFINITE", -np.inf: "E_NONFINITE"}
    if kind != "f2":
        codes |= {2e15: "E_RANGE", -2e15: "E_RANGE"}
    for value, code in codes.items():
        bad = good.copy()
        bad[size // 2] = value
        with pytest.raises(BadMessage) as refused:
            decode([*parts, bad.tobytes()], bounded=True)
        assert refused.value.code == code


def test_pickle_does_not_run() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("code from the wire was executed",))

    for parts in ([pickle.dumps(Bomb())], [header([info([1], "u1")]), pickle.dumps(Bomb())]):
        with pytest.raises(BadMessage):
            decode(parts)


@given(st.lists(st.binary(max_size=200), max_size=4))
@example([b"\xc1"])
def test_random_bytes_are_refused_and_nothing_else_happens(parts: list[bytes]) -> None:
    with pytest.raises(BadMessage):
        decode(parts)


def mutate(parts: list[bytes], data: st.DataObject) -> list[bytes]:
    which = data.draw(st.integers(0, len(parts) - 1))
    part = bytearray(parts[which])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(part)))
        match data.draw(st.sampled_from(["flip", "insert", "delete", "truncate"])):
            case "flip" if place < len(part):
                part[place] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                part[place:place] = data.draw(st.binary(min_size=1, max_size=5))
            case "delete":
                del part[place : place + data.draw(st.integers(1, 5))]
            case "truncate":
                del part[place:]
    return [bytes(part) if i == which else other for i, other in enumerate(parts)]


@given(data=st.data())
@settings(max_examples=200)
def test_mutated_messages_are_read_or_refused(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from(TYPES))
    frames = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, bool), "c": np.arange(4, dtype=np.int64)}
    parts = [bytes(part) for part in encode(data.draw(messages(cls)), frames)]
    try:
        message, arrays = decode(mutate(parts, data))
    except BadMessage:
        return
    again, same = decode([bytes(part) for part in encode(message, arrays)])
    assert again == message and list(same) == list(arrays), "what is accepted is a message like any other"


def test_limits_are_checked_before_anything_is_decoded() -> None:
    tight = MessageLimits(frames=1, header=64, frame=100, total=120)
    ok = encode(Join(), {"x": np.zeros(20, np.float32)})
    decode(ok, MessageLimits(frames=1, header=64, frame=80, total=80 + len(ok[0])))
    for parts in ([b"\xff" * 65], [b"\xff", b"", b""], [b"\xff", b"\0" * 101], [b"\xff" * 30, b"\0" * 95]):
        with pytest.raises(BadMessage, match="E_SIZE"):
            decode(parts, tight)


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 1_000_000])
def test_arrays_of_all_sizes_travel_side_by_side(size: int) -> None:
    frames = {
        "a": np.arange(3, dtype=np.uint8),
        "x": np.arange(size, dtype=np.float32),
        "b": np.array(2.5),
        "y": np.zeros((size, 2), np.uint8),
    }
    _, arrays = decode([bytes(part) for part in encode(Act(tick=3), frames)])
    assert list(arrays) == list(frames)
    assert all(np.array_equal(arrays[name], frame) and arrays[name].shape == frame.shape for name, frame in frames.items())


def test_what_lies_otherwise_in_memory_arrives_the_same() -> None:
    base = np.arange(24, dtype=np.float64).reshape(4, 6)
    frames = {"big": base.astype(">f8"), "columns": base.T, "every second": base[::2, ::3], "fortran": np.asfortranarray(base)}
    _, arrays = decode(encode(Join(), frames))
    assert all(np.array_equal(arrays[name], frame) for name, frame in frames.items())
    assert all(array.dtype == np.dtype("<f8") and array.flags.c_contiguous for array in arrays.values())


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.zeros(2, complex), np.array(["a"]), np.zeros(1, "M8[s]")], ids=lambda a: str(a.dtype)
)
def test_other_dtypes_do_not_travel(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="does not travel"):
        encode(Join(), {"x": array})


def test_a_message_that_is_sent_again_describes_its_own_arrays() -> None:
    message = Average(round=1, layout="d")
    encode(message, {"vector": np.zeros(3, np.float32)})
    decoded, arrays = decode(encode(message))
    assert arrays == {} and decoded.frames == []


def test_large_arrays_are_not_copied() -> None:
    vector = np.zeros(100_000, np.float32)
    parts = encode(Average(round=1, layout="d"), {"vector": vector})
    assert np.shares_memory(np.frombuffer(parts[-1], np.float32), vector)
    _, arrays = decode(parts)
    assert np.shares_memory(arrays["vector"], vector)


def test_a_header_in_another_but_valid_form_is_read() -> None:
    wide = raw(Pairs(("seq", 5), ("t", "join"), ("v", 1), ("src", "a")))
    message, _ = decode([wide])
    assert message == Join(seq=5, src="a")
    assert decode([msgspec.msgpack.encode({"t": "heartbeat", "idle": 3})])[0] == Heartbeat(idle=3.0)


def test_text_for_people_keeps_its_characters_on_the_wire() -> None:
    event = Event(severity="info", code="x", text="näh\x1b[31m")
    assert decode(encode(event))[0] == event
