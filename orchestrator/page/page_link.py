"""The address of the page: its socket, its link, and its process beside a run that `orchestrate up --dashboard` leads."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

from protocols.runtime.errors import ResourceError

LOCAL = "127.0.0.1"
_ENDING = 5.0
"""seconds that the process of a page has to end"""


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at that address; port 0: a free one. `ResourceError` where it is taken or can't be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        cure = "choose another port, or --port 0 for a free one" if port else "choose another --host"
        raise ResourceError(f"the page can't listen at {host}:{port}: {error.strerror or error}; {cure}") from None
    return listening


def link(listening: socket.socket, host: str, run: str | None = None, token: str | None = None) -> str:
    """The address of the page, with the run that it shows first, and the token where one is required."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    query = {name: value for name, value in (("token", token), ("run", run)) if value}
    return f"http://{shown}:{listening.getsockname()[1]}/" + (f"?{urlencode(query)}" if query else "")


class PageBesideRun:
    """The process of a page that shows one run for as long as the context is open; it ends with this process in any case."""

    def __init__(self, listening: socket.socket, directory: Path) -> None:
        """Start it with the socket of this process. What goes wrong in it is written to `page.log` in the run's directory."""
        number = listening.fileno()
        with (directory / "page.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.page.page_server", str(directory), str(number)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[number],
                start_new_session=True,  # Ctrl-C in the terminal is for the run
            )
        listening.close()

    def __enter__(self) -> PageBesideRun:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()  # its end is what the process waits for
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
