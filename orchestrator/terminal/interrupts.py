"""Signals and keys of an attached client as something that can be waited for, with a deadline."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import Any

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the signals that ask for an end, and reads single keys where standard input is a terminal; a context manager.

    The terminal is put into character mode without echo while it is open, and is restored at the end.
    """

    def __init__(self, signals: tuple[signal.Signals, ...] = END_SIGNALS, keys: bool = False) -> None:
        self.count = 0
        self.last: signal.Signals | None = None
        self._signals = signals
        self._want_keys = keys
        self._before: dict[signal.Signals, Any] = {}
        self._terminal: list[Any] | None = None
        self._read = self._write = -1

    def __enter__(self) -> Interrupts:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        for number in self._signals:
            self._before[number] = signal.signal(number, self._handle)
        if self._want_keys and sys.stdin is not None and sys.stdin.isatty() and os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno()):
            import termios
            import tty

            self._terminal = termios.tcgetattr(sys.stdin.fileno())
            tty.setcbreak(sys.stdin.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._terminal)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last = signal.Signals(number)
        with contextlib.suppress(OSError):
            os.write(self._write, b"x")

    def wait(self, seconds: float) -> str:
        """Sleep up to `seconds`, less when a signal or key comes; the keys pressed."""
        end = time.monotonic() + max(0.0, seconds)
        watched = [self._read] + ([sys.stdin.fileno()] if self._terminal is not None else [])
        ready, _, _ = select.select(watched, [], [], max(0.0, end - time.monotonic()))
        if self._read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 64)
        if self._terminal is not None and sys.stdin.fileno() in ready:
            pressed = os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")
            if not pressed:
                self._terminal = None
            return pressed
        return ""
