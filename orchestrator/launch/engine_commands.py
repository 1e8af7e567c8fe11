"""Commands that engines call: ssh, srun, sbatch, or the host program itself.

A channel leads to one host: the invitation goes in, and the host's public key comes out.

    run server --invitation (standard input, then its end)--> command: the host program, or what leads to it
               <--first lines of its standard output: its public key-- ; standard error, and all later output, is its log

Any other command is called in the background with a deadline, so that nothing waits for it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.launch.engine import Invitation, announced
from protocols.runtime.errors import ResourceError

_LONGEST_WORD = 4096
"""bytes of the standard output in which the host's key is looked for"""
_REAP = 5.0


class Channel:
    """A child process, leader of a session of its own, through which this process talks with one host."""

    def __init__(
        self, command: Sequence[str], invitation: Invitation, log: Path, environment: Mapping[str, str], listens: bool = True
    ) -> None:
        """Start the command and write the invitation; nothing is waited for. Its output is appended to `log`; unless it `listens`, the
        standard output too, and no key is read. `ResourceError` where it can't be started."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if listens else output,
                    stderr=output,
                    start_new_session=True,
                    env=dict(environment),
                )
            except OSError as error:
                raise ResourceError(f"can't start {command[0]}: {error.strerror}") from None
        self.said = b""
        """the beginning of its standard output"""
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)
        if self.process.stdin is not None:
            # The invitation is far smaller than a pipe's buffer, so this can't block; a command that died at once is seen by `poll`.
            with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
                pipe.write(invitation.to_json().encode() + b"\n")

    def key(self) -> str:
        """The public key that the host has printed, if it has; then nothing more is read."""
        pipe = self.process.stdout
        if pipe is not None and not pipe.closed and not announced(self.said) and len(self.said) < _LONGEST_WORD:
            with contextlib.suppress(BlockingIOError):
                self.said += os.read(pipe.fileno(), _LONGEST_WORD)
        return announced(self.said)

    def close(self) -> None:
        """Kill the command if it still runs, collect it, and read no more."""
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(frozen=True)
class CommandAnswer:
    """What came of a command. `code`: its exit code, None where it did not end in time, 127 where it could not be started."""

    code: int | None
    output: str
    errors: str


class BackgroundCommand:
    """One command, leader of a session of its own: `answer()` is None until it has ended, or its time is over and it was killed."""

    def __init__(self, command: Sequence[str], patience: float, environment: Mapping[str, str], text: str = "") -> None:
        """Start it with `text` on its standard input; it has `patience` seconds."""
        self._answer: CommandAnswer | None = None
        self._patience, self._deadline = patience, time.monotonic() + patience
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed in `_collect`
        try:
            with tempfile.TemporaryFile() as given:
                given.write(text.encode())
                given.seek(0)
                self._process = subprocess.Popen(
                    command, stdin=given, stdout=self._output, stderr=self._errors, start_new_session=True, env=dict(environment)
                )
        except OSError as error:
            self._output.close()
            self._errors.close()
            self._answer = CommandAnswer(127, "", f"can't start {command[0]}: {error.strerror}")

    def answer(self) -> CommandAnswer | None:
        """The answer, if the command has ended; None before. Does not wait."""
        if self._answer is None and (self._process.poll() is not None or time.monotonic() > self._deadline):
            self.drop()
        return self._answer

    def wait(self) -> CommandAnswer:
        """Until it has answered, or its time is over."""
        while (answer := self.answer()) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, self._deadline - time.monotonic()) + 0.01)
        return answer

    def drop(self) -> None:
        """Collect what it has answered; one that still runs is killed."""
        if self._answer is not None:
            return
        code = self._process.poll()
        if code is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REAP)
        texts = []
        for file in (self._output, self._errors):
            with file:
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        late = f"\nno answer within {self._patience:g} s" if code is None else ""
        self._answer = CommandAnswer(code, texts[0], texts[1] + late)


def wait_for_all(commands: Sequence[BackgroundCommand]) -> list[CommandAnswer]:
    """The answers of commands that run side by side, in order."""
    try:
        return [command.wait() for command in commands]
    finally:
        for command in commands:
            command.drop()
