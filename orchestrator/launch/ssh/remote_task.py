"""What is asked of another machine beside its host, by a way of its own: `python -m orchestrator.launch.ssh.remote_task WHAT [MARK]`.

    about          what this machine has, and which version of this package: before anything is started
    look MARK      whether the host with that mark runs; where it doesn't, what it has left is killed
    end MARK       the same, and a living host is requested to end
    kill MARK      the host and all that it has started are killed

The answer is one line of JSON on standard output, `{"errand": {...}}`; a login script may print before it. A host's mark is in the
environment of its process and of all that come from it, so a number that was given to another process meanwhile is never mistaken for it.
It is drawn at random, since the run's directory may be that of another run on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil

import orchestrator
from orchestrator.launch.host.host_resources import visible_gpus
from orchestrator.launch.process_control import HOST_MODULE, available_cores, kill_all, marked

TASK_MODULE = "orchestrator.launch.ssh.remote_task"
_PACKAGES = ("protocols", "env_server", "agent_node", "orchestrator")


def read_answer(said: str) -> dict[str, Any] | None:
    """The answer in the output of a task, None without one."""
    for line in said.splitlines():
        try:
            found = json.loads(line)["errand"]
        except (ValueError, TypeError, KeyError):
            continue
        if isinstance(found, dict):
            return found
    return None


def about() -> dict[str, Any]:
    """Version, processor cores that this process may use, memory in bytes, GPUs, and the address from which ssh was called."""
    return {
        "version": orchestrator.__version__,
        "sources": sources_digest(),
        "cores": available_cores(),
        "memory": int(psutil.virtual_memory().total),
        "gpus": len(visible_gpus()),
        "called_from": os.environ.get("SSH_CONNECTION", "").partition(" ")[0],
    }


def sources_digest() -> str:
    """SHA-256 (12 digits) over names and contents of all modules of this package: two checkouts of one version may differ."""
    root = Path(str(orchestrator.__file__)).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def look(mark: str, number: signal.Signals | None = None) -> dict[str, Any]:
    """`{"living": pid}` of the host, after it was sent the signal; else `{"gone": true, "killed": processes}`."""
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            if HOST_MODULE in process.cmdline():
                if number is not None:
                    process.send_signal(number)
                return {"living": process.pid}
    return kill(mark)


def kill(mark: str) -> dict[str, Any]:
    """Kill all with that mark."""
    killed = kill_all(lambda: marked(mark))
    return {"gone": not marked(mark), "killed": len(killed)}


def main(what: str, mark: str = "") -> int:
    """Do one task and print what came of it."""
    if what == "about":
        found = about()
    elif mark and what in ("look", "end", "kill"):
        found = kill(mark) if what == "kill" else look(mark, signal.SIGTERM if what == "end" else None)
    else:
        return 2
    sys.stdout.write(json.dumps({"errand": found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
