"""The engine for this machine: each host is a child process in a session of its own. Usually there is one; several rehearse what happens on
several machines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.config import Configuration
from orchestrator.launch.base import HostHandle, HostPhase, HostState, Invitation, announced
from orchestrator.launch.gpus import visible_gpus
from orchestrator.launch.placement import Slot
from orchestrator.launch.processes import available_cores
from orchestrator.launch.settings import host_names
from orchestrator.sweep import MARK
from protocols.errors import ResourceError

_REAP = 5.0
_LONGEST_WORD = 4096
"""bytes of a host's standard output in which its key is looked for"""


@dataclass
class LocalHost(HostHandle):
    """A host with its process; the session's number is the process's."""

    process: subprocess.Popen[bytes] | None = None
    said: bytes = b""
    """the beginning of its standard output, where it says its key"""


class LocalEngine:
    """Starts hosts here, each with an equal part of the cores and the memory."""

    name = "local"
    waiting = ""

    def __init__(self, directory: Path) -> None:
        self._hosts: list[LocalHost] = []
        self._names: list[str] = []

    def problems(self, configuration: Configuration) -> list[str]:
        """This machine is always there."""
        return []

    def address(self, configuration: Configuration) -> str:
        """Nothing leaves this machine."""
        return "127.0.0.1"

    def request(self, configuration: Configuration, nodes: int) -> None:
        """It is there already."""
        self._names = host_names(configuration.launch) or []

    def granted(self) -> Sequence[Slot]:
        """One slot, this machine: or `launch.hosts` of them, `local-0` and so on."""
        count = len(self._names)
        cores, memory = available_cores() / count, int(psutil.virtual_memory().total) // count
        gpus = len(visible_gpus())
        return [Slot(name, cores, memory, gpus // count) for name in self._names]

    def start_host(self, slot: Slot, invitation: Invitation, log: Path) -> LocalHost:
        """Start the host as a child in a new session, with its invitation on standard input. Where it has a key, it says it on its standard
        output, which otherwise goes to the log too."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "orchestrator.launch.host", "-"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if invitation.server_key else output,
                    stderr=output,
                    start_new_session=True,
                    env={**os.environ, MARK: invitation.directory},
                )
            except OSError as error:
                raise ResourceError(f"can't start a host process with {sys.executable}: {error.strerror}") from None
        host = LocalHost(invitation.host, slot, process.pid, process)
        self._hosts.append(host)
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        pipe = process.stdin
        if pipe is not None:
            # The invitation is far smaller than a pipe's buffer, so this can't block; a host that died at once is seen by `poll`.
            with contextlib.suppress(BrokenPipeError), pipe:
                pipe.write(invitation.to_json().encode() + b"\n")
        return host

    def poll(self, host: HostHandle) -> HostState:
        """From the child's status."""
        process = self._process(host)
        code = process.poll() if process is not None else None
        key = self._key(host) if isinstance(host, LocalHost) else ""
        living = process is not None and code is None
        return HostState(HostPhase.RUNNING, key=key) if living else HostState(HostPhase.ENDED, code, key)

    def end(self, host: HostHandle, now: bool) -> None:
        """SIGTERM to the host, or SIGKILL to every process of its session."""
        process = self._process(host)
        if process is None or process.poll() is not None:
            return
        if now:
            kill_session(process.pid)
        else:
            process.terminate()

    def release(self) -> list[str]:
        """Kill what still runs and collect it. What a former run server has left is swept by its marks, as on every engine."""
        for host in self._hosts:
            process = host.process
            if process is None:
                continue
            if process.poll() is None:
                kill_session(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_REAP)
            if process.stdout is not None:
                process.stdout.close()
        return []

    def _key(self, host: LocalHost) -> str:
        """The public key that the host has said, if it has; then nothing more is read."""
        pipe = host.process.stdout if host.process is not None else None
        if pipe is None:
            return ""
        if not announced(host.said) and len(host.said) < _LONGEST_WORD:
            with contextlib.suppress(BlockingIOError):
                host.said += os.read(pipe.fileno(), _LONGEST_WORD)
        return announced(host.said)

    def _process(self, host: HostHandle) -> subprocess.Popen[bytes] | None:
        return host.process if isinstance(host, LocalHost) else None


def kill_session(leader: int) -> None:
    """SIGKILL every process of the session that `leader` leads. The leader must be a child that was not collected yet, so that its number
    can't have been reused."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if process.pid != leader and os.getsid(process.pid) == leader:
                process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGKILL)
