"""The traffic of the links of a run over time: bytes a second, delay and loss as measured, and as link rules cause them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from math import ceil
from typing import Any

from orchestrator.page.history.metric_history import MetricHistory
from protocols.runtime.settings_types import parse_duration

BYTES, DELAY, LOSS = "bytes_per_s", "delay_ms", "loss"
INJECTED_DELAY, INJECTED_LOSS = "injected.delay_ms", "injected.loss"
_COUNTED = "counted"
_CHANNELS = ("peer", "env")
_SHORTEST = 0.2
_MOST_POINTS = 1_000_000
_LINKS_PER_LINE = 16
"""links of a node up to which each of its reports has a line of totals"""

Edge = tuple[str, str]
Totals = tuple[int, int, int, int]
"""bytes sent, and of the other direction messages received and missing, and the sum of their delays in microseconds"""


class LinkHistory:
    """Links are named `SENDER>RECEIVER`. Nodes write totals of what they sent and received; differences of two lines are rates, delays and
    losses. Nodes whose links have rules also write what the rules did in every second.

    The delay of a direction is the time of receipt minus the time stamp of the sender, so that it contains the difference of their clocks.
    The mean of both directions, half of the round-trip time, does not (`delay`)."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._values = MetricHistory(_MOST_POINTS)
        self._totals: dict[str, tuple[float, int, Totals]] = {}
        """link -> time, incarnation and totals of its newest line"""
        self._counted: dict[str, float] = {}
        try:
            every = parse_duration(str((configuration.get("metrics") or {}).get("every")))
        except ValueError:
            every = 2.0
        degrees = Counter(chain.from_iterable(self.edges))
        self._recent = max(3.0, 2.5 * every * ceil((max(degrees.values(), default=0) + 1) / _LINKS_PER_LINE))

    @cached_property
    def edges(self) -> list[Edge]:
        """Pairs of agents that exchange messages."""
        return configured_edges(self._configuration)

    def value(self, quantity: str, link: str, at: float) -> float | None:
        """What was known of a link at that time, if it is recent."""
        metric = self._values.get(quantity, link)
        index = metric.index(at) if metric is not None else -1
        return metric.v[index] if metric is not None and index >= 0 and at - metric.t[index] <= self._recent else None

    def window(self, quantity: str, link: str, since: float, until: float) -> list[float]:
        """The values after `since` up to `until`."""
        metric = self._values.get(quantity, link)
        return list(metric.v[metric.index(since) + 1 : metric.index(until) + 1]) if metric is not None else []

    def delay(self, a: str, b: str, at: float) -> float | None:
        """Milliseconds from sending to receipt, mean of both directions; None while one is unknown."""
        there, back = self.value(DELAY, f"{a}>{b}", at), self.value(DELAY, f"{b}>{a}", at)
        return None if there is None or back is None else max(0.0, (there + back) / 2)

    def loss(self, a: str, b: str, at: float) -> float | None:
        """Share of the messages that did not arrive, the larger of both directions."""
        return max((one for link in (f"{a}>{b}", f"{b}>{a}") if (one := self.value(LOSS, link, at)) is not None), default=None)

    def counted(self, node: str, t: float, links: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what link rules did in the period that ends at `t`: channel and receiver -> counts."""
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
            self._values.add(link, _COUNTED, t, 0, 0, 1.0)
            if sent:
                self._values.add(link, INJECTED_LOSS, t, 0, 0, lost / sent)
            if peer in delays:
                self._values.add(link, INJECTED_DELAY, t, 0, 0, 1000.0 * delays[peer])

    def totalled(self, node: str, t: float, incarnation: int, links: Mapping[str, Sequence[int]]) -> None:
        """Take the totals that a node wrote at `t`: channel and peer -> `Totals`."""
        for name, given in links.items():
            channel, _, peer = name.partition(" ")
            if channel not in _CHANNELS:
                continue
            sent, received, missing, delays = given
            known = self._totals.get(f"{node} {name}")
            went_on = known is not None and known[1] == incarnation
            since, _, (sent_before, received_before, missing_before, delays_before) = (
                known if known is not None and went_on else (t, incarnation, (0, 0, 0, 0))
            )
            self._totals[f"{node} {name}"] = t, incarnation, (sent, received, missing, delays)
            if t - since > _SHORTEST and self.value(_COUNTED, f"{node}>{peer}", t) is None:
                self._values.add(f"{node}>{peer}", BYTES, t, 0, 0, max(0.0, (sent - sent_before) / (t - since)))
            arrived, lost = received - received_before, max(0, missing - missing_before)
            if arrived > 0:
                self._values.add(f"{peer}>{node}", DELAY, t, 0, 0, (delays - delays_before) / arrived / 1000.0)
            if arrived + lost > 0:
                self._values.add(f"{peer}>{node}", LOSS, t, 0, 0, lost / (arrived + lost))


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
