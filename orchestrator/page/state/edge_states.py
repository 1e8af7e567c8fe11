"""The edges of the communication graph at one time: traffic, delay, loss, and whether a fault cuts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.page.history.link_history import BYTES, Edge
from orchestrator.page.history.run_history import FaultInterval, RunHistory

STILL = ("pause", "hang")
"""kinds of faults that make a process stand still"""
_RING = re.compile(r"ring of (.+), each reaches up to (\d+) away")


def edge_states(history: RunHistory, t: float) -> dict[str, dict[str, Any]]:
    """Edge `a|b` -> bytes a second both ways, delay and loss as measured (`LinkHistory`), and whether it is cut."""
    cutting = [fault for fault in history.faults if fault.kind == "partition" and fault.lasts(t)]
    found = {}
    for a, b in history.edges:
        rates = [value for way in (f"{a}>{b}", f"{b}>{a}") if (value := history.links.value(BYTES, way, t)) is not None]
        delay, loss = history.links.delay(a, b, t), history.links.loss(a, b, t)
        found[f"{a}|{b}"] = {
            "bytes_per_s": float(f"{sum(rates):.3g}") if rates else None,
            "delay_ms": None if delay is None else float(f"{delay:.3g}"),
            "loss": None if loss is None else round(loss, 3),
            "cut": any(severs(fault.target, a, b) for fault in cutting),
        }
    return found


def severs(target: str, a: str, b: str) -> bool:
    """Whether a partition cuts the edge between two nodes; `target` is its text: `agent-0 | agent-1 agent-2`."""
    if (ring := _RING.fullmatch(target)) is not None:
        order: list[str] = ring[1].split()
        if a not in order or b not in order:
            return False
        distance = abs(order.index(a) - order.index(b))
        return min(distance, len(order) - distance) > int(ring[2])
    sides = {name: number for number, side in enumerate(target.split("|")) for name in side.split()}
    return a in sides and b in sides and sides[a] != sides[b]


def fault_nodes(fault: FaultInterval, nodes: Sequence[str]) -> list[str]:
    """The nodes that a fault of nodes is at; none for a fault of links."""
    if fault.kind in ("partition", "link"):
        return []
    patterns = fault.target.replace(",", " ").split()
    return [name for name in nodes if name == fault.node or any(fnmatchcase(name, pattern) for pattern in patterns)]


def fault_edges(fault: FaultInterval, edges: Sequence[Edge]) -> list[list[str]]:
    """The edges that a fault of links is at; none for a fault of nodes."""
    if fault.kind == "partition":
        return [[a, b] for a, b in edges if severs(fault.target, a, b)]
    if fault.kind != "link":
        return []
    rule = fault.event.get("link") or {}
    senders, receivers = rule.get("from") or ["*"], rule.get("to") or ["*"]
    if rule.get("symmetric"):
        return [[a, b] for a, b in edges if _matches(senders, receivers, a, b) or _matches(receivers, senders, a, b)] or []
    return [[a, b] for a, b in edges if _matches(senders, receivers, a, b) or _matches(senders, receivers, b, a)]


def _matches(senders: Sequence[str], receivers: Sequence[str], a: str, b: str) -> bool:
    return any(fnmatchcase(a, one) for one in senders) and any(fnmatchcase(b, one) for one in receivers)
