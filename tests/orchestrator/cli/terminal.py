"""A real pseudo-terminal for a command: its own session, a window of a given size, keys, and all that it wrote."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


class Terminal:
    """Runs a command with the terminal as its controlling one, so that Ctrl-C reaches it as it would a person's."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], columns: int = 120, lines: int = 40) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        kept = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**kept, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.raw = ""

    def read(self, seconds: float) -> bool:
        """Take what comes within that time; False when the terminal is closed."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)

    @property
    def text(self) -> str:
        """All that was written, without escapes."""
        return _ESCAPES.sub("", self.raw)

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Until that text was written."""
        end = time.monotonic() + seconds
        while text not in self.text:
            if time.monotonic() > end or not self.read(0.1):
                raise AssertionError(f"{text!r} was not written within {seconds:g} s, but:\n{self.text}")

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def wait(self, seconds: float = 30.0) -> int:
        """The exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        while self.read(0.0) and select.select([self._master], [], [], 0.0)[0]:
            pass
        return self.process.wait(0.1)

    def hang_up(self) -> None:
        """Close the terminal, as a closed window or a lost connection does."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        """End the command, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        if self._master >= 0:
            os.close(self._master)
