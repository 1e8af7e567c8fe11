"""One run that the page shows. While it has readers, one thread reads its files, asks its run server, and publishes the state.

The thread bounds its own cost: after an update that took c seconds of processor time it waits for at least c / `SHARE`.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.page.history.process_usage import ProcessUsage
from orchestrator.page.history.run_history import RunHistory
from orchestrator.page.published_state import PublishedState
from orchestrator.page.state.page_state import LiveFacts, page_state
from orchestrator.results import run_directories as runs
from orchestrator.run_server.run_client import RunClient
from protocols.runtime.errors import MurmurationError

PERIOD = 0.25
"""seconds between two updates of a live run"""
SLOW = 2.0
"""seconds between two looks at a run that does not go on"""
SHARE = 0.03
"""share of a core that following one run may take"""
_PATIENCE = 2.0
"""seconds that the run server has for an answer"""
ASKING = 1.0
"""seconds between two questions to the run server; events, metrics and faults are read from files with every update"""
_AGAIN = 2.0
"""seconds after which a run server that did not answer is asked again"""
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
        self.updates = 0
        self._usage = ProcessUsage(directory)
        self._client: RunClient | None = None
        self._ask_at = 0.0
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
        if not self.following:
            self._read_files()
        return self.history

    def _read_files(self) -> bool:
        """Whether the run goes on."""
        alive = runs.lock_held(self.directory)
        with self.lock:
            while self.history.refresh() and not self._stop.is_set():
                pass
            if alive:
                self.history.last = max(self.history.last, time.time() - self.history.started)
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
                self._update()
                spent = time.thread_time() - spent
                period = PERIOD if runs.lock_held(self.directory) else SLOW
                self._stop.wait(max(period, spent / SHARE))
        finally:
            self._disconnect()

    def _update(self) -> None:
        alive = self._read_files()
        self.live.status = self._status() if alive else {}
        self.live.usage = self._usage.read() if alive else {}
        with self.lock:
            state = page_state(self.history, None, self.live)
        self.updates += 1
        self.published.publish(state)

    def _status(self) -> dict[str, Any]:
        """The status of the run server; empty where it does not answer. A run server that was started again is connected to anew."""
        if time.monotonic() < self._ask_at:
            return self.live.status
        if not (self.directory / "control.json").is_file():
            return {}
        try:
            if self._client is None:
                self._client = RunClient(self.directory, _PATIENCE)
            self._ask_at = time.monotonic() + ASKING
            return self._client.status(timeout=_PATIENCE)
        except MurmurationError:
            self._disconnect()
            self._ask_at = time.monotonic() + _AGAIN
            return {}

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.close()
