"""The process of the page: takes a port, prints the link, serves until it is ended."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from orchestrator.page.page_app import PageOptions, page_app
from orchestrator.page.run_catalog import RunCatalog
from protocols.runtime.errors import ResourceError

_ENDING = 1
"""seconds that open streams have to end after a signal"""


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at that address; port 0: a free one. `ResourceError` where it is taken or can't be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        cure = "another program has this port; choose another, or --port 0 for a free one" if port else "choose another --host"
        raise ResourceError(f"the page can't listen at {host}:{port}: {error.strerror or error}; {cure}") from None
    return listening


def link(listening: socket.socket, host: str, token: str | None, fragment: str = "") -> str:
    """The address of the page, with the token where one is required."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{listening.getsockname()[1]}/{f'?token={token}' if token else ''}{fragment}"


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
    server = _Server(config, ready)
    try:
        server.run(sockets=[listening])
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
