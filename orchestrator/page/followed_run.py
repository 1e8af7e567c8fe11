"""One run that the page shows. While it has readers, one thread reads its files and publishes the state; another asks its run server.

The first bounds its own cost: after an update that took c seconds of processor time it waits for at least c / `SHARE`.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from orchestrator.page.history.process_usage import ProcessUsage
from orchestrator.page.history.run_history import RunHistory
from orchestrator.page.published_state import PublishedState
from orchestrator.page.run_server_status import RunServerStatus
from orchestrator.page.state.page_state import LiveFacts, page_state
from orchestrator.page.wait_report import NewestWaits
from orchestrator.results import run_directories as runs
from protocols.runtime.clock import unix_time

logger = logging.getLogger(__name__)

PERIOD = 0.25
"""seconds between two updates of a live run"""
SLOW = 2.0
"""seconds between two looks at a run that does not go on"""
SHARE = 0.06
"""share of a core that following one run may take"""
_LINGER = 30.0
"""seconds for which a run is followed after its last reader has left"""


class FollowedRun:
    """A run by its directory, with its history. Call `watch` before reading; `close` ends the thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.published = PublishedState()
        self.history = RunHistory(directory)
        self.lock = threading.Lock()
        """held while the history changes or is read"""
        self.live = LiveFacts()
        self._usage = ProcessUsage(directory)
        self._server: RunServerStatus | None = None
        self._waits: NewestWaits | None = None
        self._wanted = 0.0
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        self._stop = threading.Event()

    @property
    def id(self) -> str:
        """Name of the run."""
        return self.directory.name

    def loaded(self) -> RunHistory:
        """The history, as new as its files, or while the run is followed as its newest state; hold `lock` while it is used."""
        if self.published.state is None or not self.following:
            self._read_files()
        return self.history

    def _read_files(self) -> bool:
        """Whether the run goes on."""
        alive = runs.lock_held(self.directory)
        with self.lock:
            while self.history.refresh() and not self._stop.is_set():
                pass
            if alive:
                self.history.last = max(self.history.last, unix_time() - self.history.started)
        return alive

    def state(self, at: float | None) -> dict[str, Any]:
        """The state at `at` seconds; None: the newest."""
        history = self.loaded()
        with self.lock:
            return page_state(history, at, self.live)

    @property
    def following(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def watch(self) -> None:
        """Follow the run: for as long as there are readers, and a while longer."""
        with self._thread_lock:
            self._wanted = time.monotonic() + _LINGER
            if not self.following and not self._stop.is_set():
                self._thread = threading.Thread(target=self._follow, name=f"follow-{self.id}", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread and the connection."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                with self._thread_lock:
                    if self.published.readers:
                        self._wanted = time.monotonic() + _LINGER
                    elif time.monotonic() > self._wanted:
                        self._thread = None
                        return
                spent = time.thread_time()
                try:
                    self._update()
                except Exception:
                    logger.exception("the state of %s can't be read; it is tried again", self.id)
                spent = time.thread_time() - spent
                period = PERIOD if runs.lock_held(self.directory) else SLOW
                self._stop.wait(max(period, spent / SHARE))
        finally:
            self._disconnect()
            self.live = LiveFacts()
            self.published.state = None  # who comes later gets a new one

    def _update(self) -> None:
        alive = self._read_files()
        if alive and self._server is None:
            self._server, self._waits = RunServerStatus(self.directory), NewestWaits(self.directory)
        elif not alive:
            self._disconnect()
        self.live = LiveFacts(self._server.newest, self._usage.read()) if self._server is not None else LiveFacts()
        with self.lock:
            state = page_state(self.history, None, self.live, self._waits.newest if self._waits is not None else None)
        self.published.publish(state)

    def _disconnect(self) -> None:
        server, self._server, waits, self._waits = self._server, None, self._waits, None
        if server is not None and waits is not None:
            server.close()
            waits.close()
