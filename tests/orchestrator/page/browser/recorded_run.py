"""Directories of finished runs for tests of the page: the files that nodes and a run server write, with computed values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from protocols.topology.communication_graph import make_graph

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
LENGTH = 60
"""seconds of the run"""
CUT = (20.0, 32.0)
"""seconds in which a partition lasts that cuts the edge of agent-0 and agent-1"""
DEATH = (40.0, 43.0)
"""seconds in which agent-2 is dead"""
MARKUP = "<img src=x onerror=alert(1)>"
"""part of the text of an event"""


def record_run(directory: Path, agents: int, topology: str = "ring") -> None:
    """Write a run of that many agents that has ended. Every edge has delays, every third one losses."""
    names = [f"agent-{i}" for i in range(agents)]
    configuration = Configuration.model_validate(
        {
            "version": 2,
            "environment": {"id": "landmarks"},
            "agents": {"count": agents},
            "network": {"topology": {"kind": topology}},
            "until": {"steps": LENGTH * 1000},
            "faults": {"record": "full"},
        }
    )
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(configuration.model_dump_json())
    _write_json(
        directory / "run.json",
        {"name": directory.name, "state": "DONE", "exit_code": 0, "reason": "", "started": _iso(0), "first_started": _iso(0),
         "ended": _iso(LENGTH), "segment": 1, "engine": "local"},
    )  # fmt: skip
    _write_lines(directory / "events.jsonl", _events(names))
    for number, name in enumerate(["env-0", *names]):
        folder = directory / "nodes" / name
        folder.mkdir(parents=True)
        _write_lines(folder / "metrics.jsonl", _metrics(number, name))
        (folder / "log.txt").write_text("".join(f"{_iso(t)} INFO learner line {t} of {name} {MARKUP}\n" for t in range(LENGTH)))
    _write_lines(directory / "nodes" / "env-0" / "goals.jsonl", _goals(names))
    run = directory / "nodes" / "run"
    run.mkdir()
    _write_lines(run / "metrics.jsonl", [_value(t, "consensus.disagreement", 0.1 * math.exp(-t / 15) + 1e-4) for t in range(2, LENGTH, 2)])
    for a, b, number in _directions(configuration, names):
        _links(directory, a, b, number)


def _directions(configuration: Configuration, names: Sequence[str]) -> Iterable[tuple[str, str, int]]:
    """Sender, receiver and number of the edge, both ways."""
    graph = make_graph(configuration.network.topology, names, configuration.seed)
    for number, (i, j) in enumerate(sorted({(min(pair), max(pair)) for pair in graph.union.pairs.tolist()})):
        yield names[i], names[j], number
        yield names[j], names[i], number


def _links(directory: Path, a: str, b: str, number: int) -> None:
    """The trace of one direction: counts of each second, and for the first agents each message."""
    delay, loss = 0.004 * 3 ** (number % 5), 0.1 * (number % 3 == 2)
    lines: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    for t in range(1, LENGTH):
        sent = 20 + number % 7 * 10
        lost = round(sent * loss)
        received = (sent - lost) * t
        about = [sent * t * 10 ** (2 + number % 4), received, lost * t, round(1e6 * received * delay)]
        totals.append({"t": _unix(t), "incarnation": 1, "links": {f"peer {b}": about}})
        counts = {"sent": sent, "bytes": sent * 10 ** (2 + number % 4), "lost": lost, "delay": {"p50": delay}}
        lines.append({"t": _unix(t), "what": "links", "links": {f"peer {b}": counts}})
        if len(a + b) < 16:
            for part in range(4):
                gone = loss and (t + part) % 10 == 0
                lines.append(
                    {"t": _unix(t + 0.1 + part / 5), "what": "message", "link": f"peer {b}", "kind": ("average", "trace", MARKUP)[part % 3],
                     "size": 500, "copies": [] if gone else [delay], **({"cause": "loss"} if gone else {})}
                )  # fmt: skip
    for name, rows in (("faults.jsonl", lines), ("links.jsonl", totals)):
        with (directory / "nodes" / a / name).open("a") as file:
            file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in rows)


def _events(names: Sequence[str]) -> Iterable[dict[str, Any]]:
    half = len(names) // 2
    sides = [[names[0], *names[half + 1 :]], names[1 : half + 1]]
    groups = " | ".join(" ".join(side) for side in sides)
    for t, node, code, text, more in [
        *((1.0, name, "node.alive", f"{name} alive, incarnation 1: joined", {"incarnation": 1}) for name in ("env-0", *names)),
        (1.5, "run", "run.running", f"{len(names) + 1} nodes up after 1.5 s", {}),
        (5.0, "run", "user.note", MARKUP, {}),
        (CUT[0], "run", "fault.begin", f"partition at {groups}", {"fields": {"fault": "split", "kind": "partition"}}),
        (CUT[1], "run", "fault.end", "partition ended", {"fields": {"fault": "split"}}),
        (DEATH[0], names[2], "node.dead", f"{names[2]} dead, incarnation 1: killed by signal 9", {"incarnation": 1}),
        (DEATH[1], names[2], "node.alive", f"{names[2]} alive, incarnation 2: joined", {"incarnation": 2}),
        *((LENGTH - 1.0, name, "node.left", f"{name} left, incarnation 1: finished", {"incarnation": 1}) for name in ("env-0", *names)),
        (LENGTH, "run", "run.ended", "done", {}),
    ]:  # fmt: skip
        yield {"t": _iso(t), "severity": "info", "code": code, "node": node, "text": text, **more}


def _metrics(number: int, name: str) -> Iterable[dict[str, Any]]:
    for t in range(2, LENGTH, 2):
        level = 1 - math.exp(-t / 20) + 0.1 * math.sin(t + number)
        yield _value(t, "return", level)
        yield _value(t, "success", min(1.0, max(0.0, level)))
        yield _value(t, "steps", t * 1000.0)
        parts = {"act": 0.2, "learn": 0.4, "wait": 0.3, "other": 0.1} if name != "env-0" else {"step": 0.4, "wait": 0.5, "other": 0.1}
        for part, share in parts.items():
            yield _value(t, f"time.{part}", share)
        if name != "env-0":
            yield _value(t, "learner.loss", math.exp(-t / 30))
            yield _value(t, "world_model.error", 1 / (1 + t))
            yield _value(t, "consensus.round", float(t // 2))


def _goals(names: Sequence[str]) -> Iterable[dict[str, Any]]:
    """Two neighbours in each episode, which agree in two of three; one of four is not negotiated."""
    labels = ["0", "1", "2", "0-1", "0-2", "1-2"]
    for t in range(2, LENGTH, 2):
        rows = []
        for number in range(8 * t, 8 * t + 16):
            first, second = number % len(names), (number + 1) % len(names)
            goal = number * 7 % len(labels)
            agreed = number % 3 > 0
            goals = [goal, goal if agreed else (goal + 1) % len(labels)]
            rows.append([number, [names[first], names[second]], goals, number % 4 > 0, agreed])
        yield {"t": _unix(t), "step": 1000 * t, "episode": 8 * t, "labels": labels, "episodes": rows}


def _value(t: float, name: str, value: float) -> dict[str, Any]:
    return {"t": _unix(t), "step": int(1000 * t), "episode": int(4 * t), "name": name, "value": value}


def _unix(t: float) -> float:
    return BEGIN.timestamp() + t


def _iso(t: float) -> str:
    return datetime.fromtimestamp(_unix(t), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
