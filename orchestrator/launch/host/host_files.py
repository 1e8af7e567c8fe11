"""A host's files where it does not share the run's directory: its nodes write beside it, and the run server has a copy of everything."""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orchestrator.launch.engine import Invitation
from orchestrator.results.run_files import read_json
from protocols.conversations.conversation import Array
from protocols.conversations.file_copy import FileCopy
from protocols.conversations.file_mirror import FileAsk, FileGone, FileHave, FileMirror, FilePiece
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_start import RUN_SERVER
from protocols.transport import Transport
from protocols.wire.messages import Message

logger = logging.getLogger(__name__)

APART = "apart"
"""feature in the `Hello` of a host for when it does not share the run's directory"""
HOME_WAIT = 10.0
"""seconds without an answer after which files stay where they are"""
_TURN = 0.1
NOT_OURS = ("incarnations.jsonl",)
"""files in a node's directory that the run server writes itself"""


def own_directory(run: str, host: str) -> Path:
    """Where a host without the run's directory keeps its files: empty, and its user's alone. `ResourceError` where it can't be."""
    base = Path(tempfile.gettempdir()) / f"murmuration-{getpass.getuser()}"
    directory = base / f"{run}-{host}"
    for path in (base, directory):
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077 or path.is_symlink():
            raise ResourceError(f"{path} is not a directory of {getpass.getuser()} alone; remove it, or set TMPDIR to another place")
    # What a former host has left is on the run server, as far as it counts.
    for left in directory.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    return directory


def directory_of(invitation: Invitation) -> tuple[Path, bool]:
    """Where this host's nodes write, and whether that is apart from the run's directory."""
    shared = Path(invitation.directory)
    if invitation.home == "shared" or (invitation.home == "auto" and is_run(shared, invitation.run)):
        return shared, False
    return own_directory(invitation.run, invitation.host), True


def is_run(directory: Path, run: str) -> bool:
    """Whether it is that run's: elsewhere another one may have the same name, but not for the same process at the same time."""
    return bool(read_json(directory / "run.json").get("name") == run)


class HostFiles:
    """Keeps the run server's copy equal to what this host's nodes have written below `root`, and takes what they need before they start.
    `number`: above that of former processes of this host."""

    def __init__(self, root: Path, random: np.random.Generator, number: int) -> None:
        self._root = root
        self._mirror = FileMirror(RUN_SERVER, root, random, number, self._wanted)
        self._copy = FileCopy(root, lambda src, path: src == RUN_SERVER and path.startswith("nodes/"))
        self._nodes: set[str] = set()

    def home(self, node: str | None = None) -> bool:
        """Whether the run server has everything (of a node), since the look that was asked for last."""
        return self._mirror.settled("" if node is None else f"nodes/{node}/")

    def starts(self, node: str) -> None:
        """Mirror the files of `node` from now on; files that it has cut at its start are compared again."""
        self._nodes.add(node)
        self._mirror.recheck(f"nodes/{node}/")

    def look(self) -> None:
        """Something may have been written: look at once."""
        self._mirror.look()

    def receive(self, message: Message, arrays: Mapping[str, Array], now: float) -> bool:
        """Take a message about files; False for any other."""
        if isinstance(message, FileHave):
            self._mirror.receive(RUN_SERVER, message, arrays, now)
        elif isinstance(message, FileAsk | FilePiece | FileGone):
            self._copy.receive(RUN_SERVER, message, arrays, now)
        else:
            return False
        return True

    def turn(self, transport: Transport, now: float) -> None:
        """Send what is to be sent now."""
        self._mirror.tick(now)
        for send in [*self._mirror.outgoing(), *self._copy.outgoing()]:
            transport.try_send("ctl", send.dst, send.message, send.arrays)

    def return_files(self, transport: Transport) -> None:
        """What the nodes have written last goes to the run server, as long as it answers; then nothing of it is left here."""
        self.look()
        answered = time.monotonic()
        self.turn(transport, answered)
        while not self.home() and time.monotonic() < answered + HOME_WAIT:
            for received in transport.receive(_TURN):
                if self.receive(received.message, received.arrays, time.monotonic()):
                    answered = time.monotonic()
            self.turn(transport, time.monotonic())
        if self.home():
            self.discard()
        else:
            logger.error("not all files were returned; what is missing is in %s", self._root)

    def discard(self) -> None:
        """Remove the directory of this host with all files; errors are ignored."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _wanted(self, path: str) -> bool:
        parts = path.split("/")
        if parts[0] == "hosts":
            return True
        return len(parts) > 2 and parts[0] == "nodes" and parts[1] in self._nodes and parts[-1] not in NOT_OURS
