"""The engine for this machine: each host is a child process in a session of its own. Usually there is one; several rehearse what happens on
several machines."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import Engine, HostHandle, HostPhase, HostState, Invitation
from orchestrator.launch.engine_commands import Channel
from orchestrator.launch.host.host_resources import visible_gpus
from orchestrator.launch.placement import Slot
from orchestrator.launch.process_control import HOST_MODULE, MARK, ProcessRecord, available_cores, is_running


@dataclass
class LocalHost(HostHandle):
    """A host with its process; the session's number is the process's. One of these is None: a host is a child of this process, or was
    started by an earlier run server."""

    channel: Channel | None = None
    adopted: ProcessRecord | None = None


class LocalEngine(Engine[LocalHost]):
    """Starts hosts here, each with an equal part of the cores and the memory."""

    name = "local"
    adopts = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._names: list[str] = []

    def address(self, configuration: Configuration) -> str:
        """The loopback address, since no message leaves this machine."""
        return "127.0.0.1"

    def request(self, configuration: Configuration, nodes: int) -> None:
        """Nothing to do: this machine is available at once."""
        self._names = configuration.launch.host_names() or []

    def granted(self) -> Sequence[Slot]:
        """One slot, this machine: or `launch.hosts` of them, `local-0` and so on."""
        count = len(self._names)
        cores, memory = available_cores() / count, int(psutil.virtual_memory().total) // count
        gpus = len(visible_gpus())
        return [Slot(name, cores, memory, gpus // count) for name in self._names]

    def start_host(self, slot: Slot, invitation: Invitation, log: Path) -> LocalHost:
        """Start the host as a child in a new session, with its invitation on standard input. If it has a key, it prints it on its standard
        output, which otherwise goes to the log too."""
        command = [sys.executable, "-m", HOST_MODULE]
        channel = Channel(command, invitation, log, {**os.environ, MARK: invitation.directory}, listens=bool(invitation.server_key))
        host = LocalHost(invitation.host, slot, channel)
        self.hosts.append(host)
        return host

    def adopt(self, slot: Slot, process: ProcessRecord) -> LocalHost:
        """Take over a host of this machine."""
        host = LocalHost(slot.name, slot, adopted=process)
        self.hosts.append(host)
        return host

    def poll(self, host: LocalHost) -> HostState:
        """State of the process: running, or ended with its exit code, which is unknown of a host that was taken over."""
        if host.channel is None:
            running = host.adopted is not None and is_running(host.adopted)
            return HostState(HostPhase.RUNNING if running else HostPhase.ENDED)
        code, key = host.channel.process.poll(), host.channel.key()
        return HostState(HostPhase.RUNNING, key=key) if code is None else HostState(HostPhase.ENDED, code, key)

    def end(self, host: LocalHost, now: bool) -> None:
        """SIGTERM to the host, or SIGKILL to every process of its session."""
        if self.poll(host).phase == HostPhase.ENDED:
            return
        pid = host.channel.process.pid if host.channel is not None else host.adopted.pid if host.adopted is not None else 0
        if now:
            kill_session(pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def release(self) -> list[str]:
        """Kill what still runs and collect it. What a former run server has left is swept by its marks, as on every engine."""
        for host in self.hosts:
            self.end(host, now=True)
            if host.channel is not None:
                host.channel.close()
        return []


def kill_session(leader: int) -> None:
    """SIGKILL every process of the session that `leader` leads. The leader must be a child that was not collected yet, or have been seen
    alive a moment ago, so that its number can't have been reused."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if process.pid != leader and os.getsid(process.pid) == leader:
                process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGKILL)
