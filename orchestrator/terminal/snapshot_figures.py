"""From snapshots to short texts: the figures that every view shows, and how numbers and times are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

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
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"


def value(node: Node, figure: str) -> float | None:
    """A figure of a node's snapshot by the heading it is shown under; None when there is none yet."""
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
    return _PHASES.get(known, known)


def agents(snapshot: dict[str, Any]) -> list[Node]:
    """The agents of a snapshot. Whether goals were aligned is known to the environment server only: its figure is everybody's."""
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


def sparkline(values: Sequence[float], width: int = 6, ascii_only: bool = False) -> str:
    """The newest `width` values as a bar of characters between their smallest and largest; equal values lie in the middle."""
    values = list(values)[-width:]
    if len(values) < 2:
        return ""
    marks = _ASCII if ascii_only else _BLOCKS
    low, high = min(values), max(values)
    if high == low:
        return marks[3] * len(values)
    return "".join(marks[round((v - low) / (high - low) * (len(marks) - 1))] for v in values)


def count(number: float | None) -> str:
    """Whole number in groups of three: `12 040`."""
    return "-" if number is None else f"{round(number):,}".replace(",", " ")


def decimal(number: float | None) -> str:
    """Two decimals, fewer where the number is large."""
    if number is None:
        return "-"
    return f"{number:.2f}" if abs(number) < 1000 else count(number)


def small(number: float | None) -> str:
    """Two digits and an exponent: `3.1e-04`."""
    return "-" if number is None else f"{number:.1e}"


def duration(seconds: float | None) -> str:
    """`0:41`, `12:05`, `3:04:10`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(number: float | None) -> str:
    """`812 B`, `14.2 KiB`, `1.1 GiB`."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if abs(number) < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def clock(time: str | datetime | None, milliseconds: bool = False) -> str:
    """Time of day in the local zone."""
    from orchestrator.results.run_directories import parse_time

    moment = parse_time(time) if not isinstance(time, datetime) else time
    if moment is None:
        return "--:--:--"
    local = moment.astimezone()
    return local.strftime("%H:%M:%S") + (f".{local.microsecond // 1000:03d}" if milliseconds else "")


def day_and_time(moment: datetime | None) -> str:
    """`14:02:11` today, `yesterday`, or the date."""
    if moment is None:
        return "-"
    local, today = moment.astimezone(), datetime.now().astimezone()
    days = (today.date() - local.date()).days
    if days == 0:
        return local.strftime("%H:%M:%S")
    return "yesterday" if days == 1 else local.strftime("%Y-%m-%d")


def up_count(snapshot: dict[str, Any]) -> tuple[int, int]:
    """(nodes that are up, all nodes)."""
    nodes = snapshot.get("nodes", ())
    return sum(node.get("state") in ("alive", "stuck", "suspect") for node in nodes), len(nodes)
