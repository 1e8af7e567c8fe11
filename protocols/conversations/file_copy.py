"""The side that has the copy: stores the pieces of files, and answers what it has (see
`protocols.conversations.file_mirror`).

A file that takes another's place is collected beside it and put in place when it is whole; a file that grows is written where it is. What
was being written when the process ended is begun anew by the other side, which asks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from protocols.conversations.conversation import Array, Conversation, Send, column
from protocols.conversations.file_mirror import GROWING, PIECE, FileAsk, FileGone, FileHave, FilePiece, digest
from protocols.faults.node_faults.disk import disk
from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message


@dataclass
class _Incoming:
    """A file that comes. `next`: bytes of it that are there; `file` is open until it is whole."""

    transfer: int
    next: int
    file: BinaryIO | None
    whole: bool = False


class FileCopy(Conversation[str]):
    """The copy below `root`; the other side repeats what is not answered. `allowed(src, path)`: whether a sender may write a file.

    Events: each path when it is complete. An `OSError` of a full disk is only counted: the other side repeats.
    """

    def __init__(self, root: Path, allowed: Callable[[str, str], bool]) -> None:
        super().__init__()
        self._root, self._allowed = root, allowed
        self._incoming: dict[tuple[str, str], _Incoming] = {}

    def peer_dead(self, peer: str, now: float) -> None:
        """What it has begun will not be ended."""
        for key in [key for key in self._incoming if key[0] == peer]:
            self._leave(self._incoming.pop(key))

    def close(self) -> None:
        """Close what is open."""
        for incoming in self._incoming.values():
            self._leave(incoming)
        self._incoming.clear()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, FileAsk | FilePiece | FileGone):
            raise BadMessage("E_DECODE", f"{type(message).__name__} brings no file")
        if not self._allowed(src, message.path):
            raise BadMessage("E_UNKNOWN_NODE", f"{src} may not write {message.path}")
        try:
            answer = self._answer(src, message, arrays)
        except OSError as error:
            self.counters[f"disk.{error.errno}"] += 1
            self._leave(self._incoming.pop((src, message.path), None))
            return
        if answer is not None:
            self._sends.append(Send(src, answer))

    def _answer(self, src: str, message: FileAsk | FilePiece | FileGone, arrays: Mapping[str, Array]) -> FileHave | None:
        file, key = self._root / message.path, (src, message.path)
        incoming = self._incoming.get(key)
        if incoming is not None and message.transfer < incoming.transfer:
            self.counters["stale"] += 1
            return None
        have = FileHave(path=message.path, transfer=message.transfer, size=-1)
        if isinstance(message, FileAsk):
            if file.is_file():
                content = file.read_bytes()
                have.size, have.digest = len(content), digest(content)
            return have
        if isinstance(message, FileGone):
            self._leave(self._incoming.pop(key, None))
            file.unlink(missing_ok=True)
            return have
        data = column(arrays, "data", "u1")[:PIECE] if "data" in arrays else None
        if data is None or message.offset < message.start or message.grows != message.path.endswith(GROWING):
            raise BadMessage("E_FRAME", f"a piece of {message.path} without data, before its start, or of another kind")
        if incoming is None or message.transfer > incoming.transfer:
            if message.offset != message.start:
                return have
            self._leave(incoming)
            incoming = self._open(file, message)
            if incoming is None:
                return have
            self._incoming[key] = incoming
        if incoming.file is not None and message.offset == incoming.next:
            disk.write(incoming.file, data.tobytes())
            incoming.next += len(data)
            if message.last and not self._close(file, incoming, message):
                del self._incoming[key]
                return have
        have.size, have.whole = incoming.next, incoming.whole
        return have

    def _open(self, file: Path, message: FilePiece) -> _Incoming | None:
        """Begin to take a file; None for one that grows beyond what is here."""
        file.parent.mkdir(parents=True, exist_ok=True)
        if not message.grows:
            return _Incoming(message.transfer, message.start, _beside(file).open("w+b"))
        if message.start > (file.stat().st_size if file.exists() else 0):
            return None
        opened = file.open("r+b" if file.exists() else "w+b")
        opened.truncate(message.start)
        opened.seek(message.start)
        return _Incoming(message.transfer, message.start, opened)

    def _close(self, file: Path, incoming: _Incoming, message: FilePiece) -> bool:
        """The last piece is here: whether the file is what was sent."""
        opened, incoming.file = incoming.file, None
        if opened is None:
            return False
        with opened:
            if not message.grows:
                opened.seek(0)
                if digest(opened.read()) != message.digest:
                    self.counters["damaged"] += 1
                    return False
                os.fsync(opened.fileno())
        if not message.grows:
            _beside(file).replace(file)
        incoming.whole = True
        self._events.append(message.path)
        return True

    def _leave(self, incoming: _Incoming | None) -> None:
        if incoming is not None and incoming.file is not None:
            with contextlib.suppress(OSError):
                incoming.file.close()


def _beside(file: Path) -> Path:
    """Where it is collected: named like all that is unfinished (`protocols.runtime.atomic_files`)."""
    return file.with_name(f".{file.name}.tmp")
