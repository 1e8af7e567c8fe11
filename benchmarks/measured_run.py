"""A run, started by the command line in a temporary directory, for benchmarks that watch it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from orchestrator.launch.process_control import sweep
from orchestrator.results.run_files import read_json, read_lines

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = REPOSITORY / "configs" / "experiments" / "base" / "deaths.yaml"
_START = 600.0
"""seconds to come up, on a crowded machine"""


class MeasuredRun:
    """`with MeasuredRun(changes) as run:` starts a configuration with these changes, by default a small one of agents that reach landmarks,
    and waits until it trains. On exit the run is stopped, and its directory is removed."""

    def __init__(self, changes: Sequence[str], config: Path = CONFIG) -> None:
        self._changes, self._config = changes, config
        self._place = tempfile.TemporaryDirectory(prefix="measured-")
        self.directory = Path(self._place.name) / "runs" / "measured"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        words = ["up", str(self._config), "--name", "measured", "--plain", "--timeout", f"{_START:g}s", *self._changes]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ORCHESTRATE_RUNS": str(self.directory.parent), "OMP_NUM_THREADS": "1"}
        with (Path(self._place.name) / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *words],
                cwd=self._place.name, env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.wait("the begin of training", lambda: self.events("run.running"), _START)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        sweep(self.directory)
        self._place.cleanup()

    @property
    def code(self) -> int | None:
        """The exit code of the command; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def record(self) -> dict[str, Any]:
        """`run.json`."""
        return read_json(self.directory / "run.json")

    def events(self, code: str = "") -> list[dict[str, Any]]:
        """Events so far, of one code or all."""
        return [event for event in read_lines(self.directory / "events.jsonl") if code in ("", event.get("code"))]

    def reports(self, node: str, metric: str) -> list[tuple[float, float]]:
        """(Unix time, value) of all reports of a node's metric so far."""
        lines = read_lines(self.directory / "nodes" / node / "metrics.jsonl")
        return [(float(line["t"]), float(line["value"])) for line in lines if line.get("name") == metric]

    def steps(self) -> int:
        """Training steps of all copies so far, as the environment server has written them last."""
        return int(max((steps for _, steps in self.reports("env-0", "steps")), default=0.0))

    def pids(self) -> dict[str, int]:
        """The newest process of each node, and of the run server as `run`."""
        try:
            records = json.loads((self.directory / "processes.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            records = []
        found = {str(record["name"]): int(record["pid"]) for record in records}
        return found | {"run": int(self.record.get("pid") or 0)}

    def wait(self, what: str, holds: Callable[[], object], seconds: float) -> None:
        """Poll until it holds. `RuntimeError` with the end of the output where it does not in time, or the run ends before."""
        deadline = time.monotonic() + seconds
        while not holds():
            if self.code is not None or time.monotonic() > deadline:
                end = (Path(self._place.name) / "output.txt").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{what} did not come within {seconds:g} s:\n{end}")
            time.sleep(0.2)
