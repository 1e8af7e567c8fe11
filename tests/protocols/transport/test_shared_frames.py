"""Large frames through shared memory: what is copied out, what is refused, and what travels by the socket instead."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.averaging.averaging_messages import Average
from protocols.runtime.errors import BadMessage
from protocols.runtime.node_start import shared_memory_works
from protocols.transport import Transport
from protocols.transport.shared_frames import DESCRIPTOR, OUTSTANDING, SharedFrameReader, SharedFrames, is_descriptor
from protocols.wire.codec import SMALL, MessageLimits
from tests.protocols.transport.driving import collect, until

pytestmark = pytest.mark.skipif(not shared_memory_works(), reason="no sealed memory files that processes share")
LIMITS = MessageLimits()
LAYOUT = struct.Struct("<16sIIQQQ")


@pytest.fixture
def frames() -> Iterator[SharedFrames]:
    frames = SharedFrames()
    yield frames
    frames.close()


@pytest.fixture
def reader() -> Iterator[SharedFrameReader]:
    reader = SharedFrameReader()
    yield reader
    reader.close()


def content(number: int, size: int = SMALL) -> bytes:
    return np.random.default_rng(number).bytes(size)


def put(frames: SharedFrames, receiver: str, frame: bytes) -> bytes:
    descriptor = frames.put(receiver, frame)
    assert descriptor is not None and is_descriptor(descriptor)
    return descriptor


def copied(reader: SharedFrameReader, descriptor: bytes) -> bytes:
    return bytes(reader.resolve([descriptor], LIMITS)[0])


def test_frames_are_copied_out_and_their_memory_is_used_again(frames: SharedFrames, reader: SharedFrameReader) -> None:
    for i in range(20):
        descriptor = put(frames, "a", content(i, SMALL + i))
        assert reader.size([descriptor, b"abc"]) == SMALL + i + 3
        assert frames.unread and copied(reader, descriptor) == content(i, SMALL + i) and not frames.unread
    assert len(frames.segments) <= 2
    assert reader.resolve([b"abc", content(0)], LIMITS) == [b"abc", content(0)]


def test_a_receiver_that_reads_nothing_gets_its_frames_by_the_socket(frames: SharedFrames, reader: SharedFrameReader) -> None:
    descriptors = [put(frames, "a", content(i)) for i in range(OUTSTANDING)]
    assert frames.put("a", content(9)) is None
    other = put(frames, "b", content(10))
    assert copied(reader, descriptors[3]) == content(3)
    put(frames, "a", content(11))
    frames.forget("a")
    assert copied(reader, other) == content(10) and not frames.unread


def test_memory_is_bounded(reader: SharedFrameReader) -> None:
    frames = SharedFrames(limit=4 * SMALL)
    try:
        first = put(frames, "a", content(1, 2 * SMALL))
        assert frames.put("b", content(2, 3 * SMALL)) is None
        copied(reader, first)
        assert copied(reader, put(frames, "b", content(2, 3 * SMALL))) == content(2, 3 * SMALL)
        assert frames.put("b", content(3, 5 * SMALL)) is None
    finally:
        frames.close()


def test_a_frame_that_was_overwritten_is_refused(frames: SharedFrames, reader: SharedFrameReader) -> None:
    old = put(frames, "a", content(1))
    frames.forget("a")
    new = put(frames, "b", content(2))
    with pytest.raises(BadMessage, match="E_SHARED"):
        copied(reader, old)
    assert frames.unread and copied(reader, new) == content(2)


def test_false_descriptors_are_refused(frames: SharedFrames, reader: SharedFrameReader, tmp_path: Path) -> None:
    good = list(LAYOUT.unpack(put(frames, "a", content(1))))
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    unsealed = os.memfd_create("murmuration-frames")
    os.ftruncate(unsealed, 4 * SMALL)
    os.ftruncate(file, 4 * SMALL)
    try:
        for place, value in [(1, 2**31), (2, 9999), (2, file), (2, unsealed), (2, 0), (3, 1), (4, 7), (5, 2**40), (5, SMALL + 2**20)]:
            bad = [*good]
            bad[place] = value
            with pytest.raises(BadMessage, match=r"E_SHARED|E_SIZE"):
                copied(reader, LAYOUT.pack(*bad))
    finally:
        os.close(file)
        os.close(unsealed)
    assert LAYOUT.size == DESCRIPTOR and copied(reader, LAYOUT.pack(*good)) == content(1)


def test_a_message_beyond_the_limits_is_refused_before_it_is_copied(
    frames: SharedFrames, reader: SharedFrameReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors are short: many of one frame would have many times its memory allocated."""
    descriptor = put(frames, "a", content(1))
    monkeypatch.setattr(reader, "_copy", lambda *_: pytest.fail("copied"))
    for count, limits in [(66, LIMITS), (3, MessageLimits(total=2 * SMALL))]:
        with pytest.raises(BadMessage, match="E_SIZE"):
            reader.resolve([descriptor] * count, limits)


def test_a_reader_gives_back_the_segments_of_senders_that_are_gone(reader: SharedFrameReader) -> None:
    """Descriptors and memory of the reader do not grow with the number of restarts of its neighbours."""
    open_files = []
    for _ in range(4):
        sender = SharedFrames()
        for size in (SMALL, 3 * SMALL):
            copied(reader, put(sender, "a", content(1, size)))
        sender.close()
        open_files.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(open_files) == open_files[0]


def test_a_sender_that_was_killed_leaves_nothing_behind(reader: SharedFrameReader) -> None:
    program = (
        "import sys\nfrom protocols.transport.shared_frames import SharedFrames\nframes = SharedFrames()\n"
        "for i in (1, 2):\n    sys.stdout.write(frames.put('a', bytes([i]) * 70000).hex() + '\\n')\nsys.stdout.flush()\nsys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        first, second = (bytes.fromhex(sender.stdout.readline()) for _ in range(2))
        assert copied(reader, first) == b"\1" * 70000
        sender.kill()
        sender.wait(60)
        with pytest.raises(BadMessage, match="E_SHARED"):
            copied(reader, second)
    assert copied(reader, first) == b"\1" * 70000  # it has the segment open


def vectors(transport: Transport, receiver: str, size: int, count: int) -> None:
    for i in range(count):
        transport.send("peer", receiver, Average(round=i, layout="l"), {"vector": np.full(size, i, np.float32)})


@pytest.mark.parametrize("size", [SMALL // 4, 300_000])
def test_transports_of_one_machine(make: Callable[..., Transport], size: int) -> None:
    """Both directions, by a socket of its own and by a route; counted as what they are; more than memory for a slow receiver."""
    server, client = make("server", shared_memory=True), make("client", shared_memory=True)
    client.connect("peer", "server", server.bind("peer", carrier="shared"))
    vectors(client, "server", size, 2 * OUTSTANDING)
    for i, item in enumerate(collect(server, 2 * OUTSTANDING)):
        np.testing.assert_array_equal(item.arrays["vector"], np.full(size, i, np.float32))
        assert not item.arrays["vector"].flags.writeable
    assert client.shared_frames.segments
    link = server.link_counters["peer", "client"]
    assert link.received_bytes == client.link_counters["peer", "server"].sent_bytes > 2 * OUTSTANDING * 4 * size
    vectors(server, "client", size, 3)
    assert len(collect(client, 3)) == 3 and server.shared_frames.segments
    until(lambda: not client.shared_frames.unread, server)


def test_tcp_carries_all_bytes_itself(make: Callable[..., Transport]) -> None:
    server, client = make("server", shared_memory=True), make("client", shared_memory=True)
    client.connect("peer", "server", server.bind("peer"))
    vectors(client, "server", SMALL, 2)
    assert len(collect(server, 2)) == 2 and not client.shared_frames.segments


def test_a_transport_that_closes_waits_for_its_readers(make: Callable[..., Transport]) -> None:
    server, client = make("server", shared_memory=True), make("client", shared_memory=True)
    client.connect("peer", "server", server.bind("peer", carrier="shared"))
    vectors(client, "server", SMALL, 3)
    client.close(5.0)  # the server's communication thread reads
    assert len(collect(server, 3)) == 3


def test_a_forged_descriptor_is_counted_and_ends_nothing(make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = make("server", shared_memory=True), make("client", shared_memory=True)
    client.connect("peer", "server", server.bind("peer", carrier="shared"))
    vectors(client, "server", 1, 1)
    collect(server, 1)
    forged: list[Any] = [b"\xf3\x9dmurmuration\x8e\x01\xc7" + struct.pack("<IIQQQ", os.getpid(), 1, 2, 3, SMALL)]
    monkeypatch.setattr(client.shared_frames, "put", lambda receiver, frame: forged[0])
    vectors(client, "server", SMALL, 1)
    until(lambda: server.counters, server)
    monkeypatch.undo()
    vectors(client, "server", SMALL, 1)
    assert len(collect(server, 1)) == 1
    assert sum(count for name, count in server.counters.items() if "E_SHARED" in name) == 1
