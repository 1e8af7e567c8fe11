"""What runs inside Ray on each machine: starts one host, hands over its output, stops it.

Sent by value, so that it can also report that this package is missing there or is another version. Hence nothing but the standard library
is imported at its top.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_LONG = 1.0
_TURN = 0.1
_MOST = 64 * 1024
_SCHEMA, _RESOURCES = 5, 6
"""exit codes, as in protocols/runtime/errors.py"""


class RemoteHost:
    """One host. Arguments and answers are plain strings of JSON."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._output = -1
        self._begin = 0
        self._shared = False

    async def start(self, order: str) -> str:
        """Start the host, once: {} or, where that can't be, the exit `code` that it deserves and why (`text`).

        The order: `versions` of the run server, `invitation`, `mark` (name and value of an environment variable), `log`, `home`.
        """
        if self._process is not None:
            return "{}"
        wanted: dict[str, Any] = json.loads(order)
        try:
            own = versions()
        except ImportError as error:
            cure = "install it there, or share the folder and start Ray's nodes with PYTHONPATH"
            return self._no(_SCHEMA, f"murmuration can't be imported by {sys.executable} ({error}): {cure}")
        ours = wanted["versions"]
        if any(own[name] != ours[name] for name in ("murmuration", "messages")):
            mine, yours = (", ".join(f"{name} {version}" for name, version in side.items()) for side in (own, ours))
            return self._no(_SCHEMA, f"another version of murmuration: there {mine}; the run server has {yours}: install the same on both")
        try:
            self._start(wanted)
        except OSError as error:
            return self._no(_RESOURCES, f"can't start a host process with {sys.executable}: {error.strerror}")
        return "{}"

    async def poll(self, offset: int) -> str:
        """The host's output from there on (`output`, base64), and once that is all, its exit `code`. Waits up to a second for news.
        `shared`: the output is in the run's directory already."""
        deadline = time.monotonic() + _LONG
        while True:
            code = self._process.poll() if self._process is not None else None
            output = os.pread(self._output, _MOST, self._begin + offset) if self._output >= 0 else b""
            if output or code is not None or time.monotonic() >= deadline:
                done = code if not output else None
                return json.dumps({"output": base64.b64encode(output).decode(), "code": done, "shared": self._shared})
            await asyncio.sleep(_TURN)

    async def stop(self, now: bool) -> str:
        """SIGTERM to the host, or SIGKILL to every process of its session."""
        process = self._process
        if process is not None and process.poll() is None:
            if now:
                from orchestrator.launch.local_engine import kill_session

                kill_session(process.pid)
            else:
                process.terminate()
        return "{}"

    def _start(self, wanted: dict[str, Any]) -> None:
        import orchestrator
        from orchestrator.launch.host.host_files import is_run
        from orchestrator.launch.process_control import HOST_MODULE, WITH_PARENT

        log = Path(wanted["log"])
        invitation = json.loads(wanted["invitation"])
        self._shared = wanted["home"] != "server" and is_run(Path(invitation["directory"]), invitation["run"])
        if self._shared:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._begin = os.fstat(self._output).st_size
        else:
            self._output, path = tempfile.mkstemp(prefix="murmuration-")
            Path(path).unlink()  # a file without a name takes the host's output at any time, and ends with it
        # The package as it is found here, which may be by the search path that Ray has from the driver.
        root = str(Path(str(orchestrator.__file__)).parent.parent)
        path = os.environ.get("PYTHONPATH", "")
        if Path(root).name not in ("site-packages", "dist-packages"):
            path = os.pathsep.join([root, path] if path else [root])
        name, value = wanted["mark"]
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", HOST_MODULE, WITH_PARENT],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, name: value},
        )
        if process.stdin is not None:
            try:
                process.stdin.write(wanted["invitation"].encode() + b"\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # it died at once, which `poll` sees

    def _no(self, code: int, text: str) -> str:
        return json.dumps({"code": code, "text": f"on {socket.gethostname()}: {text}"})


def versions() -> dict[str, str]:
    """Of what must be the same on both sides, and of what helps to compare them. `ImportError` where this package is not there."""
    from importlib import metadata

    from protocols.wire.message_registry import schema_hash

    try:
        own = metadata.version("murmuration-rl")
    except metadata.PackageNotFoundError:
        own = "unknown"
    return {"murmuration": own, "messages": schema_hash("host")[:12], "python": sys.version.split()[0]}
