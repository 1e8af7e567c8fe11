"""The traffic of the links of a run over time: bytes a second, delay and loss of each direction, and the edges of the graph."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from orchestrator.page.history.metric_history import MetricHistory
from protocols.runtime.settings_types import parse_duration

BYTES, DELAY, LOSS = "bytes_per_s", "delay_ms", "loss"
_TOTAL = "total_bytes"
_CHANNELS = ("peer", "env")
_SHORTEST = 0.2
_MOST_POINTS = 1_000_000

Edge = tuple[str, str]


class LinkHistory:
    """Links are named `SENDER>RECEIVER`. Nodes whose links have rules write counts of every second; all nodes write the totals of what
    they sent, from which rates are taken where there are no counts."""

    def __init__(self, nodes: Path, configuration: Mapping[str, Any]) -> None:
        self.begun = inf
        """when the first node was started, seconds of the run"""
        self._nodes = str(nodes)
        self._configuration = configuration
        self._values = MetricHistory(_MOST_POINTS)
        self._seen: dict[str, int] = {}
        self._counted: dict[str, float] = {}
        try:
            self._recent = max(3.0, 2.5 * parse_duration(str((configuration.get("metrics") or {}).get("every"))))
        except ValueError:
            self._recent = 5.0

    @cached_property
    def edges(self) -> list[Edge]:
        """Pairs of agents that exchange messages."""
        return configured_edges(self._configuration)

    def value(self, quantity: str, link: str, at: float) -> float | None:
        """What was known of a link at that time, if it is recent. The rate of a run of which only totals are left is its mean rate."""
        values = self._values.of_node(link)
        metric = values.get(quantity)
        index = metric.index(at) if metric is not None else -1
        if metric is not None and index >= 0:
            return metric.v[index] if at - metric.t[index] <= self._recent else None
        total = values.get(_TOTAL) if quantity == BYTES else None
        return total.v[-1] / (total.t[-1] - self.begun) if total is not None and self.begun < at <= total.t[-1] + 1.0 else None

    def since(self, quantity: str, link: str, at: float) -> list[float]:
        """The values after that time."""
        metric = self._values.get(quantity, link)
        return list(metric.v[metric.index(at) + 1 :]) if metric is not None else []

    def counted(self, node: str, t: float, links: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the counts of the period that ends at `t`: channel and receiver -> counts."""
        length = max(_SHORTEST, t - self._counted.get(node, t - 1.0))
        self._counted[node] = t
        total: dict[str, list[float]] = {}
        delays: dict[str, float] = {}
        for name, counts in links.items():
            channel, _, peer = name.partition(" ")
            if channel in _CHANNELS:
                size, sent, lost = total.setdefault(peer, [0.0, 0.0, 0.0])
                total[peer] = [size + float(counts["bytes"]), sent + float(counts["sent"]), lost + float(counts["lost"])]
                if "delay" in counts:
                    delays[peer] = max(delays.get(peer, 0.0), float(counts["delay"]["p50"]))
        for peer, (size, sent, lost) in total.items():
            link = f"{node}>{peer}"
            self._values.add(link, BYTES, t, 0, 0, size / length)
            if sent:
                self._values.add(link, LOSS, t, 0, 0, lost / sent)
            if peer in delays:
                self._values.add(link, DELAY, t, 0, 0, 1000.0 * delays[peer])

    def read_totals(self, node: str, incarnation: int, started: float) -> None:
        """Read what a node's newest incarnation has sent so far, if it has written it anew; `started`: Unix time of the run's start."""
        path = f"{self._nodes}/{node}/links.json" if incarnation <= 1 else f"{self._nodes}/{node}/links.{incarnation}.json"
        try:
            stamp = os.stat(path).st_mtime_ns  # noqa: PTH116 - called for every node several times a second
            if self._seen.get(node) == stamp:
                return
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                rows = json.loads(file.read())
        except (OSError, ValueError):
            return
        self._seen[node] = stamp
        t = stamp / 1e9 - started
        for row in rows if isinstance(rows, list) else []:
            if row.get("channel") in _CHANNELS:
                self._total(f"{node}>{row.get('peer')}", t, incarnation, float(row.get("sent_bytes") or 0))

    def _total(self, link: str, t: float, incarnation: int, sent: float) -> None:
        values = self._values.of_node(link)
        before = values.get(_TOTAL)
        if before is not None and before.step[-1] == incarnation and t > before.t[-1]:
            counts = values.get(LOSS)
            if counts is None or t - counts.t[-1] > self._recent:
                self._values.add(link, BYTES, t, 0, 0, max(0.0, (sent - before.v[-1]) / (t - before.t[-1])))
        self._values.add(link, _TOTAL, t, incarnation, 0, sent)


def configured_edges(configuration: Mapping[str, Any]) -> list[Edge]:
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
