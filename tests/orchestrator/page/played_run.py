"""The directory of a run as its processes write it, for tests of what reads it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration

BEGAN = 1_790_000_000.0
"""Unix time of the start"""


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PlayedRun:
    """Appends to the files of one run; times are seconds of the run."""

    def __init__(self, directory: Path, agents: int = 3, **settings: Any) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        given = {"version": 2, "environment": {"id": "landmarks"}, "agents": {"count": agents}, "until": {"time": "10min"}, **settings}
        (directory / "config.json").write_text(Configuration.model_validate(given).model_dump_json())
        self.record("RUNNING")
        self._ids = 0
        for node in ("run", "env-0", *(f"agent-{i}" for i in range(agents))):
            (directory / "nodes" / node).mkdir(parents=True)

    def record(self, state: str, **more: Any) -> None:
        record = {"name": self.directory.name, "state": state, "started": iso(0), "first_started": iso(0), "pid": 1, **more}
        (self.directory / "run.json").write_text(json.dumps(record))

    def line(self, file: str, **fields: Any) -> None:
        with (self.directory / file).open("a") as out:
            out.write(json.dumps(fields, separators=(",", ":")) + "\n")

    def event(self, t: float, code: str, node: str = "run", text: str = "", **fields: Any) -> None:
        self._ids += 1
        self.line("events.jsonl", id=self._ids, t=iso(t), severity="info", code=code, node=node, text=text or code, **fields)

    def joined(self, t: float, node: str, incarnation: int = 1) -> None:
        for state in ("joining", "alive"):
            self.event(t, f"node.{state}", node, incarnation=incarnation)

    def metric(self, t: float, node: str, name: str, value: float, step: int = 0, file: str = "metrics", virtual: bool = False) -> None:
        self.line(f"nodes/{node}/{file}.jsonl", t=t if virtual else BEGAN + t, step=step, episode=step // 10, name=name, value=value)

    def fault(self, t: float, begins: bool, name: str, kind: str, target: str) -> None:
        code, verb = ("fault.begin", "begins") if begins else ("fault.end", "ends")
        text = f"fault {name} {verb}: {kind} at {target}"
        self.event(t, code, "run", text, fields={"fault": name, "kind": kind})

    def message(self, t: float, src: str, dst: str, kind: str = "average", copies: tuple[float, ...] = (0.05,), cause: str = "") -> None:
        self.line(
            f"nodes/{src}/faults.jsonl",
            t=BEGAN + t, what="message", link=f"peer {dst}", kind=kind, seq=1, size=100, copies=list(copies), corrupt=None, cause=cause,
        )  # fmt: skip
