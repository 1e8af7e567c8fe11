"""Files of a run directory that grow, read piece by piece: each call returns the complete lines that were added since the last one."""

from __future__ import annotations

import os
from pathlib import Path

_MOST = 16 * 1024 * 1024
"""bytes that one call reads; the rest comes with the next call"""


_TAIL = 64


class GrowingFile:
    """The lines of one file as it grows. `restarted` is true after a call that found another file, a shorter one, or one with other bytes
    before those that are new: its lines start anew."""

    def __init__(self, path: Path) -> None:
        self.restarted = False
        self.behind = False
        """whether the file has more than the last call read: it was cut short"""
        self._path = str(path)
        self._offset = 0
        self._inode = 0
        self._tail = b""
        """the last bytes that were read: a file that was cut and has grown since has others there"""

    def rewind(self) -> None:
        """The next call reads from the beginning."""
        self._offset, self._tail = 0, b""

    def read(self) -> bytes:
        """Complete lines that are new; empty without any, or without the file."""
        self.restarted = self.behind = False
        try:
            found = os.stat(self._path)  # noqa: PTH116 - called for each file several times a second
        except OSError:
            return b""
        if (self._inode and found.st_ino != self._inode) or found.st_size < self._offset:
            self.rewind()
            self.restarted = True
        self._inode = found.st_ino
        if found.st_size == self._offset:
            return b""
        try:
            with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123
                file.seek(self._offset - len(self._tail))
                if file.read(len(self._tail)) != self._tail:
                    self.rewind()
                    self.restarted = True
                    file.seek(0)
                data = file.read(_MOST)
        except OSError:
            return b""
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._tail = (self._tail + whole[-_TAIL:])[-_TAIL:]
        self.behind = len(data) == _MOST
        return whole
