"""The disk of this process for its writers, so that it can be full or slow; and damage to files on it.

Everything that a node keeps for its next incarnation is written through `disk`. A full disk writes half of the data and then
raises `OSError`, as a real one does: writers must keep the old file complete.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import IO


class Disk:
    """Writes for one process."""

    def __init__(self, wait: Callable[[float], None] = time.sleep) -> None:
        self.full = False
        """writes fail with ENOSPC"""
        self.slowness = 1.0
        """writes take this many times as long"""
        self._wait = wait

    def write(self, file: IO[bytes], content: bytes, durable: bool = False) -> None:
        """Write `content`; `durable` waits until the disk has it. `OSError` (ENOSPC) where the disk is full."""
        if self.full:
            file.write(content[: len(content) // 2])
            file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        began = time.perf_counter()
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
        if self.slowness > 1:
            self._wait((self.slowness - 1) * (time.perf_counter() - began))

    def append(self, descriptor: int, content: bytes) -> None:
        """One `write` to an open file. `OSError` (ENOSPC) where the disk is full."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(descriptor, content)


disk = Disk()
"""that of this process"""


def newest(directory: Path, pattern: str = "*.safetensors") -> Path | None:
    """The newest checkpoint's arrays, by name; None without checkpoints."""
    return max(directory.glob(pattern), default=None)


def damage(path: Path, action: str, key: str) -> None:
    """Damage a file: truncate cuts it to half of its length, flip changes one bit, corrupt_checkpoint 64 bytes in its middle; `key` decides
    which bit, or how the bytes change."""
    size = path.stat().st_size
    if action == "truncate":
        os.truncate(path, size // 2)
        return
    if action == "flip":
        number = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % (8 * max(1, size))
        first, mask = number // 8, bytes([1 << (number % 8)])
    else:
        first, mask = max(0, size // 2 - 32), bytes(byte | 1 for byte in blake2b(key.encode()).digest())
    with path.open("r+b") as file:
        file.seek(first)
        old = file.read(len(mask))
        file.seek(first)
        file.write(bytes(a ^ b for a, b in zip(old, mask, strict=False)))
