"""The seam between a run and whatever gives it machines: an engine starts hosts, and hosts start nodes.

An engine only ever starts one host process per slot of capacity; the same host program runs everywhere
(`orchestrator.launch.host.host_process`) and
does the rest: process groups, logs, threads. Restarts are decided by the run server on every engine.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import msgspec

from orchestrator.config.configuration import Configuration
from orchestrator.launch.launch_settings import ENGINES
from orchestrator.launch.placement import Slot
from orchestrator.launch.process_control import ProcessRecord, sweep
from protocols.runtime.errors import UsageError
from protocols.runtime.key_pairs import KEY_LENGTH
from protocols.runtime.node_start import Carrier

ROLES = {"agent": "agent_node.process.agent_main:main", "env": "env_server.serving.server_main:main"}
"""role to entry point `module:function`, called with a `NodeStart` in a process of its own"""

PRELOAD = ("agent_node.process.warm_start", "env_server.serving.server_warm_start")
"""modules that the warm parent imports, so that a node shares their memory and starts at once; missing ones do no harm"""


@dataclass(frozen=True)
class Invitation:
    """What a host receives when it starts. Nothing secret: the token is in a file that only its owner can read, and keys are public."""

    run: str
    directory: str
    control: str
    telemetry: str
    token_file: str
    host: str
    """name of the host in this run"""
    seed: int = 0
    heartbeat: float = 0.5
    """seconds between two heartbeats"""
    orphan: float = 300.0
    """seconds without a run server after which the host ends its nodes and itself"""
    roles: dict[str, str] = field(default_factory=lambda: dict(ROLES))
    preload: tuple[str, ...] = PRELOAD
    carrier: Carrier = "tcp"
    """what nodes bind their own channels to"""
    home: Literal["auto", "shared", "server"] = "auto"
    """whether the host writes into `directory`, or into one of its own of which the run server has a copy"""
    bind: str = "127.0.0.1"
    """address that they bind to, where that is TCP; "": the one by which the host reaches the run server"""
    advertise: str = ""
    """address by which others know the host's machine; "": the bound one, or where that is any (0.0.0.0) as for `bind`"""
    plugins: tuple[str, ...] = ()
    """modules of third parties that nodes import"""
    server_key: str = ""
    """the run server's public key: the host makes a pair of its own and one for each node, and prints its own (`announcement`) before
    anything else on standard output; "": nothing is encrypted"""

    def to_json(self) -> str:
        """The invitation as one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Invitation:
        """Read it back; `UsageError` when it is none."""
        try:
            return msgspec.json.decode(text, type=Invitation)
        except msgspec.DecodeError as error:
            raise UsageError(f"no invitation on standard input ({error}); hosts are started by a run server, not by hand") from None


def announcement(key: str) -> bytes:
    """The line (JSON, UTF-8, with a line end) by which a host announces its public key, over a channel of the engine that no other
    process can write to."""
    return json.dumps({"key": key}).encode() + b"\n"


def announced(said: bytes) -> str:
    """The public key in a host's output so far; "" before it is printed."""
    for line in said.splitlines(keepends=True):
        try:
            key = json.loads(line)["key"] if line.endswith(b"\n") else ""
        except (ValueError, TypeError, KeyError):
            continue  # other output, such as that of a login script
        if isinstance(key, str) and len(key) == KEY_LENGTH:
            return key
    return ""


class HostPhase(Enum):
    """Of a host's process, as the engine sees it."""

    RUNNING = auto()
    """or nothing else is known: the engine's way to it may be broken, which the run server's own heartbeat judges better"""
    ENDED = auto()
    LOST = auto()
    """its machine is gone, and the process with it"""


@dataclass(frozen=True)
class HostState:
    """`code` is the exit code, or the negative number of the signal, of a host that ended; `key` its public key, once it is printed."""

    phase: HostPhase
    code: int | None = None
    key: str = ""
    reason: str = ""
    """of a host that is lost: the engine's reason"""


@dataclass
class HostHandle:
    """A host that was started; engines keep their own things in subclasses."""

    name: str
    slot: Slot


HandleT = TypeVar("HandleT", bound=HostHandle)


class Engine(ABC, Generic[HandleT]):
    """Gives capacity and starts hosts on it: `problems`, `address`, `request`, `granted` until it is there, `start_host` for each slot,
    `poll`, `end`, `release`. No call blocks for longer than a few seconds (`problems`: 15).

    An engine is made for one run directory. What outlives this process (a job, a placement group) it notes there before it asks for it, so
    that a new object for the same directory can `release` what a former run server has left.
    """

    name: str
    adopts: ClassVar[bool] = False
    """whether a run server can take over the hosts of one that was killed (`adopt`)"""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.hosts: list[HandleT] = []
        """those that this object has started"""
        self.waiting = ""
        """for what `granted` waits, in words"""

    def problems(self, configuration: Configuration) -> list[str]:
        """What would fail, each with its cure, before anything is started: a program that isn't installed, a machine without answer."""
        return []

    @abstractmethod
    def address(self, configuration: Configuration) -> str:
        """Of this machine, as the engine's hosts reach it: what `network.bind: auto` means."""

    @abstractmethod
    def request(self, configuration: Configuration, nodes: int) -> None:
        """Ask for capacity for that many nodes. `ResourceError` when there can't be any."""

    @abstractmethod
    def granted(self) -> Sequence[Slot] | None:
        """The capacity, None as long as it isn't there. `ResourceError` when it will never be."""

    @abstractmethod
    def start_host(self, slot: Slot, invitation: Invitation, log: Path) -> HandleT:
        """Start the host program with this invitation; its output goes to `log` (where run server and host share the run's directory, the
        host may write it itself)."""

    def adopt(self, slot: Slot, process: ProcessRecord) -> HandleT:
        """Take over a running host that another run server has started."""
        raise UsageError(f"hosts of the engine {self.name} can't be taken over")

    @abstractmethod
    def poll(self, host: HandleT) -> HostState:
        """State of the host's process, with its exit code once it has ended; does not wait."""

    @abstractmethod
    def end(self, host: HandleT, now: bool) -> None:
        """Ask the host's process to end, or, `now`, kill it and what it started. May be repeated."""

    @abstractmethod
    def release(self) -> list[str]:
        """Give everything back, also what a former process in this directory has noted; kills what still runs. May be repeated. What could
        not be reached is returned in words, each with the command that cleans it up later."""


def engine_class(name: str) -> type[Engine[Any]]:
    """The engine of that name; `UsageError` for an unknown name."""
    if name not in ENGINES:
        raise UsageError(f"there is no launch engine {name}; there are {', '.join(ENGINES)}")
    module, _, kind = ENGINES[name].implementation.partition(":")
    return cast("type[Engine[Any]]", getattr(import_module(module), kind))


def make_engine(name: str, directory: Path) -> Engine[Any]:
    """The engine of that name for the run in `directory`."""
    return engine_class(name)(directory)


def clean_up(directory: Path, engine: str) -> tuple[list[int], list[str]]:
    """End what a run server that is gone has left: processes here, by their marks, and what its engine has noted elsewhere.

    Returns the numbers of the processes that were killed here, and in words what could not be reached, each with its cure.
    """
    left = make_engine(engine, directory).release() if engine in ENGINES else []
    return sweep(directory), left
