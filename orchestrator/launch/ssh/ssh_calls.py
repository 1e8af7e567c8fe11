"""Command lines for the user's own ssh, calls that are waited for without blocking, and the checks of machines before a run."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator import __version__
from orchestrator.config.configuration import Configuration
from orchestrator.launch.addresses import address_towards
from orchestrator.launch.launch_settings import SshHostSettings, SshSettings
from orchestrator.launch.process_control import MARK
from orchestrator.launch.ssh.remote_task import answer, sources_digest
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


@dataclass(frozen=True)
class SshMachine:
    """Address and options with which ssh reaches one machine; stored in a file (`fields`) for a later run server."""

    name: str
    ssh: str
    python: str
    options: tuple[str, ...] = ()

    @staticmethod
    def of(host: SshHostSettings, settings: SshSettings) -> SshMachine:
        """The machine of one entry of `launch.ssh.hosts`, with the common settings."""
        return SshMachine(host.name, host.ssh, host.python, tuple(settings.options))

    @staticmethod
    def read(fields: Mapping[str, Any]) -> SshMachine:
        """The inverse of `fields`."""
        return SshMachine(str(fields["name"]), str(fields["ssh"]), str(fields["python"]), tuple(map(str, fields["options"])))

    def fields(self) -> dict[str, Any]:
        """All fields as JSON values; `read` is the inverse."""
        return asdict(self)

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


def quoted(path: str) -> str:
    """For the shell there, which puts a home directory in the place of a leading `~`."""
    tilde = _TILDE.match(path)
    return path[: tilde.end()] + shlex.quote(path[tilde.end() :]) if tilde else shlex.quote(path)


def client_environment(directory: Path) -> dict[str, str]:
    """With the run's mark, by which a client is found that a killed run server has left."""
    return {**os.environ, MARK: str(directory.resolve())}


@dataclass(frozen=True)
class SshAnswer:
    """What came of a call: `found` is the output of the task, None without any, and then `complaint` why not."""

    found: dict[str, Any] | None
    code: int | None
    """exit code; None: the call took too long"""
    complaint: str = ""


class SshCall:
    """One errand on another machine, under way."""

    def __init__(self, machine: SshMachine, arguments: Sequence[str], patience: float, directory: Path) -> None:
        self.machine = machine
        self._patience = patience
        self._deadline = time.monotonic() + patience
        self._said, self._complaints = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._answer: SshAnswer | None = None
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                machine.command("orchestrator.launch.ssh.remote_task", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._complaints,
                start_new_session=True,
                env=client_environment(directory),
            )
        except OSError as error:
            self._process = None
            self._finish(SshAnswer(None, None, f"can't start ssh: {error.strerror}"))

    def poll(self) -> SshAnswer | None:
        """What came of it, None as long as it is under way."""
        if self._answer is None and self._process is not None:
            code = self._process.poll()
            if code is not None:
                self._said.seek(0)
                self._complaints.seek(0)
                found = answer(self._said.read()) if code == 0 else None
                lines = self._complaints.read().decode(errors="replace").strip().splitlines()
                self._finish(SshAnswer(found, code, lines[-1].strip() if lines else f"exit code {code}"))
            elif time.monotonic() > self._deadline:
                self.close()
                self._finish(SshAnswer(None, None, f"no answer within {self._patience:g} s"))
        return self._answer

    def close(self) -> None:
        """Give it up, where it is still under way."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._said.close()
        self._complaints.close()

    def _finish(self, answer: SshAnswer) -> None:
        self._answer = answer
        self.close()


def call_all(calls: Sequence[SshCall]) -> list[SshAnswer]:
    """Wait for all; each ends by its own patience at the latest."""
    answers: dict[int, SshAnswer] = {}
    try:
        while len(answers) < len(calls):
            for number, call in enumerate(calls):
                found = call.poll() if number not in answers else None
                if found is not None:
                    answers[number] = found
            time.sleep(0.02)
    finally:
        for call in calls:
            call.close()
    return [answers[number] for number in range(len(calls))]


_RESOLVE = 5.0
_NOT_FOUND = (126, 127)


def complaints(configuration: Configuration, machines: Sequence[SshMachine], answers: Sequence[SshAnswer]) -> list[str]:
    """What would fail, one text a machine."""
    found = []
    ours = sources_digest()
    for machine, said in zip(machines, answers, strict=True):
        if text := _complaint(machine, said, ours, configuration.launch.ssh.connect_timeout):
            found.append(f"host {machine.name} (ssh {machine.ssh}): {text}")
    return found


def _complaint(machine: SshMachine, answer: SshAnswer, ours: str, connect_timeout: float) -> str:
    said, reinstall = answer.complaint, f"install the version of this machine there, in the environment of {machine.python}"
    if answer.found is not None:
        version, sources = answer.found.get("version"), answer.found.get("sources")
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
    try:
        done = subprocess.run(["ssh", "-G", *options, "--", destination], capture_output=True, text=True, timeout=_RESOLVE, check=True)
    except (OSError, subprocess.SubprocessError):
        return destination.rpartition("@")[2]
    names = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.startswith("hostname ")]
    return names[0] if names else destination.rpartition("@")[2]
