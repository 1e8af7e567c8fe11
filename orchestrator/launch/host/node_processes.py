"""The processes of one host's nodes: forked from one warm parent, watched, signalled, ended.

The parent is the standard library's fork server, which has imported everything heavy; each node gets a process group of its own. When the
host ends in any way, the system kills the fork server, and with it every node.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from orchestrator.launch.engine import Invitation
from orchestrator.launch.host import node_child as child
from orchestrator.launch.host import warm_parent as preload
from orchestrator.launch.host.host_files import HOME_WAIT, HostFiles
from orchestrator.launch.host.host_resources import least_used, visible_gpus
from protocols.conversations.node_processes.node_process_messages import NodeEnded, NodeStarted, StartNode
from protocols.runtime.errors import ResourceError
from protocols.runtime.key_pairs import KeyPair
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.transport import Transport
from protocols.wire.messages import Message

logger = logging.getLogger(__name__)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""with the number of threads that numerical libraries may use, read when they are loaded"""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "200000000", "MALLOC_TRIM_THRESHOLD_": "200000000", "MALLOC_TOP_PAD_": "1048576"}
"""glibc: keep the blocks of tens of kilobytes that every update allocates and frees, instead of mapping them anew each time, which costs
a fifth of an update; other allocators ignore it"""
_RETRY = 0.5
_TURN = 0.1
_TERM_WAIT = 5.0
_KILL_WAIT = 5.0
_PARENT_DIED = 255
"""exit code that the standard library reports when the fork server ended before it could report one"""


@dataclass
class _Node:
    """One process of a node, living or ended; `code` as in `NodeEnded`."""

    incarnation: int
    process: ForkServerProcess
    pid: int
    key: str = ""
    gpu: str = ""
    code: int | None = None
    ended: float = 0.0
    reported: float = 0.0
    acknowledged: bool = False


class NodeProcesses:
    """The nodes that the run server has started here. They write below `directory`; `files` returns that where it is not the run's own."""

    def __init__(self, invitation: Invitation, transport: Transport, directory: Path, files: HostFiles | None) -> None:
        self._invitation, self._transport = invitation, transport
        self._directory, self._files = directory, files
        self._nodes: dict[str, _Node] = {}
        self._gpus = visible_gpus()
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")

    @property
    def living(self) -> dict[str, int]:
        """Process numbers by node; may be asked for by any thread."""
        return {name: node.pid for name, node in list(self._nodes.items()) if node.code is None}

    def warm_up(self) -> None:
        """Start the fork server; it imports its modules while the host joins the run."""
        # One thread in the parent: its children set their own number, and a pool of threads would not survive the fork.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        os.environ.update({name: value for name, value in ALLOCATOR.items() if name not in os.environ})
        os.environ[preload.VARIABLE] = ",".join(self._invitation.preload)
        self._context.set_forkserver_preload([preload.__name__, child.__name__])
        try:
            forkserver.ensure_running()
        except OSError as error:  # its socket is a temporary file, and its path may only be so long
            raise ResourceError(
                f"the warm parent of the nodes can't be started ({error}); set TMPDIR to a short path that exists"
            ) from None
        del os.environ[preload.VARIABLE]

    def start(self, message: StartNode) -> None:
        """Start an incarnation, once; what runs of an older one is killed before."""
        known = self._nodes.get(message.node)
        if known is not None and known.incarnation >= message.incarnation:
            if known.incarnation == message.incarnation:
                self._report(message.node, known, time.monotonic())
            return
        if known is not None and known.code is None:
            # For the run server it is dead; two incarnations must never run at once.
            self.signal(message.node, signal.SIGKILL)
            known.process.join(_KILL_WAIT)
        invitation = self._invitation
        entry = invitation.roles.get(message.role)
        if entry is None or message.role not in ("agent", "env"):
            logger.error("no entry point for the role %r", message.role)
            return
        keys = KeyPair.make() if invitation.server_key else None
        if self._files is not None:
            self._files.starts(message.node)
        busy = [node.gpu for node in self._nodes.values() if node.code is None]
        gpu = least_used(self._gpus, busy) if message.role == "agent" else ""  # an environment server computes nothing there
        start = NodeStart(
            run=invitation.run,
            node=message.node,
            role=message.role,
            incarnation=message.incarnation,
            directory=str(self._directory),
            control=invitation.control,
            telemetry=invitation.telemetry,
            token_file=invitation.token_file,
            threads=message.threads,
            gpu=gpu,
            cold=message.cold,
            seed=invitation.seed,
            host=invitation.host,
            carrier=invitation.carrier,
            bind=invitation.bind,
            advertise=invitation.advertise,
            plugins=invitation.plugins,
            server_key=invitation.server_key,
            keys=keys,
        )
        process = self._context.Process(target=child.run, args=(entry, start), name=message.node)
        process.start()
        node = _Node(message.incarnation, process, process.pid or 0, "" if keys is None else keys.public, gpu)
        self._nodes[message.node] = node
        logger.info("%s incarnation %d is pid %d", message.node, message.incarnation, node.pid)
        self._report(message.node, node, time.monotonic())

    def watch(self, now: float) -> None:
        """Notice processes that ended; report them until the run server acknowledges it."""
        living = {node.process.sentinel: node for node in self._nodes.values() if node.code is None}
        for sentinel in connection.wait(list(living), timeout=0) if living else []:
            node = living[sentinel]  # type: ignore[index]
            code = node.process.exitcode
            if code is not None:
                node.code, node.ended = -int(signal.SIGKILL) if code == _PARENT_DIED else code, now
                if self._files is not None:
                    self._files.look()
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(node.pid, signal.SIGKILL)  # what the node itself started
        for name, node in self._nodes.items():
            if node.code is not None and not node.acknowledged and now - node.reported >= _RETRY and self._files_returned(name, node, now):
                self._report(name, node, now)

    def _files_returned(self, name: str, node: _Node, now: float) -> bool:
        """Whether the run server can read what the node has written last, when it receives the report of its end."""
        return self._files is None or self._files.home(name) or now - node.ended > HOME_WAIT

    def _report(self, name: str, node: _Node, now: float) -> None:
        node.reported = now
        message: Message
        if node.code is None:
            message = NodeStarted(node=name, incarnation=node.incarnation, pid=node.pid, key=node.key)
        else:
            message = NodeEnded(node=name, incarnation=node.incarnation, code=max(-128, min(255, node.code)))
        self._transport.try_send("ctl", RUN_SERVER, message)

    def acknowledged(self, name: str, incarnation: int) -> None:
        """The run server has received the report of an end."""
        node = self._nodes.get(name)
        if node is not None and node.incarnation == incarnation:
            node.acknowledged = True

    def signal(self, name: str, number: signal.Signals, incarnation: int | None = None) -> None:
        """To the process group of a node, if it runs (and is that incarnation)."""
        node = self._nodes.get(name)
        if node is None or node.code is not None or node.process.exitcode is not None or incarnation not in (None, node.incarnation):
            return
        # In its very first instants a node has no process group of its own yet.
        try:
            os.killpg(node.pid, number)
        except ProcessLookupError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.pid, number)

    def end(self) -> None:
        """SIGTERM to all, and after 5 s SIGKILL to what still runs."""
        for number, wait in ((signal.SIGTERM, _TERM_WAIT), (signal.SIGKILL, _KILL_WAIT)):
            for name in self._nodes:
                self.signal(name, number)
            deadline = time.monotonic() + wait
            while time.monotonic() < deadline and (living := [n for n in self._nodes.values() if n.code is None]):
                connection.wait([n.process.sentinel for n in living], timeout=_TURN)
                self.watch(time.monotonic())
