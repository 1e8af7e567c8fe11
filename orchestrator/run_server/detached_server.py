"""Starting a run server in a session of its own, so that the run outlives the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.launch.leftover_processes import MARK, sweep
from protocols.runtime.errors import ExitCode, MurmurationError, ResourceError

START_TIMEOUT = 60.0
"""seconds until every node must be up"""


def start_detached(directory: Path, timeout: float = 30.0, start_timeout: float = START_TIMEOUT) -> int:
    """Start the run server of this directory in a session of its own, wait until it can be reached, and return its process number.
    `start_timeout` are the seconds until every node must be up.

    Its output goes to `server.log`. When it ends before it can be reached, the error it ended with is raised here; the run directory
    stays, with the reason in `run.json`.
    """
    directory = directory.resolve()
    stale = directory / "control.json"
    stale.unlink(missing_ok=True)
    with (directory / "server.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "_serve", str(directory), "--start-timeout", f"{start_timeout:g}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, MARK: str(directory)},
        )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise _failure(directory, process.wait(0.05))
        if stale.exists():
            return process.pid
    process.kill()
    process.wait(5.0)
    sweep(directory)
    raise ResourceError(f"the run server could not be reached within {timeout:g} s; its log is {directory / 'server.log'}")


class _ServerError(MurmurationError):
    """The run server ended before it could be reached; `exit_code` is what it ended with."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = ExitCode(code) if code in set(ExitCode) and code else ExitCode.CRASH


def _failure(directory: Path, code: int) -> _ServerError:
    reason = ""
    with contextlib.suppress(OSError, ValueError):
        reason = str(json.loads((directory / "run.json").read_text(encoding="utf-8")).get("reason") or "")
    return _ServerError(reason or f"the run server ended at once (exit {code}); its log is {directory / 'server.log'}", code)
