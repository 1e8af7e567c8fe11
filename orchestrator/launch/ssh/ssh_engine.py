"""The engine for a handful of machines of one's own: a list, and the user's own ssh. It schedules nothing and counts nothing.

    start_host   ssh MACHINE python -m orchestrator.launch.host.host_process        the channel: invitation in, public key and log out
    poll         the channel's end, where it is the program's own; else a second ssh looks (`remote_task`)
    end, release a second ssh, which requests the host's end, or kills all that bears its mark

**A channel that breaks ends nothing**: the host goes on, and only the run server's silence for `supervision.orphan` ends it. So an ssh
without exit status of the program is no success, and no loss either: the host counts as running until a second ssh has found it gone, or
the run server has no message of it for `supervision.dead`. ssh's own way to send signals is not used: servers ignore it in places.

`ssh.json` in the run's directory names each host before it is started, so that a later run server can end it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from orchestrator import __version__
from orchestrator.config.configuration import Configuration
from orchestrator.launch.addresses import address_towards
from orchestrator.launch.engine import Engine, HostHandle, HostPhase, HostState, Invitation
from orchestrator.launch.engine_commands import BackgroundCommand, Channel, CommandAnswer, wait_for_all
from orchestrator.launch.launch_settings import SshHostSettings, SshSettings
from orchestrator.launch.placement import Slot
from orchestrator.launch.process_control import HOST_MODULE, MARK
from orchestrator.launch.ssh.remote_task import TASK_MODULE, read_answer, sources_digest
from orchestrator.results.run_files import write_json
from protocols.runtime.errors import ResourceError

NO_WAY = 255
"""exit code of ssh where the connection failed, or broke, or the program there was killed: not the program's own"""
_OPTIONS = {
    "BatchMode": "yes",  # no user is there to type a password
    "ConnectTimeout": "5",
    "ServerAliveInterval": "5",  # a machine that is gone is noticed after 15 s
    "ServerAliveCountMax": "3",
    "ControlMaster": "no",  # use a connection that is there, but make none that outlives this run
    "ClearAllForwardings": "yes",
    "RemoteCommand": "none",
    "RequestTTY": "no",
}
_TILDE = re.compile(r"~[\w.-]*/")
_LONGEST_PROBE = 15.0
_CALL = 12.0
"""seconds that a second ssh may take"""
_AGAIN = 5.0
"""seconds after which it is tried again"""
_URGENCY = ("", "look", "end", "kill")
_RESOLVE = 5.0
_NOT_FOUND = (126, 127)


@dataclass(frozen=True)
class SshMachine:
    """Address and options with which ssh reaches one machine; stored in a file for a later run server."""

    name: str
    ssh: str
    python: str
    options: tuple[str, ...] = ()

    @staticmethod
    def of(host: SshHostSettings, settings: SshSettings) -> SshMachine:
        """The machine of one entry of `launch.ssh.hosts`, with the common settings."""
        return SshMachine(host.name, host.ssh, host.python, tuple(settings.options))

    def command(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """The ssh command that runs a module of this package there. Nothing secret may be in it. The user's options come first: of several
        values of one option ssh takes the first."""
        ours = [word for name, value in _OPTIONS.items() for word in ("-o", f"{name}={value}")]
        words = [f"{name}={value}" for name, value in (environment or {}).items()]
        # `exec`, so that no shell stays between ssh and the program, whose end is then that of the connection. `-P`: a folder of the home
        # directory can't take the place of a module.
        there = f"exec env {shlex.join(words)} " if words else "exec "
        there += f"{quoted(self.python)} {shlex.join(['-P', '-m', module, *arguments])}"
        return ["ssh", *self.options, *ours, "--", self.ssh, there]

    def call(self, arguments: Sequence[str], patience: float, directory: Path) -> BackgroundCommand:
        """A task there, under way; see `remote_task`."""
        return BackgroundCommand(self.command(TASK_MODULE, *arguments), patience, client_environment(directory))


def quoted(path: str) -> str:
    """For the shell there, which puts a home directory in the place of a leading `~`."""
    tilde = _TILDE.match(path)
    return path[: tilde.end()] + shlex.quote(path[tilde.end() :]) if tilde else shlex.quote(path)


def client_environment(directory: Path) -> dict[str, str]:
    """With the run's mark, by which a client is found that a killed run server has left."""
    return {**os.environ, MARK: str(directory.resolve())}


def found(answer: CommandAnswer) -> dict[str, Any] | None:
    """The output of a task; None without any."""
    return read_answer(answer.output) if answer.code == 0 else None


def complaint(answer: CommandAnswer) -> str:
    """Why there is no output: the last line of the errors."""
    lines = answer.errors.strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {answer.code}"


@dataclass
class SshHost(HostHandle):
    """A host with its channel, and what is wanted of it by a second ssh."""

    machine: SshMachine
    mark: str
    channel: Channel
    wanted: str = ""
    due: float = 0.0
    call: BackgroundCommand | None = None
    final: HostState | None = None
    """how it ended, once that is known"""


class SshEngine(Engine[SshHost]):
    """Starts a host on every machine of `launch.ssh.hosts`."""

    name = "ssh"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._notes = self.directory / "ssh.json"
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
        answers = wait_for_all([machine.call(["about"], connect_timeout, self.directory) for machine in machines])
        self._found = {m.name: about for m, answer in zip(machines, answers, strict=True) if (about := found(answer)) is not None}
        return complaints(configuration, machines, answers)

    def address(self, configuration: Configuration) -> str:
        """That from which the machines were called, where it is one of this machine's."""
        self._ask(configuration)
        return address_for(configuration, [str(about.get("called_from", "")) for about in self._found.values()])

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
        mark = secrets.token_hex(16)
        self._write_notes([*self._read_notes(), (mark, machine)])
        command = machine.command(HOST_MODULE, environment={MARK: mark})
        # That its input ends is nothing to the host.
        channel = Channel(command, invitation, log, client_environment(self.directory))
        host = SshHost(invitation.host, slot, machine, mark, channel)
        self.hosts.append(host)
        return host

    def poll(self, host: SshHost) -> HostState:
        """Running as long as nothing else is known for certain."""
        key = host.channel.key()
        if host.final is None:
            code = host.channel.process.poll()
            if code is not None and 0 <= code != NO_WAY:
                host.final = HostState(HostPhase.ENDED, code, key)
                self._drop_call(host)
            elif code is not None:
                self._want(host, "look")
            self._go_on(host)
        return host.final or HostState(HostPhase.RUNNING, key=key)

    def end(self, host: SshHost, now: bool) -> None:
        """By a second ssh, tried again until it gets through."""
        if self.poll(host).phase != HostPhase.RUNNING:
            return
        if not host.channel.key():
            host.channel.process.kill()  # nothing runs there yet, as far as is known
        self._want(host, "kill" if now else "end")
        self._go_on(host)

    def release(self) -> list[str]:
        """Kill what a second ssh can reach, of former run servers too; then no channel is left here."""
        for host in self.hosts:
            self._drop_call(host)
        ended = {host.mark for host in self.hosts if host.final is not None}
        notes = [(mark, machine) for mark, machine in self._read_notes() if mark not in ended]
        # All at once, so that one machine without answer does not hold up the others.
        answers = wait_for_all([machine.call(["kill", mark], _CALL, self.directory) for mark, machine in notes])
        left = [(note, answer) for note, answer in zip(notes, answers, strict=True) if not (found(answer) or {}).get("gone")]
        for host in self.hosts:
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
            if host.wanted and now >= host.due:
                host.call = host.machine.call([host.wanted, host.mark], _CALL, self.directory)
            return
        answer = host.call.answer()
        if answer is None:
            return
        host.call, host.due = None, now + _AGAIN
        there = found(answer)
        if there is None:
            return  # unreachable: nothing is known, and it is asked again
        if there.get("gone"):
            key = host.channel.key()
            if host.wanted == "kill":
                host.final = HostState(HostPhase.ENDED, -int(signal.SIGKILL), key)
            else:
                host.final = HostState(HostPhase.LOST, None, key, "its process is gone, and its exit code is unknown")
        elif host.wanted == "end":
            host.wanted = ""  # it is requested; its channel shows when it is done

    def _drop_call(self, host: SshHost) -> None:
        if host.call is not None:
            host.call.drop()
            host.call = None

    # --- what is known ------------------------------------------------------------------------------------------------------------

    def _read_notes(self) -> list[tuple[str, SshMachine]]:
        """Mark and machine of every host that may still be there. Notes of other users are not trusted: they name what is to be run."""
        try:
            if self._notes.stat().st_uid != os.getuid():
                return []
            entries = json.loads(self._notes.read_text(encoding="utf-8"))
            return [(str(entry["mark"]), msgspec.convert(entry, SshMachine)) for entry in entries]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def _write_notes(self, notes: Sequence[tuple[str, SshMachine]]) -> None:
        if notes:
            write_json(self._notes, [{"mark": mark, **asdict(machine)} for mark, machine in notes], private=True)
        else:
            self._notes.unlink(missing_ok=True)


def _what_is_left(mark: str, machine: SshMachine, answer: CommandAnswer) -> str:
    command = shlex.join(machine.command(TASK_MODULE, "kill", mark))
    return (
        f"the host {machine.name} ({machine.ssh}) could not be reached ({complaint(answer)}): what runs there ends by itself once the run "
        f"server was silent for supervision.orphan; at once with: {command}"
    )


# --- what is wrong, and where this machine is -----------------------------------------------------------------------------------------


def complaints(configuration: Configuration, machines: Sequence[SshMachine], answers: Sequence[CommandAnswer]) -> list[str]:
    """What would fail, one text a machine."""
    ours, connect_timeout = sources_digest(), configuration.launch.ssh.connect_timeout
    texts = [_problem(machine, answer, ours, connect_timeout) for machine, answer in zip(machines, answers, strict=True)]
    return [f"host {machine.name} (ssh {machine.ssh}): {text}" for machine, text in zip(machines, texts, strict=True) if text]


def _problem(machine: SshMachine, answer: CommandAnswer, ours: str, connect_timeout: float) -> str:
    said, reinstall = complaint(answer), f"install the version of this machine there, in the environment of {machine.python}"
    if (about := found(answer)) is not None:
        version, sources = about.get("version"), about.get("sources")
        if version != __version__:
            return f"it has version {version} of this package, this machine {__version__}; {reinstall}"
        differs = f"its version {version} of this package has other modules than this machine's (digest {sources}, here {ours})"
        return "" if sources == ours else f"{differs}; {reinstall}"
    if answer.code is None:
        return f"{said}; try by hand: ssh -o BatchMode=yes {machine.ssh} true. launch.ssh.connect_timeout is {connect_timeout:g} s"
    if answer.code == NO_WAY:
        return f"{said.rstrip('.')}; this must work without a question: ssh -o BatchMode=yes {machine.ssh} true"
    if answer.code in _NOT_FOUND:
        return f"there is no {machine.python} ({said}); write launch.ssh.hosts.python, the Python in which this package is installed there"
    if "No module named" in said or "Error while finding module" in said:
        return f"{machine.python} there lacks this package or what it needs ({said}); {reinstall}"
    return f"{machine.python} there can't run this package ({said}); {reinstall}"


def address_for(configuration: Configuration, called_from: Sequence[str]) -> str:
    """The address of this machine by which the others reach it: that from which they were called, where it is ours, else the one
    from which datagrams to them would leave. `ResourceError` where these differ."""
    own = {address.address.partition("%")[0] for card in psutil.net_if_addrs().values() for address in card}
    # Behind a jump host or translated addresses they were called from somewhere else.
    ours = {address for address in called_from if address in own and not ipaddress.ip_address(address).is_link_local}
    if not ours or "" in called_from:
        settings = configuration.launch.ssh
        ours |= {address_towards(_name_behind(host.ssh, settings.options)) for host in settings.hosts}
    outside = {address for address in ours if not ipaddress.ip_address(address).is_loopback}
    if len(outside) > 1:
        raise ResourceError(
            f"the machines reach this one by several addresses ({', '.join(sorted(outside))}): write network.bind=0.0.0.0, and in "
            "network.advertise one address or name by which all of them reach it"
        )
    return (outside or ours).pop()


def _name_behind(destination: str, options: Sequence[str]) -> str:
    """Host name or address that ssh would connect to."""
    answer = BackgroundCommand(["ssh", "-G", *options, "--", destination], _RESOLVE, os.environ).wait()
    names = [line.split(" ", 1)[1] for line in answer.output.splitlines() if line.startswith("hostname ")]
    return names[0] if names else destination.rpartition("@")[2]
