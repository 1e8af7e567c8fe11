"""What the processes of a run wait for, asked by a thread of its own: `why` looks at processes twice and may wait for an answer."""

from __future__ import annotations

import threading
from pathlib import Path

from orchestrator.run_server.waits.run_questions import WhyReport, why
from protocols.runtime.errors import MurmurationError

_PERIOD = 2.0
"""seconds between two questions"""


class NewestWaits:
    """Asks until it is closed. `newest` is the last report; None before the first, and where neither the run server answers nor its process
    is on this machine."""

    def __init__(self, directory: Path) -> None:
        self.newest: WhyReport | None = None
        self._directory = directory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"why-{directory.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(_PERIOD)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.newest = why(self._directory, dump=False)
            except (MurmurationError, OSError):
                self.newest = None
            self._over.wait(_PERIOD)
