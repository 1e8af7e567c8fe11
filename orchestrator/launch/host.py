"""The host process: the local supervisor that starts nodes from one warm parent and tells the run server what becomes of them.

    engine --invitation (JSON line on stdin)--> host --public key (line on stdout, where connections are encrypted)--> engine
                                                host --Hello, Heartbeat, NodeStarted, NodeEnded, Bye--> run server
                                                host <--Welcome, HeartbeatAck, StartNode, StopNode, SignalNode, Command(stop)-- run server

Nodes are forked by the standard library's fork server, which has imported everything heavy, each into a process group of its own. When
the host ends in any way, the system kills the fork server, and with it every node. Without an answer from the run server for `orphan`
seconds the host ends its nodes and itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import psutil

from orchestrator.launch import child, preload
from orchestrator.launch.base import Invitation, announcement
from orchestrator.launch.home import APART, HostFiles, directory_of
from orchestrator.launch.usage import PERIOD, UsageMeter
from orchestrator.sweep import MARK
from protocols import logs
from protocols.errors import ExitCode, MurmurationError
from protocols.keys import KeyPair
from protocols.launch import RUN_SERVER, NodeStart, read_token
from protocols.messages import (
    Bye,
    Command,
    CommandAck,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Message,
    NodeEnded,
    NodeEndedAck,
    NodeStarted,
    Refuse,
    SignalNode,
    StartNode,
    StopNode,
    Welcome,
    schema_hash,
)
from protocols.transport import Identity, Transport, TransportOptions

logger = logging.getLogger(__name__)

SIGNALS = {"stop": signal.SIGSTOP, "cont": signal.SIGCONT, "term": signal.SIGTERM, "kill": signal.SIGKILL}
"""names in `SignalNode`"""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""by which numerical libraries are told, when they are loaded, how many threads they may use"""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "200000000", "MALLOC_TRIM_THRESHOLD_": "200000000", "MALLOC_TOP_PAD_": "1048576"}
"""glibc: keep the blocks of tens of kilobytes that every update allocates and frees, instead of mapping them anew each time, which costs
a fifth of an update; other allocators ignore it"""
_INVITATION_LIMIT = 64 * 1024
_RETRY = 0.5
_TURN = 0.1
_TERM_WAIT = 5.0
_KILL_WAIT = 5.0
_HOME_WAIT = 10.0
"""seconds without an answer after which files stay where they are"""
_PARENT_DIED = 255
"""exit code that the standard library reports when the fork server ended before it could tell"""


@dataclass
class _Node:
    """One process of a node, living or ended; `code` as in `NodeEnded`."""

    incarnation: int
    process: ForkServerProcess
    pid: int
    key: str = ""
    code: int | None = None
    ended: float = 0.0
    reported: float = 0.0
    acknowledged: bool = False


class Host:
    """Starts, watches and ends the nodes of one host."""

    def __init__(self, invitation: Invitation, transport: Transport) -> None:
        self._invitation = invitation
        self._transport = transport
        self._nodes: dict[str, _Node] = {}
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._directory, apart = directory_of(invitation)
        self._files: HostFiles | None = None
        if apart:
            random = np.random.default_rng([invitation.seed, crc32(invitation.host.encode())])
            self._files = HostFiles(self._directory, random, time.time_ns())
            (self._directory / "hosts").mkdir(exist_ok=True)
        self._usage = UsageMeter(self._directory / "hosts" / f"{invitation.host}.usage.json")
        self._sampled = 0.0
        self._heard = time.monotonic()
        self._asked_to_end: str | None = None

    def run(self) -> int:
        """Lead the host to its end; its exit code."""
        self._warm_up()
        refused = self._join()
        if refused is not None:
            return refused
        self._transport.every(self._invitation.heartbeat, self._heartbeat)
        while self._asked_to_end is None:
            for received in self._transport.receive(_TURN):
                self._heard = time.monotonic()
                self._handle(received.message, received.arrays)
            self._turn(time.monotonic())
        logger.info("the host ends: %s", self._asked_to_end)
        self._end_nodes()
        self._bring_home()
        self._transport.try_send("ctl", RUN_SERVER, Bye(code=0, reason=self._asked_to_end))
        return int(ExitCode.OK)

    def ask_to_end(self, reason: str) -> None:
        """Let `run` come to its end (signal handlers)."""
        self._asked_to_end = self._asked_to_end or reason

    # --- start --------------------------------------------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        """Start the fork server; it imports its modules while the host joins the run."""
        # One thread in the parent: its children set their own number, and a pool of threads would not survive the fork.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        os.environ.update({name: value for name, value in ALLOCATOR.items() if name not in os.environ})
        os.environ[preload.VARIABLE] = ",".join(self._invitation.preload)
        self._context.set_forkserver_preload([preload.__name__, child.__name__])
        forkserver.ensure_running()
        del os.environ[preload.VARIABLE]

    def _join(self) -> int | None:
        """Say hello until the run server answers. An exit code when it refuses or stays silent."""
        invitation = self._invitation
        hello = Hello(
            role="host",
            token=read_token(Path(invitation.token_file)) if invitation.token_file else "",
            schema=schema_hash(),
            pid=os.getpid(),
            host=socket.gethostname(),
            features=[] if self._files is None else [APART],
        )
        hello.rid = secrets.token_hex(8)
        end = time.monotonic() + invitation.orphan
        retry = 0.0
        while self._asked_to_end is None:
            now = time.monotonic()
            if now >= end:
                logger.error("no answer from the run server within %g s", invitation.orphan)
                return int(ExitCode.CRASH)
            if refusal := self._transport.refusal("ctl", RUN_SERVER):
                logger.error("%s", refusal)
                return int(ExitCode.AUTHENTICATION)
            if now >= retry:
                self._transport.try_send("ctl", RUN_SERVER, hello)
                retry = now + _RETRY
            welcome = False
            for received in self._transport.receive(_TURN):
                if isinstance(received.message, Welcome):
                    self._heard = time.monotonic()
                    welcome = True
                elif isinstance(received.message, Refuse):
                    logger.error("the run server refused: %s", received.message.text)
                    return int(received.message.code)
                else:  # orders that came with the welcome
                    self._handle(received.message, received.arrays)
            if welcome:
                return None
        return None

    # --- life ---------------------------------------------------------------------------------------------------------------------

    def _handle(self, message: Message, arrays: Mapping[str, Any]) -> None:
        if self._files is not None and self._files.receive(message, arrays, time.monotonic()):
            return
        if isinstance(message, StartNode):
            self._start(message)
        elif isinstance(message, StopNode):
            self._signal(message.node, signal.SIGKILL if message.now else signal.SIGTERM)
        elif isinstance(message, SignalNode):
            node = self._nodes.get(message.node)
            if node is not None and node.incarnation == message.incarnation:
                self._signal(message.node, SIGNALS[message.signal])
        elif isinstance(message, NodeEndedAck):
            node = self._nodes.get(message.node)
            if node is not None and node.incarnation == message.incarnation:
                node.acknowledged = True
        elif isinstance(message, Command):
            self._transport.try_send("ctl", RUN_SERVER, CommandAck(id=message.id))
            if message.op == "stop":
                self.ask_to_end("the run is over")
        elif not isinstance(message, HeartbeatAck | Welcome):
            logger.debug("ignored %s", type(message).__name__)

    def _turn(self, now: float) -> None:
        self._watch(now)
        self._send_files(now)
        if now - self._sampled >= PERIOD:
            self._sampled = now
            self._measure()
        if now - self._heard > self._invitation.orphan:
            self.ask_to_end(f"no word from the run server for {self._invitation.orphan:g} s")

    def _start(self, message: StartNode) -> None:
        known = self._nodes.get(message.node)
        if known is not None and known.incarnation >= message.incarnation:
            if known.incarnation == message.incarnation:
                self._report(message.node, known, time.monotonic())
            return
        if known is not None and known.code is None:
            # The run server believes it dead; two incarnations must never run at once.
            self._signal(message.node, signal.SIGKILL)
            known.process.join(_KILL_WAIT)
        invitation = self._invitation
        entry = invitation.roles.get(message.role)
        if entry is None or message.role not in ("agent", "env"):
            logger.error("nobody plays the role %r", message.role)
            return
        keys = KeyPair.make() if invitation.server_key else None
        if self._files is not None:
            self._files.starts(message.node)
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
            seed=invitation.seed,
            host=invitation.host,
            carrier=invitation.carrier,
            bind=invitation.bind,
            advertise=invitation.advertise,
            server_key=invitation.server_key,
            keys=keys,
        )
        process = self._context.Process(target=child.run, args=(entry, start), name=message.node)
        process.start()
        node = _Node(message.incarnation, process, process.pid or 0, "" if keys is None else keys.public)
        self._nodes[message.node] = node
        logger.info("%s incarnation %d is pid %d", message.node, message.incarnation, node.pid)
        self._report(message.node, node, time.monotonic())
        self._sampled = 0.0  # so that even the shortest life is seen once

    def _watch(self, now: float) -> None:
        """Notice processes that ended; tell the run server until it has heard it."""
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
            if node.code is not None and not node.acknowledged and now - node.reported >= _RETRY and self._is_home(name, node, now):
                self._report(name, node, now)

    def _is_home(self, name: str, node: _Node, now: float) -> bool:
        """Whether the run server can read what the node has written last, when it hears of its end."""
        return self._files is None or self._files.home(name) or now - node.ended > _HOME_WAIT

    def _report(self, name: str, node: _Node, now: float) -> None:
        node.reported = now
        message: Message
        if node.code is None:
            message = NodeStarted(node=name, incarnation=node.incarnation, pid=node.pid, key=node.key)
        else:
            message = NodeEnded(node=name, incarnation=node.incarnation, code=max(-128, min(255, node.code)))
        self._transport.try_send("ctl", RUN_SERVER, message)

    def _signal(self, name: str, number: signal.Signals) -> None:
        node = self._nodes.get(name)
        if node is None or node.code is not None or node.process.exitcode is not None:
            return
        # In its very first instants a node has no process group of its own yet.
        try:
            os.killpg(node.pid, number)
        except ProcessLookupError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.pid, number)

    def _heartbeat(self) -> None:
        self._transport.send("ctl", RUN_SERVER, Heartbeat(phase="host", memory=psutil.Process().memory_info().rss))

    def _measure(self) -> None:
        self._usage.sample({name: node.pid for name, node in self._nodes.items() if node.code is None})
        try:
            self._usage.write()
        except OSError as error:
            logger.warning("usage is not written: %s", error)

    def _send_files(self, now: float) -> None:
        for send in [] if self._files is None else self._files.turn(now):
            self._transport.try_send("ctl", send.dst, send.message, send.arrays)

    # --- end ----------------------------------------------------------------------------------------------------------------------

    def _bring_home(self) -> None:
        """What the nodes have written last goes to the run server, as long as it answers; then nothing of it is left here."""
        if self._files is None:
            return
        self._files.look()
        heard = time.monotonic()
        self._send_files(heard)
        while not self._files.home() and time.monotonic() < heard + _HOME_WAIT:
            for received in self._transport.receive(_TURN):
                if self._files.receive(received.message, received.arrays, time.monotonic()):
                    heard = time.monotonic()
            self._send_files(time.monotonic())
        if self._files.home():
            shutil.rmtree(self._directory, ignore_errors=True)
        else:
            logger.error("not everything came home; what is missing is in %s", self._directory)

    def _end_nodes(self) -> None:
        """SIGTERM, 5 s, SIGKILL to what still lives; then a last look at what they used."""
        self._measure()
        for number, wait in ((signal.SIGTERM, _TERM_WAIT), (signal.SIGKILL, _KILL_WAIT)):
            for name in self._nodes:
                self._signal(name, number)
            deadline = time.monotonic() + wait
            while time.monotonic() < deadline and (living := [n for n in self._nodes.values() if n.code is None]):
                connection.wait([n.process.sentinel for n in living], timeout=_TURN)
                self._watch(time.monotonic())


def main(source: str = "-") -> int:
    """Lead a host to its end: `orchestrate host -`, with the invitation on standard input."""
    text = sys.stdin.readline(_INVITATION_LIMIT) if source == "-" else Path(source).read_text(encoding="utf-8")
    logs.configure()
    if hasattr(signal, "SIGQUIT"):
        faulthandler.register(signal.SIGQUIT, all_threads=True)
    try:
        invitation = Invitation.from_json(text)
        _forget_main_module()
        os.environ[MARK] = invitation.directory
        keys = KeyPair.make() if invitation.server_key else None
        transport = Transport(Identity(invitation.run, invitation.host, role="host"), TransportOptions(keys=keys))
        try:
            host = Host(invitation, transport)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda n, _: host.ask_to_end(f"signal {n}"))
            if keys is not None:
                _announce(keys.public)
            transport.connect("ctl", RUN_SERVER, invitation.control, invitation.server_key)
            return host.run()
        finally:
            transport.close(linger=0.5)
    except MurmurationError as error:
        logger.error("%s", error)
        return int(error.exit_code)


def _announce(key: str) -> None:
    """Say the public key on standard output; all that is said there later goes to the log, for nobody reads on."""
    sys.stdout.flush()
    os.write(1, announcement(key))
    os.dup2(2, 1)


def _forget_main_module() -> None:
    """Keep `multiprocessing` from importing this program's main module (a command line, say) again in every node."""
    main_module = sys.modules["__main__"]
    main_module.__spec__ = None
    vars(main_module).pop("__file__", None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
