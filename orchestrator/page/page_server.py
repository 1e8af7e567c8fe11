"""The process of the page: serves until it is ended by a signal; beside a run, as `python -m`, until its standard input ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from orchestrator.page.page_app import PageOptions, page_app
from orchestrator.page.run_catalog import RunCatalog

_ENDING = 1
"""seconds that open streams have to end after a signal"""


def serve(catalog: RunCatalog, options: PageOptions, listening: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM; open streams are cut after a second. `ready` is called when requests are answered."""
    config = uvicorn.Config(
        page_app(catalog, options),
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_ENDING,
        loop="asyncio",
        http="h11",
        ws="none",
    )
    try:
        _Server(config, ready).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        catalog.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main(directory: Path, descriptor: int) -> None:
    """Serve the run in `directory`, and those beside it, at an inherited socket until standard input ends."""
    threading.Thread(target=_end_with_input, name="end", daemon=True).start()
    listening = socket.socket(fileno=descriptor)
    serve(RunCatalog([(directory.parent, None)], [directory]), PageOptions(), listening)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
