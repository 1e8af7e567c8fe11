"""Files that hosts keep for themselves, on the run server: it has a copy of all, and sends nodes theirs before they start elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from orchestrator.launch.host.host_files import NOT_OURS
from protocols.conversations.conversation import Array, Send
from protocols.conversations.file_copy import FileCopy
from protocols.conversations.file_mirror import FileAsk, FileGone, FileHave, FileMirror, FilePiece
from protocols.wire.messages import Message


class FileReturn:
    """Below `directory`, the run's. `host_of(node)`: where a node runs, since no other host may write its files; `number`: above that of
    former processes of this run server."""

    def __init__(self, directory: Path, host_of: Callable[[str], str | None], random: np.random.Generator, number: int) -> None:
        self._directory, self._host_of, self._random, self._number = directory, host_of, random, number
        self._copy = FileCopy(directory, self._allowed)
        self._apart: set[str] = set()
        """hosts that keep their files for themselves"""
        self._sending: dict[str, FileMirror] = {}
        """by node: what its host is sent before it starts"""

    def apart(self, host: str) -> None:
        """This host does not see the run's directory."""
        self._apart.add(host)

    def prepare(self, node: str, host: str) -> None:
        """A node is to start on a host: it needs what it has written before."""
        self._sending.pop(node, None)
        if host in self._apart:
            beginning = f"nodes/{node}/"
            self._sending[node] = FileMirror(
                host,
                self._directory,
                self._random,
                self._number,
                lambda path: path.startswith(beginning) and path.rpartition("/")[2] not in NOT_OURS,
            )
            self._number += 1_000_000

    def ready(self, node: str) -> bool:
        """Whether its host has all that the node needs."""
        mirror = self._sending.get(node)
        if mirror is not None and mirror.settled():
            del self._sending[node]
        return node not in self._sending

    def lost(self, host: str, now: float) -> None:
        """A host is gone: what it was sending will not be whole."""
        self._copy.peer_dead(host, now)

    def receive(self, host: str, message: Message, arrays: Mapping[str, Array], now: float) -> bool:
        """Take a message about files; False for any other."""
        if isinstance(message, FileHave):
            for mirror in self._sending.values():
                if mirror.peer == host:
                    mirror.receive(host, message, arrays, now)
        elif isinstance(message, FileAsk | FilePiece | FileGone):
            self._copy.receive(host, message, arrays, now)
        else:
            return False
        return True

    def turn(self, now: float) -> list[Send]:
        """What is to be sent now."""
        for mirror in self._sending.values():
            mirror.tick(now)
        return [*self._copy.outgoing(), *(send for mirror in self._sending.values() for send in mirror.outgoing())]

    def _allowed(self, host: str, path: str) -> bool:
        parts = path.split("/")
        if parts[0] == "hosts":
            return len(parts) == 2 and parts[1].startswith(f"{host}.")
        return len(parts) > 2 and parts[0] == "nodes" and self._host_of(parts[1]) == host and parts[-1] not in NOT_OURS
