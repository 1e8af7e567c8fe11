"""A page as a process, as users start it, and a reader of its answers and streams by the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.orchestrator.run_server.cluster import ROOT, eventually

DEADLINE = 40.0


class Page:
    """A running page by its address."""

    def __init__(self, url: str, control: str | None = None) -> None:
        self.url, self.control = url, control
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None, timeout: float = DEADLINE
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        status, _, body = self.ask(path)
        assert status == 200, (status, body)
        return json.loads(body)

    def order(self, run: str, order: dict[str, Any], dry: bool = False, **headers: str) -> tuple[int, Any]:
        given = {"X-Murmuration-Token": self.control or "", **headers}
        status, _, body = self.ask(f"/api/runs/{run}/faults{'?dry=1' if dry else ''}", order, given)
        return status, json.loads(body)


class Stream:
    """The stream of a run, put together as a browser does: `state` is the newest, `kinds` the events so far."""

    def __init__(self, page: Page, run: str) -> None:
        self.state: dict[str, Any] = {}
        self.kinds: list[str] = []
        self.ids: list[int] = []
        self._connection = http.client.HTTPConnection(page.host, page.port, timeout=DEADLINE)
        self._connection.request("GET", f"/api/runs/{run}/events")
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        assert self._response.getheader("content-type", "").startswith("text/event-stream")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event: dict[str, str] = {}
        try:
            for raw in self._response:
                line = raw.decode().rstrip("\n")
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif "data" in event:
                    self._take(event["event"], json.loads(event["data"]))
                    self.ids.append(int(event["id"]))
                    event = {}
        except (OSError, http.client.HTTPException, ValueError):
            return  # closed

    def _take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "snapshot":
            state = data
        else:
            state = dict(self.state)
            for key, value in data.items():
                if key in ("nodes", "edges", "time", "goals"):
                    merged = {**state[key], **value}
                    state[key] = {name: entry for name, entry in merged.items() if entry is not None}
                else:
                    state[key] = value
        self.state = state
        self.kinds.append(kind)

    def until(self, what: str, condition: Callable[[dict[str, Any]], Any], within: float = DEADLINE) -> dict[str, Any]:
        """The first state that fulfils the condition."""
        return eventually(what, lambda: self.state if self.state and condition(self.state) else None, within)  # type: ignore[return-value]

    def close(self) -> None:
        """Close the connection, as a browser does that leaves."""
        with contextlib.suppress(OSError):  # the page has ended before
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)  # only then: a response that is closed while it is read raises an error of its own
        self._connection.close()


@contextmanager
def page(runs_dir: Path, *arguments: str) -> Iterator[tuple[Page, subprocess.Popen[str]]]:
    """`orchestrate dash ARGUMENTS`, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "--json", "--runs-dir", str(runs_dir), "dash", *arguments],
        cwd=runs_dir,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=DEADLINE)
        started = json.loads(line)
        yield Page(started["url"], started["control"]), process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [str(row["name"]) for row in rows]
