"""The engine for a handful of machines of one's own: a list, and the user's own ssh. It schedules nothing and counts nothing.

    start_host   ssh MACHINE python -m orchestrator.launch.host.host_process -      the channel: invitation in, public key and log out
    poll         the channel's end, where it is the program's own; else a second ssh looks (`errand`)
    end, release a second ssh, which requests the host's end, or kills all that bears its mark

**A channel that breaks ends nothing**: the host goes on, and only the run server's silence for `supervision.orphan` ends it. So an ssh
without exit status of the program is no success, and no loss either: the host counts as running until a second ssh has found it gone, or
the run server has no message of it for `supervision.dead`. ssh's own way to send signals is not used: servers ignore it in places.

`ssh.json` in the run's directory names each host before it is started, so that a later run server can end it.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine import HostHandle, HostPhase, HostState, Invitation
from orchestrator.launch.host_channel import Channel
from orchestrator.launch.placement import Slot
from orchestrator.launch.process_control import MARK
from orchestrator.launch.ssh.remote_task import HOST_MODULE
from orchestrator.launch.ssh.ssh_calls import NO_WAY, SshAnswer, SshCall, SshMachine, address_for, call_all, client_environment, complaints
from orchestrator.results.run_files import write_json
from protocols.runtime.errors import ResourceError

_LONGEST_PROBE = 15.0
_CALL = 12.0
"""seconds that a second ssh may take"""
_AGAIN = 5.0
"""seconds after which it is tried again"""
_URGENCY = ("", "look", "end", "kill")


@dataclass
class SshHost(HostHandle):
    """A host with its channel, and what is wanted of it by a second ssh."""

    machine: SshMachine | None = None
    mark: str = ""
    channel: Channel | None = None
    wanted: str = ""
    due: float = 0.0
    call: SshCall | None = None
    final: HostState | None = None
    """how it ended, once that is known"""


class SshEngine:
    """Starts a host on every machine of `launch.ssh.hosts`."""

    name = "ssh"
    waiting = ""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._notes = directory / "ssh.json"
        self._hosts: list[SshHost] = []
        self._configuration: Configuration | None = None
        self._found: dict[str, dict[str, Any]] = {}
        """what each machine reports of itself"""

    # --- before anything is started -----------------------------------------------------------------------------------------------

    def problems(self, configuration: Configuration) -> list[str]:
        """Asks every machine for itself, all at once: whether it answers, and has this version of this package."""
        settings = configuration.launch.ssh
        if shutil.which("ssh") is None:
            return ["launch.engine ssh needs the program ssh on this machine; install OpenSSH's client (Debian: openssh-client)"]
        if not settings.hosts:
            return ["launch.engine is ssh, and launch.ssh.hosts names no machine"]
        machines = [SshMachine.of(host, settings) for host in settings.hosts]
        connect_timeout = min(settings.connect_timeout, _LONGEST_PROBE)
        answers = call_all([SshCall(machine, ["about"], connect_timeout, self._directory) for machine in machines])
        self._found = {m.name: answer.found for m, answer in zip(machines, answers, strict=True) if answer.found is not None}
        return complaints(configuration, machines, answers)

    def address(self, configuration: Configuration) -> str:
        """That from which the machines were called, where it is one of this machine's."""
        self._ask(configuration)
        return address_for(configuration, [str(found.get("called_from", "")) for found in self._found.values()])

    def request(self, configuration: Configuration, nodes: int) -> None:
        """The machines are there, or `ResourceError`."""
        self._ask(configuration)

    def granted(self) -> Sequence[Slot]:
        """One slot for each machine, with what it has or what it may give."""
        if self._configuration is None:
            return ()
        return [
            Slot(
                host.name,
                host.cores if host.cores is not None else float(self._found[host.name]["cores"]),
                host.memory if host.memory is not None else int(self._found[host.name]["memory"]),
                host.gpus if host.gpus is not None else int(self._found[host.name]["gpus"]),
                dict(host.labels),
                host.bind,
                host.advertise,
            )
            for host in self._configuration.launch.ssh.hosts
        ]

    def _ask(self, configuration: Configuration) -> None:
        if not self._found and (problems := self.problems(configuration)):
            raise ResourceError("; ".join(problems))
        self._configuration = configuration

    # --- hosts --------------------------------------------------------------------------------------------------------------------

    def start_host(self, slot: Slot, invitation: Invitation, log: Path) -> SshHost:
        """Open the channel and send the invitation. All output after the key goes to the log."""
        if self._configuration is None:
            raise ResourceError("capacity was not asked for")
        settings = self._configuration.launch.ssh
        machine = SshMachine.of(next(host for host in settings.hosts if host.name == slot.name), settings)
        host = SshHost(invitation.host, slot, machine=machine, mark=secrets.token_hex(16))
        self._write_notes([*self._read_notes(), (host.mark, machine)])
        command = machine.command(HOST_MODULE, "-", environment={MARK: host.mark})
        # That its input ends is nothing to the host.
        host.channel = Channel(command, invitation, log, client_environment(self._directory))
        self._hosts.append(host)
        return host

    def poll(self, host: HostHandle) -> HostState:
        """Running as long as nothing else is known for certain."""
        if not isinstance(host, SshHost) or host.channel is None:
            return HostState(HostPhase.ENDED)
        key = host.channel.key()
        if host.final is None:
            code = host.channel.poll()
            if code is not None and 0 <= code != NO_WAY:
                host.final = HostState(HostPhase.ENDED, code, key)
                self._drop_call(host)
            elif code is not None:
                self._want(host, "look")
            self._go_on(host)
        return host.final or HostState(HostPhase.RUNNING, key=key)

    def end(self, host: HostHandle, now: bool) -> None:
        """By a second ssh, tried again until it gets through."""
        if not isinstance(host, SshHost) or host.channel is None or self.poll(host).phase != HostPhase.RUNNING:
            return
        if not host.channel.key():
            host.channel.process.kill()  # nothing runs there yet, as far as is known
        self._want(host, "kill" if now else "end")
        self._go_on(host)

    def release(self) -> list[str]:
        """Kill what a second ssh can reach, of former run servers too; then no channel is left here."""
        for host in self._hosts:
            self._drop_call(host)
        ended = {host.mark for host in self._hosts if host.channel is not None and host.final is not None}
        notes = [(mark, machine) for mark, machine in self._read_notes() if mark not in ended]
        # All at once, so that one machine without answer does not hold up the others.
        answers = call_all([SshCall(machine, ["kill", mark], _CALL, self._directory) for mark, machine in notes])
        left = [(note, answer) for note, answer in zip(notes, answers, strict=True) if not (answer.found or {}).get("gone")]
        for host in self._hosts:
            if host.channel is not None:
                host.channel.close()
        if notes or ended:
            self._write_notes([note for note, _ in left])
        return [_what_is_left(mark, machine, answer) for (mark, machine), answer in left]

    # --- the second ssh -----------------------------------------------------------------------------------------------------------

    def _want(self, host: SshHost, what: str) -> None:
        """Have something done there, unless more is wanted already."""
        if _URGENCY.index(what) > _URGENCY.index(host.wanted):
            self._drop_call(host)
            host.wanted, host.due = what, 0.0

    def _go_on(self, host: SshHost) -> None:
        """Start the call that is due, or take what came of it."""
        now = time.monotonic()
        if host.call is None:
            if host.wanted and now >= host.due and host.machine is not None:
                host.call = SshCall(host.machine, [host.wanted, host.mark], _CALL, self._directory)
            return
        answer = host.call.poll()
        if answer is None:
            return
        host.call, host.due = None, now + _AGAIN
        if answer.found is None:
            return  # unreachable: nothing is known, and it is asked again
        if answer.found.get("gone"):
            key = host.channel.key() if host.channel is not None else ""
            if host.wanted == "kill":
                host.final = HostState(HostPhase.ENDED, -int(signal.SIGKILL), key)
            else:
                host.final = HostState(HostPhase.LOST, None, key, "its process is gone, and its exit code is unknown")
        elif host.wanted == "end":
            host.wanted = ""  # it is requested; its channel shows when it is done

    def _drop_call(self, host: SshHost) -> None:
        if host.call is not None:
            host.call.close()
            host.call = None

    # --- what is known ------------------------------------------------------------------------------------------------------------

    def _read_notes(self) -> list[tuple[str, SshMachine]]:
        """Mark and machine of every host that may still be there. Notes of other users are not trusted: they name what is to be run."""
        try:
            if self._notes.stat().st_uid != os.getuid():
                return []
            entries = json.loads(self._notes.read_text(encoding="utf-8"))
            return [(str(entry["mark"]), SshMachine.read(entry)) for entry in entries]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def _write_notes(self, notes: Sequence[tuple[str, SshMachine]]) -> None:
        if notes:
            write_json(self._notes, [{"mark": mark, **machine.fields()} for mark, machine in notes], private=True)
        else:
            self._notes.unlink(missing_ok=True)


def _what_is_left(mark: str, machine: SshMachine, answer: SshAnswer) -> str:
    command = shlex.join(machine.command("orchestrator.launch.ssh.remote_task", "kill", mark))
    return (
        f"the host {machine.name} ({machine.ssh}) could not be reached ({answer.complaint}): what runs there ends by itself once the run "
        f"server was silent for supervision.orphan; at once with: {command}"
    )
