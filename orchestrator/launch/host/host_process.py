"""The host process: the local supervisor that starts nodes from one warm parent and reports to the run server what becomes of them.

    engine --invitation (JSON line on stdin)--> host --public key (line on stdout, where connections are encrypted)--> engine
                                                host --Hello, Heartbeat, NodeStarted, NodeEnded, Bye--> run server
                                                host <--Welcome, HeartbeatAck, StartNode, StopNode, SignalNode, Command(stop)-- run server

Nodes are processes of their own (`node_processes`); where the host does not share the run's directory, what they write goes to the run
server (`home`). While the run server does not answer, the host and its nodes go on and offer themselves to a successor; after `orphan`
seconds the host ends its nodes, which write checkpoints, and itself with exit code 20.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import psutil

from orchestrator.launch.addresses import placed
from orchestrator.launch.engine import Invitation, announcement
from orchestrator.launch.host.host_files import APART, HostFiles, directory_of
from orchestrator.launch.host.host_resources import PERIOD, NodeStates, UsageMeter
from orchestrator.launch.host.node_processes import NodeProcesses
from orchestrator.launch.process_control import MARK, WITH_PARENT, die_with_parent
from protocols.conversations.control.control_messages import Command, CommandAck, Heartbeat, HeartbeatAck, wait_fields
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse, Welcome
from protocols.conversations.membership.run_server_contact import ContactState, RunServerContact
from protocols.conversations.node_processes.node_process_messages import NodeEndedAck, SignalNode, StartNode, StopNode
from protocols.runtime import logs
from protocols.runtime.errors import AuthenticationError, ExitCode, MurmurationError, error_of
from protocols.runtime.key_pairs import KeyPair
from protocols.runtime.node_start import RUN_SERVER, read_token
from protocols.runtime.waits import WaitRegistry
from protocols.transport import Identity, ReceivedMessage, Transport, TransportOptions
from protocols.wire.message_registry import schema_hash
from protocols.wire.messages import Message

logger = logging.getLogger(__name__)

SIGNALS = {"stop": signal.SIGSTOP, "cont": signal.SIGCONT, "term": signal.SIGTERM, "kill": signal.SIGKILL}
"""names in `SignalNode`"""
_INVITATION_LIMIT = 64 * 1024
_TURN = 0.1


class Host:
    """Carries out the run server's commands, and reports what becomes of the nodes."""

    def __init__(self, invitation: Invitation, transport: Transport) -> None:
        self._invitation = invitation
        self._transport = transport
        directory, apart = directory_of(invitation)
        self._files: HostFiles | None = None
        if apart:
            random = np.random.default_rng([invitation.seed, crc32(invitation.host.encode())])
            self._files = HostFiles(directory, random, time.time_ns())
            (directory / "hosts").mkdir(exist_ok=True)
        self._nodes = NodeProcesses(invitation, transport, directory, self._files)
        self._usage = UsageMeter(directory / "hosts" / f"{invitation.host}.usage.json")
        self._waits, self._states = WaitRegistry(), NodeStates()
        self._sampled = 0.0
        self._contact = RunServerContact(time.monotonic())
        self._hello_id = secrets.token_hex(8)
        self._asked_to_end: str | None = None
        self._exit_code = ExitCode.OK

    def run(self) -> int:
        """Lead the host to its end; its exit code."""
        self._nodes.warm_up()
        try:
            early = self._join()
        except MurmurationError:
            if self._files is not None:
                self._files.discard()
            raise
        # Before the first order: the start of a node waits for the warm parent, which imports for many seconds on a busy machine.
        self._contact.beats(self._invitation.heartbeat)
        self._transport.every(self._invitation.heartbeat, self._heartbeat)
        for received in early:
            self._handle(received.message, received.arrays)
        while self._asked_to_end is None:
            for received in self._transport.receive(_TURN):
                self._handle(received.message, received.arrays)
            self._waits.turn(tuple)
            self._turn(time.monotonic())
        logger.info("the host ends: %s", self._asked_to_end)
        self._measure()
        self._nodes.end()
        if self._files is not None:
            self._files.return_files(self._transport)
        self._transport.try_send("ctl", RUN_SERVER, Bye(code=int(self._exit_code), reason=self._asked_to_end))
        return int(self._exit_code)

    def ask_to_end(self, reason: str) -> None:
        """Let `run` come to its end (signal handlers)."""
        self._asked_to_end = self._asked_to_end or reason

    # --- start --------------------------------------------------------------------------------------------------------------------

    def _join(self) -> list[ReceivedMessage]:
        """Send `Hello` until the run server answers; the orders that came with its answer. An error with the exit code when it refuses or
        stays silent."""
        invitation = self._invitation
        end = time.monotonic() + invitation.orphan
        orders: list[ReceivedMessage] = []
        while self._asked_to_end is None and self._contact.state == ContactState.JOINING:
            if time.monotonic() >= end:
                raise MurmurationError(f"no answer from the run server within {invitation.orphan:g} s")
            if refusal := self._transport.refusal("ctl", RUN_SERVER):
                raise AuthenticationError(refusal)
            self._register(time.monotonic())
            for received in self._transport.receive(_TURN):
                message = received.message
                if isinstance(message, Refuse) and message.rid == self._hello_id:
                    raise error_of(message.code, f"the run server refused: {message.text}")
                if isinstance(message, Welcome):
                    self._contact.receive(message, time.monotonic())
                else:
                    orders.append(received)
        return orders

    def _register(self, now: float) -> None:
        """Send `Hello` where it is due: at the start, and while the run server is silent."""
        if self._contact.tick(now):
            hello = Hello(
                rid=self._hello_id,
                role="host",
                token=self._transport.options.token,
                schema=schema_hash("host"),
                pid=os.getpid(),
                host=socket.gethostname(),
                features=[] if self._files is None else [APART],
            )
            self._transport.try_send("ctl", RUN_SERVER, hello)

    # --- running ---------------------------------------------------------------------------------------------------------------------

    def _handle(self, message: Message, arrays: Mapping[str, Any]) -> None:
        self._contact.receive(message, time.monotonic())
        if self._files is not None and self._files.receive(message, arrays, time.monotonic()):
            return
        if isinstance(message, StartNode):
            self._nodes.start(message)
            self._sampled = 0.0  # so that even the shortest process is sampled once
        elif isinstance(message, StopNode):
            self._nodes.signal(message.node, signal.SIGKILL if message.now else signal.SIGTERM)
        elif isinstance(message, SignalNode):
            self._nodes.signal(message.node, SIGNALS[message.signal], message.incarnation)
        elif isinstance(message, NodeEndedAck):
            self._nodes.acknowledged(message.node, message.incarnation)
        elif isinstance(message, Command):
            self._transport.try_send("ctl", RUN_SERVER, CommandAck(id=message.id))
            if message.op == "stop":
                self.ask_to_end("the run is over")
        elif isinstance(message, Refuse) and message.rid == self._hello_id:
            self.ask_to_end(f"the run server refused: {message.text}")
            self._exit_code = ExitCode.ABORTED
        elif not isinstance(message, HeartbeatAck | Welcome):
            logger.debug("ignored %s", type(message).__name__)

    def _turn(self, now: float) -> None:
        self._nodes.watch(now)
        if self._files is not None:
            self._files.turn(self._transport, now)
        if now - self._sampled >= PERIOD:
            self._sampled = now
            self._measure()
        self._register(now)
        if self._asked_to_end is None and now - self._contact.answered > self._invitation.orphan:
            self.ask_to_end(f"no word from the run server for {self._invitation.orphan:g} s")
            self._exit_code = ExitCode.ABORTED

    def _heartbeat(self) -> None:
        memory, processes = psutil.Process().memory_info().rss, self._states.look(self._nodes.living)
        beat = Heartbeat(phase="host", memory=memory, processes=processes, **wait_fields(self._waits.report()))
        self._transport.send("ctl", RUN_SERVER, beat)

    def _measure(self) -> None:
        self._usage.sample(self._nodes.living)
        try:
            self._usage.write()
        except OSError as error:
            logger.warning("usage is not written: %s", error)


def main() -> int:
    """Lead a host to its end; the invitation is on standard input (argument `-`)."""
    text = sys.stdin.readline(_INVITATION_LIMIT)
    logs.configure()
    if hasattr(signal, "SIGQUIT"):
        faulthandler.register(signal.SIGQUIT, all_threads=True)
    try:
        invitation = placed(Invitation.from_json(text))
        _forget_main_module()
        os.environ.setdefault(MARK, invitation.directory)  # where the engine has set no other
        keys = KeyPair.make() if invitation.server_key else None
        token = read_token(Path(invitation.token_file)) if invitation.token_file else ""
        transport = Transport(Identity(invitation.run, invitation.host, role="host"), TransportOptions(keys=keys, token=token))
        try:
            host = Host(invitation, transport)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda n, _: host.ask_to_end(f"signal {n}"))
            if keys is not None:
                _announce(keys.public)
            known = invitation.advertise or invitation.bind
            logger.info("joins the run server at %s; nodes here are bound to %s, known as %s", invitation.control, invitation.bind, known)
            transport.connect("ctl", RUN_SERVER, invitation.control, invitation.server_key)
            return host.run()
        finally:
            transport.close(linger=0.5)
    except MurmurationError as error:
        logger.error("%s", error)
        return int(error.exit_code)


def _announce(key: str) -> None:
    """Print the public key on standard output; all later output goes to the log, since standard output is not read further."""
    sys.stdout.flush()
    os.write(1, announcement(key))
    os.dup2(2, 1)


def _forget_main_module() -> None:
    """Keep `multiprocessing` from importing this program's main module (a command line) again in every node."""
    main_module = sys.modules["__main__"]
    main_module.__spec__ = None
    vars(main_module).pop("__file__", None)


if __name__ == "__main__":
    if sys.argv[1:] == [WITH_PARENT]:
        die_with_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's threads block SIGINT, and children inherit that
    sys.exit(main())
