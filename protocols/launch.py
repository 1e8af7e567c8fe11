"""What a process of a run is told when it starts: shared by the host that starts it and the node that it becomes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocols.errors import AuthenticationError

RUN_SERVER = "run"
"""name of the run server in every message"""
Carrier = Literal["tcp", "ipc"]
"""what carries the messages between two processes: TCP, or Unix-domain sockets between processes of one machine"""


def ipc_works() -> bool:
    """Whether this machine has Unix-domain sockets whose addresses are no files (the abstract namespace): Linux does."""
    return sys.platform == "linux"


@dataclass(frozen=True)
class NodeStart:
    """Everything that a node knows before it has met anybody. The configuration comes with `Welcome`."""

    run: str
    """run id, the field `run` of every message"""
    node: str
    """its name, for example agent-0"""
    role: Literal["agent", "env"]
    incarnation: int
    """1 at the first start of this node, one more at every further start"""
    directory: str
    """the run's directory"""
    control: str
    """endpoint of the run server's `ctl`, connected to under the name `RUN_SERVER`"""
    telemetry: str
    """endpoint of the run server's `tele`"""
    token_file: str
    """JSON file with the run's token, readable by its owner only"""
    threads: int = 1
    """computing threads of this process"""
    seed: int = 0
    """the run's seed"""
    host: str = ""
    """name of the host that started it"""
    carrier: Carrier = "tcp"
    """what the node's own channel is bound to"""

    @property
    def node_directory(self) -> Path:
        """Where this node writes: `nodes/NAME` of the run's directory."""
        return Path(self.directory) / "nodes" / self.node

    def token(self) -> str:
        """The run's token, for `Hello.token`."""
        return read_token(Path(self.token_file))


def read_token(path: Path) -> str:
    """The token in a run's `control.json`. `AuthenticationError` when the file is missing, unreadable or open to other users."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise AuthenticationError(f"{path} may be read by other users (mode {mode & 0o777:o}); make it private: chmod 600 {path}")
        token = json.loads(path.read_text(encoding="utf-8"))["token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuthenticationError(f"no token in {path}: {error}") from None
    if not isinstance(token, str) or not token:
        raise AuthenticationError(f"no token in {path}: the key `token` is not a text")
    return token
