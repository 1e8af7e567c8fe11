"""A Ray cluster on a site: the head in the root namespace, where run servers run, and a node on every host."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engines.site import Host, Site
from tests.orchestrator.run_server.cluster import ROOT, eventually

ENVIRONMENT = {
    # Otherwise a fresh cluster would leave a token in the home directory, and demand it of all others of this user.
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    # Spare workers cost two seconds of computing each, and are not used.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "PYTHONPATH": str(ROOT),
}
CORES, MEMORY = 2, 4 * 2**30
_START = 90.0


def why_no_ray() -> str:
    """Why no cluster can be started; "" where one can."""
    return "" if importlib.util.find_spec("ray") else "Ray is not installed: pip install 'murmuration-rl[ray]'"


class RayCluster:
    """Starts with `start`; the head's own node holds no host. Close it before its site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        # Short, since sockets lie there.
        self._temporary = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        self._patch = pytest.MonkeyPatch()
        with socket.create_server((site.address, 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"{site.address}:{self.port}"

    def start(self) -> None:
        """Start what does not run; processes started from here on have its address."""
        for name, value in ENVIRONMENT.items():
            self._patch.setenv(name, value)
        missing: list[Host | None] = [] if self._head() else [None]
        for host in self.site.hosts:
            if None in missing:  # nodes belong to the head with which they were started
                host.kill_all()
                host.heal()
            if not self.raylets(host):
                missing.append(host)
        for attempt in range(3):
            started = {host: self._node(host) for host in missing}
            # A node that finds too little of the processor for itself, or no head, gives up after half a minute.
            missing = [host for host, process in started.items() if process.wait(_START) != 0]
            assert not missing or attempt < 2, self.output(missing[0])
            if not missing:
                break

    def raylets(self, host: Host) -> list[psutil.Process]:
        """Ray's own process on a host."""
        return [process for process in host.processes() if process.name() == "raylet"]

    def output(self, host: Host | None) -> str:
        """What Ray has printed on a host, or about the head."""
        return (self._directory(host) / "out").read_text()

    def kill_head(self) -> None:
        """As if its machine had died: the head's processes all at once."""

        def none_left() -> bool:
            for process in (found := self._head()):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            return not found

        eventually("the head's processes are gone", none_left, 10)

    def close(self) -> None:
        """Kill everything."""
        self._patch.undo()
        self.kill_head()
        for host in self.site.hosts:
            host.close()
        self._temporary.cleanup()

    def _directory(self, host: Host | None) -> Path:
        directory = Path(self._temporary.name) / ("head" if host is None else host.name)
        directory.mkdir(exist_ok=True)
        return directory

    def _node(self, host: Host | None) -> subprocess.Popen[Any]:
        """Start one. Each has a directory of its own: two that start at the same time in one would name their sockets alike."""
        directory = self._directory(host)
        common = ["--include-log-monitor", "false", "--object-store-memory", str(80 * 10**6), "--temp-dir", str(directory)]
        if host is None:
            popen, own = subprocess.Popen, ["--node-ip-address", self.site.address, "--head", "--port", str(self.port), "--num-cpus", "0"]
            own += ["--include-dashboard", "false"]
        else:
            popen, own = host.popen, ["--node-ip-address", host.address, "--address", self.address, "--num-cpus", str(CORES)]
            own += ["--memory", str(MEMORY), "--num-gpus", "1"]  # Ray only counts them
        with (directory / "out").open("wb") as output:
            process: subprocess.Popen[Any] = popen(
                [str(Path(sys.executable).parent / "ray"), "start", *own, *common],
                cwd="/",
                env=dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return process

    def _head(self) -> list[psutil.Process]:
        """Processes of the head. Those that hide their command lines are children of one that doesn't."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and str(self._directory(None)) in words:
                    found |= {p.pid: p for p in [process, *process.children(recursive=True)]}
        return list(found.values())
