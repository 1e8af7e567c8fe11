"""Large frames between processes of one machine: through memory that the sender owns, in the place of a socket.

A frame of at least `codec.SMALL` bytes is copied into a segment (a memory file without a name, `memfd_create`), and its receiver copies it
out before anything is checked. Over the socket goes a descriptor of `DESCRIPTOR` bytes. A segment holds

    bytes 0..7      nonce, random, never changed
    bytes 8..15     generation, raised by the sender before each frame
    bytes 16..23    the newest generation that the receiver has copied out
    bytes 64..      the frame

and is used again when its frame has been copied out, or its receiver is gone. A receiver compares nonce and generation before and after it
copies: a frame that was overwritten meanwhile is refused like a damaged one. It opens a segment as `/proc/PID/fd/FD` of the sender,
which the kernel allows to processes of the same user, and accepts sealed memory files only, which can't shrink while they are read. Nothing
is left behind however a process ends: the kernel frees a segment with its last descriptor and mapping.

Where no segment is free (`BYTES` of memory are in use, or a receiver has not copied out its last `OUTSTANDING` frames) the frame travels by
the socket. Only x86-64 is sure to show the writes of one process to another in their order, so other processors have no such carrier.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import BadMessage
from protocols.wire.codec import SMALL, Buffer, MessageLimits

BYTES = 128 * 2**20
"""memory of all segments of one sender"""
OUTSTANDING = 8
"""frames of one receiver that it has not copied out yet"""
OPEN_SEGMENTS = 256
"""segments of others that a receiver keeps open"""
_HEAD = 64
_NAME = "murmuration-frames"
_MAGIC = b"\xf3\x9dmurmuration\x8e\x01\xc7"
_DESCRIPTOR = struct.Struct("<16sIIQQQ")
DESCRIPTOR = _DESCRIPTOR.size
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
_Key = tuple[int, int, int]
"""of a segment: process, descriptor, nonce"""


def is_descriptor(frame: Buffer) -> bool:
    """Whether a frame stands for one in shared memory. No frame of an array that travels alone is so short."""
    return len(frame) == DESCRIPTOR and bytes(frame[:16]) == _MAGIC


class _Segment:
    """One memory file of the sender."""

    def __init__(self, size: int) -> None:
        self.descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(self.descriptor, 0, size)  # an error here, where memory lacks, in the place of a signal at the first write
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._memory = mmap.mmap(self.descriptor, size)
        except OSError:
            os.close(self.descriptor)
            raise
        self.size = size
        self.words: Words = np.frombuffer(self._memory, np.uint64, _HEAD // 8)
        self.content: Bytes = np.frombuffer(self._memory, np.uint8, offset=_HEAD)
        self.words[0] = self.nonce = secrets.randbits(64)
        self.generation = 0
        self.receiver: Hashable = None
        """of the frame; None: none yet, or it is gone"""

    @property
    def free(self) -> bool:
        """Whether another frame may be written."""
        return self.receiver is None or int(self.words[2]) == self.generation

    def close(self) -> None:
        """Give the memory back; receivers that read it still keep it until they are done."""
        del self.words, self.content
        self._memory.close()
        os.close(self.descriptor)


class SharedFrames:
    """The segments of one sender. For one thread at a time."""

    def __init__(self, limit: int = BYTES) -> None:
        self._limit = limit
        self._used = 0
        self.segments: list[_Segment] = []
        self._pid = os.getpid()

    def put(self, receiver: Hashable, frame: Buffer) -> bytes | None:
        """The descriptor of a frame that `receiver` can now read; None when it must travel by the socket."""
        if sum(segment.receiver is receiver and not segment.free for segment in self.segments) >= OUTSTANDING:
            return None
        length = len(frame)
        fitting = (segment for segment in self.segments if length <= segment.content.size <= 2 * length and segment.free)
        segment = next(fitting, None) or self._new(length)
        if segment is None:
            return None
        segment.generation += 1
        segment.words[1] = segment.generation
        segment.receiver = receiver
        np.copyto(segment.content[:length], np.frombuffer(frame, np.uint8))
        return _DESCRIPTOR.pack(_MAGIC, self._pid, segment.descriptor, segment.nonce, segment.generation, length)

    @property
    def unread(self) -> bool:
        """Whether a receiver has not copied out a frame yet."""
        return not all(segment.free for segment in self.segments)

    def forget(self, receiver: Hashable) -> None:
        """The receiver is gone: nothing waits for it. If it still reads, it finds that the frame has changed."""
        for segment in self.segments:
            if segment.receiver is receiver:
                segment.receiver = None

    def close(self) -> None:
        """Give all memory back."""
        for segment in self.segments:
            segment.close()
        self.segments.clear()
        self._used = 0

    def _new(self, length: int) -> _Segment | None:
        size = _HEAD + -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
        while self._used + size > self._limit:
            idle = next((segment for segment in self.segments if segment.free), None)
            if idle is None:
                return None
            self.segments.remove(idle)
            self._used -= idle.size
            idle.close()
        try:
            segment = _Segment(size)
        except OSError:  # no descriptor or no memory left
            return None
        self.segments.append(segment)
        self._used += size
        return segment


class SharedFrameReader:
    """Copies frames out of the segments of others. For one thread at a time."""

    def __init__(self) -> None:
        self._open: OrderedDict[_Key, tuple[mmap.mmap, Words, Bytes, int]] = OrderedDict()

    def size(self, frames: Sequence[Buffer]) -> int:
        """Bytes of a message's frames, of those in shared memory too, as their descriptors state them."""
        return sum(_DESCRIPTOR.unpack(frame)[5] if is_descriptor(frame) else len(frame) for frame in frames)

    def resolve(self, frames: Sequence[Buffer], limits: MessageLimits) -> list[Buffer]:
        """The frames, each descriptor replaced by a copy of what it stands for. `BadMessage` for a segment that is none, that has
        another size, or whose frame has changed, and before anything is copied for a message beyond the limits."""
        if len(frames) > 1 + limits.frames:
            raise BadMessage("E_SIZE", f"{len(frames) - 1} frames, at most {limits.frames}")
        if (size := self.size(frames)) > limits.total:
            raise BadMessage("E_SIZE", f"message of {size} bytes, at most {limits.total}")
        return [self._copy(frame, limits) if is_descriptor(frame) else frame for frame in frames]

    def close(self) -> None:
        """Close all segments."""
        for key in list(self._open):
            self._close(key)

    def _copy(self, descriptor: Buffer, limits: MessageLimits) -> Buffer:
        _, pid, number, nonce, generation, length = _DESCRIPTOR.unpack(descriptor)
        if length > limits.frame:
            raise BadMessage("E_SIZE", f"frame of {length} bytes, at most {limits.frame}")
        key = pid, number, nonce
        known = self._open.get(key)
        if known is None:
            known = self._open_segment(key)
        else:
            self._open.move_to_end(key)
        _, words, content, _ = known
        if length > content.size:
            raise BadMessage("E_SHARED", f"a frame of {length} bytes in a segment of {content.size}")
        if int(words[1]) != generation:
            raise BadMessage("E_SHARED", "the frame in shared memory is no longer the one that was sent")
        copy: Bytes = np.empty(length, np.uint8)
        np.copyto(copy, content[:length])
        if int(words[1]) != generation:
            raise BadMessage("E_SHARED", "the frame in shared memory was overwritten while it was read")
        words[2] = generation
        return copy.data

    def _open_segment(self, key: _Key) -> tuple[mmap.mmap, Words, Bytes, int]:
        pid, number, nonce = key
        try:
            descriptor = _open_sealed(pid, number)
            try:
                memory, file = mmap.mmap(descriptor, 0), os.fstat(descriptor).st_ino
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise BadMessage("E_SHARED", f"the sender's shared memory can't be opened: {error}") from None
        if len(memory) < _HEAD + SMALL:
            memory.close()
            raise BadMessage("E_SHARED", f"a segment of {len(memory)} bytes")
        words: Words = np.frombuffer(memory, np.uint64, _HEAD // 8)
        if int(words[0]) != nonce:
            del words
            memory.close()
            raise BadMessage("E_SHARED", "the segment is not the one that the sender described")
        self._close_abandoned()
        while len(self._open) >= OPEN_SEGMENTS:
            self._close(next(iter(self._open)))
        known = self._open[key] = memory, words, np.frombuffer(memory, np.uint8, offset=_HEAD), file
        return known

    def _close_abandoned(self) -> None:
        """Close segments that their senders have closed, or whose senders are gone: else their memory would stay in use."""
        for key in [key for key, known in self._open.items() if not _is_open(key, known[3])]:
            self._close(key)

    def _close(self, key: _Key) -> None:
        memory, words, content, _ = self._open.pop(key)
        del words, content
        memory.close()


def _is_open(key: _Key, file: int) -> bool:
    """Whether the sender still has that memory file (its inode) under that descriptor."""
    try:
        return _path(*key[:2]).stat().st_ino == file
    except OSError:
        return False


def _path(pid: int, number: int) -> Path:
    return Path(f"/proc/{pid}/fd/{number}")


def _open_sealed(pid: int, number: int) -> int:
    """A descriptor of a sender's memory file, which can't shrink. `BadMessage` for another kind of file, `OSError` where it can't be
    opened."""
    path = _path(pid, number)
    if not str(path.readlink()).startswith(f"/memfd:{_NAME}"):
        raise BadMessage("E_SHARED", "the descriptor names no segment of frames")
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        sealed = 0
    if not sealed & fcntl.F_SEAL_SHRINK:
        os.close(descriptor)
        raise BadMessage("E_SHARED", "the segment is not sealed")
    return descriptor
