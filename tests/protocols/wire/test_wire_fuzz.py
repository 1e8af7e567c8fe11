"""Mutated messages by the thousand: the decoder accepts, or raises `BadMessage`; it never takes long, nor much memory.

20,000 inputs in the quick suite; a million with

    python -m pytest -m slow tests/protocols/wire/test_wire_fuzz.py

(a few minutes). Another sequence of inputs: set FUZZ_SEED to any number.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import struct
import time
import tracemalloc
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from protocols.runtime.errors import CODES, BadMessage
from protocols.wire.codec import SMALL, decode, encode
from tests.protocols.wire.bodies import TYPES, messages, plainest

LONGEST = 0.050
"""seconds of processor time that one input may take"""
TIMES_ITS_SIZE = 10
LEAST = 64 * 1024
"""bytes that any input may take: an error with its text, or a list of short names, is large beside a header of a hundred bytes"""
SAMPLE = 40
"""every so many inputs memory is measured, which makes decoding several times slower; the slowest and largest ones are measured too"""

WEIRD: list[Any] = [
    0, -1, 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, float("nan"), float("inf"), -float("inf"), 1e300, True, None,
    "", "x", "x" * 70, "x" * 2000, "\0", "é\u202e", b"", b"\xff" * 40, [], {}, [[[[]]]], {"t": "join"}, [0] * 300, ["a"] * 1100,
    msgspec.msgpack.Ext(1, b"code"), msgspec.msgpack.Ext(-1, b"\0" * 12), {"n": "x", "d": "f4", "s": [2**40, 2**40]},
    [{"n": "x", "d": "f4", "s": [0, 2**40]}], [{"n": str(i), "d": "u1", "s": [1]} for i in range(64)],
]  # fmt: skip
BYTES = [
    b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01",
    b"\x91" * 64, b"\x81\xa1t" * 32, b"\xc1", b"\xc0", b"\x80", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xff\xfe", b"\xd6\xff\0\0\0\0",
]  # fmt: skip


def corpus() -> list[list[bytes]]:
    """Plain and full messages of every type, with and without arrays."""
    frames = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, bool), "c": np.arange(4, dtype=np.int64)}
    large = {"x": np.zeros(SMALL // 4, np.float32), "y": np.array(1.5), "z": np.zeros((0, 3), np.uint8), "w": np.ones(SMALL, np.uint8)}
    found: list[list[bytes]] = []
    for cls in TYPES:
        for arrays in ({}, frames, large):
            found.append([bytes(part) for part in encode(plainest(cls), arrays)])

        @settings(max_examples=8, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(message=messages(cls))
        def full(message: Any) -> None:
            found.append([bytes(part) for part in encode(message, frames)])

        full()
    return found


class Mutations:
    """Endless inputs, drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus()

    def draw(self) -> list[bytes]:
        parts = list(self._random.choice(self._corpus))
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            way = self._random.random()
            if way < 0.40:
                parts[0] = self._bytes(parts[0])
            elif way < 0.70:
                parts[0] = self._field(parts[0])
            elif way < 0.85 and len(parts) > 1:
                i = self._random.randrange(1, len(parts))
                parts[i] = self._bytes(parts[i])
            else:
                self._frames(parts)
        return parts

    def _bytes(self, part: bytes) -> bytes:
        r, changed = self._random, bytearray(part)
        place = r.randrange(len(part) + 1)
        match r.randrange(6):
            case 0 if place < len(part):
                changed[place] ^= 1 << r.randrange(8)
            case 1:
                changed[place:place] = r.randbytes(r.randrange(1, 9))
            case 2:
                del changed[place : place + r.randrange(1, 9)]
            case 3:
                del changed[place:]
            case 4:
                changed[place:place] = r.choice(BYTES)
            case _:
                changed[place : place + 8] = struct.pack("<d", r.choice((float("nan"), float("inf"), -1.0, 1e308)))
        return bytes(changed)

    def _field(self, header: bytes) -> bytes:
        """One value somewhere in the header is another, or there is one more."""
        try:
            tree = msgspec.msgpack.decode(header)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return header
        r, place = self._random, tree
        while isinstance(place, dict | list) and place:
            key = r.choice(list(place)) if isinstance(place, dict) else r.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key] or r.random() < 0.3:
                if isinstance(place, dict) and r.random() < 0.2:
                    place[r.choice(("t", "v", "frames", "shell", "seq", ""))] = r.choice(WEIRD)
                else:
                    place[key] = r.choice(WEIRD)
                break
            place = place[key]
        try:
            return msgspec.msgpack.encode(tree)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return header

    def _frames(self, parts: list[bytes]) -> None:
        r = self._random
        match r.randrange(6):
            case 0:
                del parts[r.randrange(len(parts))]
            case 1:
                parts.insert(r.randrange(len(parts) + 1), r.randbytes(r.choice((0, 1, 8, 300))))
            case 2:
                r.shuffle(parts)
            case 3:
                parts.extend([b""] * r.choice((1, 64, 65, 80)))
            case 4:
                parts.append(r.choice(parts) if parts else b"")
            case _:
                parts[:] = [r.choice(self._corpus)[0], *parts[1:]]
        if not parts:
            parts.append(b"")


def judge(parts: list[bytes]) -> str:
    """The code, or `read`; whatever else is raised leaves."""
    try:
        message, arrays = decode(parts)
    except BadMessage as error:
        assert len(error.detail) <= 300 and error.detail.isprintable()
        return error.code
    again, same = decode([bytes(part) for part in encode(message, arrays)])
    assert again == message and list(same) == list(arrays), "what is accepted is a message like any other"
    return "read"


def memory(parts: list[bytes]) -> int:
    """Most bytes that decoding held at once."""
    tracemalloc.start()
    try:
        judge_only = tracemalloc.get_traced_memory()[0]
        try:
            kept = decode(parts)
        except BadMessage as error:
            kept = error  # type: ignore[assignment]
        peak = tracemalloc.get_traced_memory()[1] - judge_only
        del kept
        return peak
    finally:
        tracemalloc.stop()


def fuzz(count: int, seed: int) -> tuple[Counter[str], float, float]:
    """Codes, the longest time, and the largest share of the memory that is allowed."""
    mutations, codes = Mutations(seed), Counter[str]()
    slowest: list[tuple[float, int, list[bytes]]] = []
    largest: list[tuple[int, int, list[bytes]]] = []
    most = 0.0

    def allowed(parts: list[bytes]) -> int:
        return max(LEAST, TIMES_ITS_SIZE * sum(map(len, parts)))

    for number in range(count):
        parts = mutations.draw()
        begun = time.thread_time()
        with contextlib.suppress(BadMessage):
            decode(parts)
        taken = time.thread_time() - begun
        codes[judge(parts)] += 1
        for heap, key in ((slowest, taken), (largest, sum(map(len, parts)))):
            heapq.heappush(heap, (key, number, parts))  # type: ignore[misc]
            if len(heap) > 50:
                heapq.heappop(heap)
        if number % SAMPLE == 0:
            used = memory(parts)
            assert used <= allowed(parts), (used, sum(map(len, parts)), parts[0][:200])
            most = max(most, used / allowed(parts))
    longest = 0.0
    for _, _, parts in [*slowest, *largest]:
        used = memory(parts)
        assert used <= allowed(parts), (used, sum(map(len, parts)), parts[0][:200])
        most = max(most, used / allowed(parts))
        times = []
        for _ in range(3):  # a machine that is busy with something else is not the input's fault
            begun = time.thread_time()
            judge(parts)
            times.append(time.thread_time() - begun)
        assert min(times) <= LONGEST, parts[0][:200]
        longest = max(longest, min(times))
    return codes, longest, most


def _check(count: int) -> None:
    codes, longest, most = fuzz(count, int(os.environ.get("FUZZ_SEED", "1")))
    print(f"\n{count} inputs: {dict(codes)}; slowest {1000 * longest:.2f} ms; memory at most {100 * most:.0f} % of what is allowed")
    assert codes.total() == count and codes.keys() <= CODES.keys() | {"read"}
    for code in ("E_DECODE", "E_FRAME", "E_SIZE", "E_NONFINITE", "read"):
        assert codes[code] >= count / 5000, f"the mutations hardly reach {code}: {codes}"


@pytest.mark.timeout(120)
def test_twenty_thousand_mutations() -> None:
    _check(20_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_mutations() -> None:
    _check(1_000_000)


def test_the_memory_measured_is_that_of_the_decoder() -> None:
    """The measure can fail: a list of short names takes more than ten times its bytes, which only the least allowance covers."""
    names = encode(
        msgspec.convert(
            {"t": "metrics", "step": 0, "episode": 0, "names": ["ab"] * 512, "stamp": 0.0},
            type=TYPES[[c.__name__ for c in TYPES].index("Metrics")],
        )
    )
    used = memory([bytes(part) for part in names])
    assert TIMES_ITS_SIZE * len(names[0]) < used < LEAST
