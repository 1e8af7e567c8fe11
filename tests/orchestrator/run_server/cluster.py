"""A real run for tests: run server, host, warm parent and small nodes as processes, and helpers that wait with a deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from orchestrator.config.configuration import Configuration
from orchestrator.launch.process_control import MARK
from orchestrator.run_server.run_client import RunClient

ROOT = Path(__file__).resolve().parents[3]
T = TypeVar("T")


def eventually(what: str, condition: Callable[[], T], within: float = 60.0) -> T:
    """The first true value of `condition`, asked again until the deadline; an error that names `what` after it."""
    deadline, pause = time.monotonic() + within, 0.02
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        # An event that never comes: a wait of this length that leaves the processor to the processes of the test.
        _pause.wait(pause)
        pause = min(0.2, 1.1 * pause)  # what takes long is asked for less often


class _Pause:
    def __init__(self) -> None:
        from threading import Event

        self.wait = Event().wait


_pause = _Pause()


class Cluster:
    """One run. Close it in any case; `assert_nothing_left` after its end."""

    def __init__(self, directory: Path, agents: int = 3, behaviour: dict[str, Any] | None = None, **settings: Any) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        settings.setdefault("until", {"time": "50s"})
        supervision = {"restart_delay": "200ms", "suspect": "1s", "dead": "2s", "orphan": "3s", **settings.pop("supervision", {})}
        network = settings.pop("network", {})
        settings.setdefault("metrics", {"sinks": ["csv"]})
        self.configuration = Configuration.model_validate(
            {
                "version": 2,
                "environment": {"id": "landmarks"},
                "agents": {"count": agents},
                "supervision": supervision,
                "network": network,
                **settings,
            }
        )
        (directory / "config.json").write_text(self.configuration.model_dump_json())
        if behaviour:
            (directory / "behaviour.json").write_text(json.dumps(behaviour))
        with (directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.orchestrator.run_server.lead", str(directory)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), MARK: str(directory.resolve())},
            )
        self._client: RunClient | None = None

    # --- asking -------------------------------------------------------------------------------------------------------------------

    def client(self) -> RunClient:
        if self._client is None:
            eventually("control.json", lambda: (self.directory / "control.json").exists() or self.process.poll() is not None)
            self._client = RunClient(self.directory)
        return self._client

    def snapshot(self) -> dict[str, Any]:
        return self.client().status()

    def node(self, name: str) -> dict[str, Any]:
        return next((node for node in self.snapshot()["nodes"] if node["name"] == name), {})

    def running(self, within: float = 60.0) -> dict[str, Any]:
        """Wait until every node is up and the run is running; the snapshot."""

        def ready() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log()
            snapshot = self.snapshot()
            return snapshot if snapshot["state"] == "RUNNING" else None

        return eventually("the run is RUNNING", ready, within)

    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "run.json").read_text()))

    def events(self, code: str = "") -> list[dict[str, Any]]:
        path = self.directory / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["code"].startswith(code)]

    def log(self) -> str:
        return (self.directory / "server.log").read_text()

    def recorded(self) -> list[tuple[str, int]]:
        """Name and number of every process that was noted, in order."""
        return [(entry["name"], entry["pid"]) for entry in json.loads((self.directory / "processes.json").read_text())]

    def host_pid(self) -> int:
        return next(pid for name, pid in self.recorded() if name == "local")

    # --- ending -------------------------------------------------------------------------------------------------------------------

    def ended(self, within: float = 60.0) -> int:
        """The exit code of the run server, which must end within that time."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run server did not end within {within:g} s\n{self.log()}") from None

    def processes(self) -> list[psutil.Process]:
        """Running processes of this run, found by their environment and command line."""
        found, mark = [], str(self.directory.resolve())
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(MARK) == mark or mark in " ".join(process.cmdline()):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def assert_nothing_left(self, within: float = 30.0) -> None:
        eventually(f"no process is left, but {self.processes()}", lambda: not self.processes(), within)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        for process in self.processes():
            process.send_signal(signal.SIGKILL)


@contextmanager
def starting(directory: Path, after: Callable[[Cluster], object] = lambda cluster: None, **common: Any) -> Iterator[Callable[..., Cluster]]:
    """Starts runs below `directory`, `common` the settings of all of them (a run's own `launch` is laid over the common one). In the end
    every run is closed, and `after` called with it."""
    clusters: list[Cluster] = []

    def start_one(**arguments: Any) -> Cluster:
        launch = {**common.get("launch", {}), **arguments.pop("launch", {})}
        settings = {**common, **arguments, **({"launch": launch} if launch else {})}
        clusters.append(Cluster(directory / f"run-{len(clusters)}", **settings))
        return clusters[-1]

    yield start_one
    for cluster in clusters:
        cluster.close()
        after(cluster)
