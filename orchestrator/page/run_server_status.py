"""The newest status of a run server, asked for by a thread of its own: an answer that takes long holds up nothing."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.run_server.run_client import RunClient
from protocols.runtime.errors import MurmurationError

ASKING = 1.0
"""seconds between two questions"""
_AGAIN = 2.0
"""seconds after which a run server that did not answer is asked again"""
_PATIENCE = 5.0
"""seconds that the run server has for an answer"""


class RunServerStatus:
    """Asks until it is closed. `newest` is the last answer, empty before the first and while the run server does not answer; a run server
    that was started again is connected to anew."""

    def __init__(self, directory: Path) -> None:
        self.newest: dict[str, Any] = {}
        self._directory = directory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"ask-{directory.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and the connection."""
        self._over.set()
        self._thread.join(_PATIENCE)

    def _ask(self) -> None:
        client: RunClient | None = None
        pause = 0.0
        while not self._over.wait(pause):
            try:
                if client is None:
                    client = RunClient(self._directory, _PATIENCE)
                self.newest, pause = client.status(timeout=_PATIENCE), ASKING
            except MurmurationError:
                self.newest, pause = {}, _AGAIN
                if client is not None:
                    _close(client)
                client = None
        if client is not None:
            _close(client)


def _close(client: RunClient) -> None:
    with suppress(Exception):  # the transport of a run server that is gone
        client.close()
