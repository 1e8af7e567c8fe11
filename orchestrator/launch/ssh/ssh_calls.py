"""Command lines for the user's own ssh, and calls by it that are waited for without blocking."""

from __future__ import annotations

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

from orchestrator.launch.launch_settings import SshHostSettings, SshSettings
from orchestrator.launch.leftover_processes import MARK
from orchestrator.launch.ssh.remote_task import answer

NO_WAY = 255
"""exit code of ssh where the connection failed, or broke, or the program there was killed: not the program's own"""
_OPTIONS = {
    "BatchMode": "yes",  # nobody is there to type a password
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
    """How one machine is reached; what a later run server needs to know of it too."""

    name: str
    ssh: str
    python: str
    options: tuple[str, ...] = ()

    @staticmethod
    def of(host: SshHostSettings, settings: SshSettings) -> SshMachine:
        """From the configuration."""
        return SshMachine(host.name, host.ssh, host.python, tuple(settings.options))

    @staticmethod
    def read(fields: Mapping[str, Any]) -> SshMachine:
        """What `fields` said."""
        return SshMachine(str(fields["name"]), str(fields["ssh"]), str(fields["python"]), tuple(map(str, fields["options"])))

    def fields(self) -> dict[str, Any]:
        """For a file."""
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
    """What came of a call: `found` is what the errand has said, None where it has said nothing, and then `complaint` why not."""

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
