"""The edges of the communication graph at one time: traffic, delay, loss, and whether a fault cuts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.page.run_history import FaultInterval, RunHistory

Edge = tuple[str, str]
STILL = ("pause", "hang")
"""kinds of faults that make a process stand still"""
_RING = re.compile(r"ring of (.+), each reaches up to (\d+) away")


def configured_edges(configuration: dict[str, Any]) -> list[Edge]:
    """The pairs of agents that exchange messages, by the configured topology; empty where it can't be read."""
    from pydantic import ValidationError

    from protocols.topology import topology_settings
    from protocols.topology.communication_graph import make_graph

    agents = [f"agent-{i}" for i in range(int((configuration.get("agents") or {}).get("count") or 0))]
    try:
        topology = topology_settings((configuration.get("network") or {}).get("topology") or {})
        graph = make_graph(topology, agents, int(configuration.get("seed") or 0))
    except (ValidationError, ValueError):
        return []
    pairs = {(min(i, j), max(i, j)) for i, j in graph.union.pairs.tolist()}
    return [(agents[i], agents[j]) for i, j in sorted(pairs)]


def edge_states(history: RunHistory, t: float) -> dict[str, dict[str, Any]]:
    """Edge `a|b` -> bytes a second both ways, the larger delay and loss of both ways, and whether it is cut."""
    cutting = [fault for fault in history.faults if fault.kind == "partition" and fault.lasts(t)]
    found = {}
    for a, b in history.edges:
        ways = (f"{a}>{b}", f"{b}>{a}")
        rates = [rate for way in ways if (rate := history.link_value("bytes_per_s", way, t)) is not None]
        delays = [delay for way in ways if (delay := history.link_value("delay_ms", way, t)) is not None]
        losses = [loss for way in ways if (loss := history.link_value("loss", way, t)) is not None]
        found[f"{a}|{b}"] = {
            "bytes_per_s": float(f"{sum(rates):.3g}") if rates else None,
            "delay_ms": round(max(delays), 1) if delays else None,
            "loss": round(max(losses), 3) if losses else None,
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
