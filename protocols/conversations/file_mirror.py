"""The side that has the files: sends what is new of a directory, until its copy on another machine is equal.

    FileAsk, FilePiece..., FileGone  -->  <--  FileHave        (all repeated until answered)

One file is sent at a time, the one that was written longest ago first: a file in the copy implies the files that were complete
before it, as a checkpoint before the file that names it. Files that only grow (`GROWING`) are sent from where the copy ends, if what it
holds is how they begin; all others are sent from their beginning, and take the place of the old one when they are whole. What the copy has
is asked of it, so that both sides may die at any time, and what it has already is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from protocols.conversations.conversation import ROWS, Array, Conversation, Send
from protocols.conversations.retries import RetryAttempt, RetryTimer
from protocols.runtime.errors import BadMessage
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, CountOrMinusOne, Digest, FilePath, Message, is_file_path


class FileAsk(Message):
    """Host <-> run server: a request for the state of a file. EO by (src, transfer); answered by `FileHave`."""

    path: FilePath
    transfer: Count


class FilePiece(Message):
    """Host <-> run server: a part of a file, the frame `data[n] u1`. EO by (src, transfer, offset); answered by `FileHave`. A file that
    `grows` is continued from `start` on; any other is put in place when its `last` piece is there, and `digest` is that of all of it."""

    path: FilePath
    transfer: Count
    start: Count
    offset: Count
    grows: bool = False
    last: bool = False
    digest: Digest = ""


class FileGone(Message):
    """Host <-> run server: the file was deleted. EO by (src, transfer); answered by `FileHave`."""

    path: FilePath
    transfer: Count


class FileHave(Message):
    """Host <-> run server: the state of a file. To `FileAsk`: `size` bytes with that `digest`, -1 for no file. To `FilePiece`: bytes of
    this transfer, -1 where it must begin anew, and whether the file is `whole`. To `FileGone`: -1."""

    path: FilePath
    transfer: Count
    size: CountOrMinusOne
    whole: bool = False
    digest: Digest = ""


register_conversation(
    "file_mirroring",
    route("ctl", "host", "run", FileAsk, FilePiece, FileGone, FileHave),
    route("ctl", "run", "host", FileAsk, FilePiece, FileGone, FileHave),
)


GROWING = (".jsonl", ".log", ".csv")
PIECE = ROWS
"""bytes in a message"""
MOST_RESTARTS = 8
"""times that a file is begun again before it rests until it changes"""


@dataclass(frozen=True)
class _Stat:
    size: int
    modified: int
    inode: int


@dataclass
class _Transfer:
    """What is on its way. `start`..`end`: the bytes that go; `file` is open as long as it lasts, so that a file that is replaced meanwhile
    is sent as it was."""

    path: str
    number: int
    stat: _Stat
    attempt: RetryAttempt
    stage: Literal["ask", "pieces", "gone"]
    file: BinaryIO | None = None
    start: int = 0
    sent: int = 0
    have: int = 0
    end: int = 0
    closed: bool = False
    """whether the last piece is under way"""


class FileMirror(Conversation[str]):
    """Keeps the copy that `peer` has of the files below `root` equal to them. `wanted`: which of them (default: all); names that a
    message can't carry (`is_file_path`: of letters, digits and `_+-.`, none beginning with a point) are left out. `number`: above that of
    every former transfer to the same peer (a time will do); `every`: seconds between two looks; `window`: pieces under way.

    Events: each path when the copy of it is whole.
    """

    def __init__(
        self,
        peer: str,
        root: Path,
        random: np.random.Generator,
        number: int,
        wanted: Callable[[str], bool] = lambda path: True,
        every: float = 1.0,
        window: int = 16,
    ) -> None:
        super().__init__()
        self.peer = peer
        self._root, self._wanted, self._every, self._window = root, wanted, every, window
        self._timer = RetryTimer(random)
        self._number = number
        self._there: dict[str, _Stat] = {}
        """of each file, what the copy is equal to"""
        self._restarts: dict[str, tuple[_Stat, int]] = {}
        self._now: _Transfer | None = None
        self._look = -inf
        self._asked = True
        """whether it is to look again as soon as it can"""
        self._due: list[str] = []
        """what the last look found to send, the file under way included"""

    def settled(self, beginning: str = "") -> bool:
        """Whether the copies of all files whose path begins so were equal at the last look, which was asked for last."""
        return not self._asked and not any(path.startswith(beginning) for path in self._due)

    def look(self) -> None:
        """Something was written: look at once, or when the file under way is there."""
        self._asked = True

    def recheck(self, beginning: str = "") -> None:
        """The copies of files whose path begins so may differ from the recorded state: ask for them again."""
        for path in [path for path in self._there if path.startswith(beginning)]:
            del self._there[path]
        self._asked = True

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Repeat what is not answered; begin the next file."""
        transfer = self._now
        if transfer is not None and now >= transfer.attempt.due:
            self._timer.again(transfer.attempt, now)
            self.counters["repeated"] += 1
            transfer.sent, transfer.closed = transfer.have, False
            self._say(transfer, now)
        if self._now is None and (self._asked or now >= self._look):
            self._next(now)

    def wake(self) -> float:
        """The next repetition, or look."""
        return self._look if self._now is None else self._now.attempt.due

    def peer_dead(self, peer: str, now: float) -> None:
        """Nothing is sent any more; what the copy holds must be asked when the peer is back (`recheck`)."""
        if peer == self.peer:
            self._end()
            self._there.clear()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if src != self.peer or not isinstance(message, FileHave):
            raise BadMessage("E_DECODE", f"{type(message).__name__} of {src} is no answer of {self.peer}")
        transfer = self._now
        if transfer is None or (message.path, message.transfer) != (transfer.path, transfer.number):
            self.counters["stale"] += 1
            return
        if transfer.stage != "pieces":
            self._timer.answered(transfer.attempt, now)
        if transfer.stage == "gone":
            self._there.pop(transfer.path, None)
            self._done(now)
        elif transfer.stage == "ask":
            self._begin(transfer, message, now)
        elif message.size < transfer.start:
            self._again(transfer, now)
        else:
            if message.size > transfer.have:
                self._timer.answered(transfer.attempt, now)
                transfer.attempt = self._timer.start(now)
                transfer.have = min(message.size, transfer.end)
                transfer.sent = max(transfer.sent, transfer.have)
            if message.whole:
                self._whole(transfer, now)
            else:
                self._say(transfer, now)

    # --- from file to file --------------------------------------------------------------------------------------------------------

    def _files(self) -> dict[str, _Stat]:
        found = {}
        for file in self._root.rglob("*"):
            path = file.relative_to(self._root).as_posix()
            if not is_file_path(path) or not self._wanted(path):
                continue
            try:
                stat = file.stat()
            except FileNotFoundError:  # it may have gone since
                continue
            if file.is_file() and not file.is_symlink():
                found[path] = _Stat(stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return found

    def _next(self, now: float) -> None:
        """Look, and begin with the oldest file that is not equal in the copy; then with those that are gone."""
        self._look = now + self._every
        files = self._files()
        due = [path for path, stat in files.items() if self._there.get(path) != stat and not self._hopeless(path, stat)]
        gone = [path for path in self._there if path not in files]
        self._asked, self._due = False, [*due, *gone]
        if not self._due:
            return
        path = min(due, key=lambda path: (files[path].modified, path)) if due else min(gone)
        self._number += 1
        nothing = _Stat(0, 0, 0)
        transfer = self._now = _Transfer(path, self._number, files.get(path, nothing), self._timer.start(now), "gone")
        if path not in files:
            self._say(transfer, now)
            return
        try:
            transfer.file = (self._root / path).open("rb")
        except FileNotFoundError:
            self._done(now)
            return
        there = self._there.get(path)
        if there is None:
            transfer.stage = "ask"
            self._say(transfer, now)
        elif path.endswith(GROWING) and there.inode == transfer.stat.inode and there.size <= transfer.stat.size:
            self._send_from(transfer, there.size, now)
        else:
            self._send_from(transfer, 0, now)

    def _hopeless(self, path: str, stat: _Stat) -> bool:
        last, restarts = self._restarts.get(path, (stat, 0))
        return last == stat and restarts >= MOST_RESTARTS

    def _begin(self, transfer: _Transfer, message: FileHave, now: float) -> None:
        """The copy has answered what it has."""
        size = max(message.size, 0)
        same = size <= transfer.stat.size and message.digest == digest(self._read(transfer, 0, size))
        transfer.attempt = self._timer.start(now)
        if same and size == transfer.stat.size and message.size >= 0:
            self._whole(transfer, now)
        else:
            self._send_from(transfer, size if same and transfer.path.endswith(GROWING) else 0, now)

    def _send_from(self, transfer: _Transfer, start: int, now: float) -> None:
        transfer.stage = "pieces"
        transfer.start = transfer.have = transfer.sent = start
        transfer.end = transfer.stat.size
        self._say(transfer, now)

    def _whole(self, transfer: _Transfer, now: float) -> None:
        """The copy has answered that it is equal."""
        self._there[transfer.path] = transfer.stat
        self._restarts.pop(transfer.path, None)
        self._events.append(transfer.path)
        self._done(now)

    def _again(self, transfer: _Transfer, now: float) -> None:
        """The copy can't go on with this transfer: begin the file anew, some times."""
        self.counters["restarted"] += 1
        last, restarts = self._restarts.get(transfer.path, (transfer.stat, 0))
        self._restarts[transfer.path] = (transfer.stat, restarts + 1 if last == transfer.stat else 1)
        self._there.pop(transfer.path, None)
        self._done(now)

    def _done(self, now: float) -> None:
        self._end()
        self._next(now)

    def _end(self) -> None:
        if self._now is not None and self._now.file is not None:
            self._now.file.close()
        self._now = None

    # --- messages -----------------------------------------------------------------------------------------------------------------

    def _say(self, transfer: _Transfer, now: float) -> None:
        """The question, or the pieces that may be under way."""
        path, number = transfer.path, transfer.number
        if transfer.stage == "ask":
            self._sends.append(Send(self.peer, FileAsk(path=path, transfer=number)))
        elif transfer.stage == "gone":
            self._sends.append(Send(self.peer, FileGone(path=path, transfer=number)))
        else:
            self._say_pieces(transfer, now)

    def _say_pieces(self, transfer: _Transfer, now: float) -> None:
        """From `sent` on, as far as the window goes. The last one closes the file, even where it brings nothing."""
        grows = transfer.path.endswith(GROWING)
        while transfer.sent <= transfer.end and transfer.sent < transfer.have + self._window * PIECE and not transfer.closed:
            data = self._read(transfer, transfer.sent, min(PIECE, transfer.end - transfer.sent))
            last = transfer.sent + len(data) == transfer.end
            if not data and not last:  # cut while it was sent
                self._again(transfer, now)
                return
            piece = FilePiece(
                path=transfer.path, transfer=transfer.number, start=transfer.start, offset=transfer.sent, grows=grows, last=last,
                digest=digest(self._read(transfer, 0, transfer.end)) if last and not grows else "",
            )  # fmt: skip
            self._sends.append(Send(self.peer, piece, {"data": np.frombuffer(data, np.uint8)}))
            self.counters["bytes"] += len(data)
            transfer.sent += len(data)
            transfer.closed = last

    def _read(self, transfer: _Transfer, offset: int, size: int) -> bytes:
        if transfer.file is None:
            return b""
        transfer.file.seek(offset)
        return transfer.file.read(size)


def digest(content: bytes) -> str:
    """BLAKE2b digest (16 bytes) of the content of a file, in hexadecimal."""
    return blake2b(content, digest_size=16).hexdigest()
