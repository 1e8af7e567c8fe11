"""The metrics of a snapshot that every view shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from orchestrator.results import number_text as numbers

Node = dict[str, Any]

_NAMES: dict[str, tuple[str, ...]] = {
    "episode": ("episode", "episodes"),
    "steps/s": ("steps_per_second", "steps.per_second"),
    "return": ("return",),
    "success": ("success",),
    "aligned": ("aligned",),
    "disagree": ("consensus.disagreement", "statistics.disagreement"),
    "substituted": ("env.substituted", "substituted"),
    "msg/s": ("messages_per_second",),
    "own": ("success.individual",),
    "together": ("success.cooperative",),
}
_COMMON = {"aligned"}
_STATES = {"alive": "up", "joining": "starting", "dead": "RESTART", "lost": "LOST", "stuck": "STUCK", "suspect": "SILENT"}
_PHASES = {
    "queued": "waiting for machines",
    "hosts": "starting the host",
    "nodes": "starting the nodes",
    "evaluation": "last evaluation",
    "closing": "stopping",
}


def value(node: Node, figure: str) -> float | None:
    """A figure of a node's snapshot by the heading it is shown under; None before the first."""
    metrics = node.get("metrics") or {}
    for name in _NAMES.get(figure, (figure,)):
        found = metrics.get(name)
        if isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found):
            return float(found)
    return None


def history(node: Node, figure: str) -> list[float]:
    """The newest values of a figure, oldest first."""
    kept = node.get("history") or {}
    for name in _NAMES.get(figure, (figure,)):
        if kept.get(name):
            return [float(v) for v in kept[name] if isinstance(v, (int, float)) and math.isfinite(v)]
    return []


def state(node: Node) -> str:
    """A node's state in the words of the screen."""
    return _STATES.get(str(node.get("state", "")), str(node.get("state", "")))


def phase(snapshot: dict[str, Any]) -> str:
    """What the run is busy with, in the words of the screen; empty when it is over."""
    if snapshot.get("state") in ("DONE", "FAILED", "STOPPED", "LOST"):
        return ""
    known = str(snapshot.get("phase") or "")
    return ", ".join(filter(None, (_PHASES.get(known, known), evaluation(snapshot))))


def evaluation(snapshot: dict[str, Any]) -> str:
    """`evaluating 37/256, left 0:20`; empty while no evaluation is played."""
    found = snapshot.get("evaluation")
    if not found:
        return ""
    left = f", left {numbers.elapsed(found['left'])}" if found.get("left") is not None else ""
    return f"evaluating {found.get('done')}/{found.get('episodes')}{left}"


def agents(snapshot: dict[str, Any]) -> list[Node]:
    """The agents of a snapshot. Whether goals were aligned is measured by the environment server only: its value is that of all agents."""
    common = {
        name: metrics[name] for server in servers(snapshot) for metrics in [server.get("metrics") or {}] for name in _COMMON & {*metrics}
    }
    found = [node for node in snapshot.get("nodes", ()) if node.get("role") == "agent"]
    return [{**node, "metrics": {**common, **(node.get("metrics") or {})}} for node in found] if common else found


def servers(snapshot: dict[str, Any]) -> list[Node]:
    """The environment servers of a snapshot."""
    return [node for node in snapshot.get("nodes", ()) if node.get("role") == "env"]


def average(nodes: Iterable[Node], figure: str) -> float | None:
    """Mean of a figure over the nodes that have it."""
    values = [v for node in nodes if (v := value(node, figure)) is not None]
    return sum(values) / len(values) if values else None


def up_count(snapshot: dict[str, Any]) -> tuple[int, int]:
    """(nodes that are up, all nodes)."""
    nodes = snapshot.get("nodes", ())
    return sum(node.get("state") in ("alive", "stuck", "suspect") for node in nodes), len(nodes)
