"""Messages that copy the files of a run between a host and the run server."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, CountOrMinusOne, Digest, FilePath, Message


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
