"""Ends the process of an environment server whose environment does not return from `step` (`environment.step_timeout`)."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from protocols.runtime.errors import ExitCode

logger = logging.getLogger(__name__)

_SLICES = 20
_LONGEST_SLICE = 1.0


class StepWatchdog:
    """A thread that counts the seconds of every step. After `seconds` it writes the stacks of all threads to the log, calls `report` with
    the cause in words, and ends the process with exit code 20, after which the run server restarts it.

    Only time in which this thread runs is counted: a process that was stopped or had no processor meanwhile is not ended. A step that holds
    the interpreter lock stops this thread too, and all heartbeats with it; the run server then declares the process dead.
    """

    def __init__(self, seconds: float, report: Callable[[str], None], end: Callable[[int], object] = os._exit) -> None:
        self._seconds, self._report, self._end = seconds, report, end
        self._number = 0
        self._inside = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="step-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A step is played in this block."""
        self._number += 1
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _run(self) -> None:
        period = min(_LONGEST_SLICE, self._seconds / _SLICES)
        number, spent = 0, 0.0
        while not self._closed.wait(period):
            if not self._inside or self._number != number:
                number, spent = self._number, 0.0
                continue
            spent += period
            if spent >= self._seconds:
                self._expire()
                return

    def _expire(self) -> None:
        faulthandler.dump_traceback(all_threads=True)
        text = f"the environment has not returned from step {self._number} for {self._seconds:g} s (environment.step_timeout)"
        logger.error("%s; the stacks of all threads stand above", text)
        try:
            self._report(text)
        finally:
            self._end(int(ExitCode.ABORTED))
