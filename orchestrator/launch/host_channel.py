"""The way to a host that an engine opens with a command: the invitation goes in, and the host's public key comes out.

run server --invitation (standard input, then its end)--> command: the host program, or what leads to it
           <--first lines of its standard output: its public key-- ; standard error, and all later output, is its log
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
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

    @property
    def pid(self) -> int:
        """Number of the process, and of its session."""
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code of the command, or the negative number of the signal that ended it; None while it runs."""
        return self.process.poll()

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
