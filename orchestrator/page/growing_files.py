"""Files of a run directory that grow, read piece by piece: each call returns the complete lines that were added since the last one."""

from __future__ import annotations

import os
from pathlib import Path

_MOST = 16 * 1024 * 1024
"""bytes that one call reads; the rest comes with the next call"""


class GrowingFile:
    """The lines of one file as it grows. `restarted` is true after a call that found another or a shorter file: its lines start anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self._offset = 0
        self._inode = 0

    def read(self) -> bytes:
        """Complete lines that are new; empty where there are none, or no file."""
        self.restarted = False
        try:
            found = os.stat(self.path)  # noqa: PTH116 - called for each file several times a second
        except OSError:
            return b""
        if (self._inode and found.st_ino != self._inode) or found.st_size < self._offset:
            self._offset, self.restarted = 0, True
        self._inode = found.st_ino
        if found.st_size == self._offset:
            return b""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_MOST)
        except OSError:
            return b""
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole

    @property
    def behind(self) -> bool:
        """Whether the file has more bytes than were read: the last call was cut short."""
        try:
            return self.path.stat().st_size > self._offset + _MOST // 2
        except OSError:
            return False
