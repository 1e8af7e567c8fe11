"""Start data of a node: shared by the host that starts the process and the node itself."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from protocols.runtime.errors import AuthenticationError
from protocols.runtime.key_pairs import KeyPair, check_private

RUN_SERVER = "run"
"""name of the run server in every message"""
Carrier = Literal["tcp", "ipc", "shared"]
"""what carries the messages between two processes: TCP; or between processes of one machine Unix-domain sockets, alone (ipc) or beside
shared memory for large frames"""


def ipc_works() -> bool:
    """Whether this machine has Unix-domain sockets whose addresses are no files (the abstract namespace): Linux does."""
    return sys.platform == "linux"


def shared_memory_works() -> bool:
    """Whether processes of this machine can pass frames through shared memory (`protocols.transport.shared_frames`): Linux on x86-64 has
    memory files that one process seals and another one opens."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        descriptor = os.memfd_create("murmuration-probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return False
    try:
        os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def is_loopback(host: str) -> bool:
    """Whether only processes of this machine reach what is bound to `host`. Names other than localhost may stand for anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class NodeStart:
    """Everything that a node has before it joins the run. The configuration comes with `Welcome`."""

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
    """JSON file with the run's token, readable by its owner only; "" where keys take its place"""
    threads: int = 1
    """computing threads of this process"""
    gpu: str = ""
    """the only GPU that this process may use, as CUDA names it; "": not restricted"""
    cold: bool = False
    """start without a checkpoint: those of earlier incarnations are set aside first"""
    seed: int = 0
    """the run's seed"""
    host: str = ""
    """name of the host that started it"""
    carrier: Carrier = "tcp"
    """what the node's own channel is bound to"""
    bind: str = "127.0.0.1"
    """address that it is bound to, where it is TCP"""
    advertise: str = ""
    """address by which others know this machine; "": the bound one"""
    plugins: tuple[str, ...] = ()
    """modules of third parties, imported before anything else of the node"""
    server_key: str = ""
    """the run server's public key; "": nothing is encrypted"""
    keys: KeyPair | None = field(default=None, repr=False)
    """the node's own pair, which its host made: it comes over the pipe by which the process was started"""

    @property
    def node_directory(self) -> Path:
        """Where this node writes: `nodes/NAME` of the run's directory."""
        return Path(self.directory) / "nodes" / self.node

    def set_aside(self) -> Path | None:
        """Rename the checkpoints of earlier incarnations to `checkpoints.before.INCARNATION`, where they are not searched: the new name, or
        None without checkpoints. Rename the folder to restore them."""
        there = self.node_directory / "checkpoints"
        if not there.is_dir():
            return None
        return there.rename(there.with_name(f"checkpoints.before.{self.incarnation}"))

    def token(self) -> str:
        """The run's token, for `Hello.token`; "" where keys take its place."""
        return read_token(Path(self.token_file)) if self.token_file else ""


def read_token(path: Path) -> str:
    """The token in a run's `control.json`. `AuthenticationError` when the file is missing, unreadable or open to other users."""
    check_private(path)
    try:
        token = json.loads(path.read_text(encoding="utf-8"))["token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuthenticationError(f"no token in {path}: {error}") from None
    if not isinstance(token, str) or not token:
        raise AuthenticationError(f"no token in {path}: the key `token` is not a text")
    return token
