"""Processor and memory of the processes of a live run that are on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from orchestrator.page.history.run_history import NodeUsage
from orchestrator.results.run_files import read_json

_PERIOD = 2.0
"""seconds between two measurements"""


class ProcessUsage:
    """Measures the processes that `processes.json` lists, and the run server, every two seconds at most."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[int, Any] = {}
        self._spent: dict[int, tuple[float, float]] = {}
        self._newest: dict[str, NodeUsage] = {}
        self._next = 0.0

    def read(self) -> dict[str, NodeUsage]:
        """Node -> its usage since the last measurement; nodes on other machines are absent."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PERIOD
            self._newest = self._measure()
        return self._newest

    def _listed(self) -> dict[int, tuple[str, float | None]]:
        try:
            listed = json.loads((self._directory / "processes.json").read_bytes())
        except (OSError, ValueError):
            listed = []
        found: dict[int, tuple[str, float | None]] = {}
        found |= {int(one["pid"]): (str(one["name"]), float(one["started"])) for one in listed if isinstance(one, dict) and one.get("pid")}
        record = read_json(self._directory / "run.json")
        if isinstance(record.get("pid"), int):
            found[record["pid"]] = ("run", None)
        return found

    def _measure(self) -> dict[str, NodeUsage]:
        import psutil

        usage: dict[str, NodeUsage] = {}
        listed = self._listed()
        for pid, (name, started) in listed.items():
            try:
                process = self._processes.get(pid)
                if process is None:
                    process = psutil.Process(pid)
                    if started is not None and abs(process.create_time() - started) > 2.0:
                        continue  # another process has the number now
                    self._processes[pid] = process
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info().rss
            except psutil.Error:
                self._processes.pop(pid, None)
                self._spent.pop(pid, None)
                continue
            now, spent = time.monotonic(), times.user + times.system
            before = self._spent.get(pid)
            self._spent[pid] = (now, spent)
            share = (spent - before[1]) / (now - before[0]) if before is not None and now > before[0] else None
            usage[name] = NodeUsage(share, memory)
        for pid in [pid for pid in self._processes if pid not in listed]:
            del self._processes[pid]
            self._spent.pop(pid, None)
        return usage
