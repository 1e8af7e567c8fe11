"""What a run's directory holds over time: its figures, its faults, and what went over its links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.report.charts.fault_charts import FaultSpan
from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import read_lines
from orchestrator.results.run_summary import ENVIRONMENT, RUN, MetricPoint, Series
from orchestrator.results.statistics.fault_bands import FaultWindow
from orchestrator.results.training_time import training_time

DISAGREEMENT = ("models.disagreement", "consensus.disagreement", "statistics.disagreement")
"""figures that tell how far agents are from each other over time, the first that a run has"""
_SHORTEST = 1e-3
"""seconds that a fault without length counts as"""


@dataclass(frozen=True)
class RecordedFault:
    """A fault as `summary.json` tells it; times in seconds since training began."""

    name: str
    kind: str
    node: str
    begin: float
    end: float | None
    detection: float | None
    recovery: float | None
    """seconds from its end until the run was itself again"""
    rates: Mapping[str, float] = field(default_factory=dict)
    """environment steps a second before, during and after"""

    def window(self, last: float) -> FaultWindow:
        """When it was there; until `last` where it did not end."""
        return FaultWindow(self.name, self.begin, max(self.begin + _SHORTEST, last if self.end is None else self.end))

    @property
    def fault_span(self) -> FaultSpan:
        """For the figure of faults."""
        recovered = None if self.end is None or self.recovery is None else self.end + self.recovery
        return FaultSpan(self.name, self.begin, self.end, recovered)


def faults(directory: Path) -> list[RecordedFault]:
    """In order of their beginning, each with a name of its own; of a run that has not ended as its events tell."""
    time = training_time(directory)
    stored = (runs.read_json(directory / "summary.json").get("faults") or {}).get("faults")
    records = stored if isinstance(stored, list) else _from_events(directory)
    times = Counter(str(record.get("id")) for record in records)
    found: list[RecordedFault] = []
    used: Counter[str] = Counter()
    for record in sorted(records, key=lambda one: float(one.get("begin") or 0.0)):
        name = str(record.get("id"))
        if times[name] > 1:
            used[name] += 1
            name = f"{name} {used[name]}"
        end = record.get("end")
        rates = {part: float(value) for part, value in (record.get("steps_per_second") or {}).items()}
        found.append(
            RecordedFault(name, str(record.get("kind")), str(record.get("node")), time.of(float(record["begin"])),
                  None if end is None else time.of(float(end)), record.get("detection"), record.get("recovery"), rates)
        )  # fmt: skip
    return found


def fault_figures(directory: Path) -> dict[str, float | None]:
    """Figures of the faults (`summary.json`); None: never."""
    stored = (runs.read_json(directory / "summary.json").get("faults") or {}).get("figures") or {}
    return {
        name: None if value is None else float(value) for name, value in stored.items() if value is None or isinstance(value, (int, float))
    }


def _from_events(directory: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for event in read_lines(directory / "events.jsonl"):
        about, time = event.get("fields") or {}, runs.parse_time(event.get("t"))
        if time is None or "fault" not in about:
            continue
        if event.get("code") == "fault.begin":
            begun = {"id": about["fault"], "kind": about.get("kind", ""), "node": event.get("node", ""), "begin": time.timestamp()}
            records.append(begun)
        elif event.get("code") == "fault.end":
            for record in reversed(records):
                if record["id"] == about["fault"] and "end" not in record:
                    record["end"] = time.timestamp()
                    break
    return records


def of_run(series: Series, name: str) -> list[MetricPoint]:
    """A figure's values by the node that knows best: the environment server, the run server, or the first agent that has it."""
    nodes = series.get(name, {})
    for node in (ENVIRONMENT, RUN, *sorted(nodes)):
        if nodes.get(node):
            return nodes[node]
    return []


def disagreement(series: Series) -> tuple[str, list[MetricPoint]]:
    """Name and values of how far the agents are from each other, of the run as a whole where it was measured; empty where it was not."""
    for name in DISAGREEMENT:
        nodes = series.get(name, {})
        if nodes.get(RUN):
            return name, nodes[RUN]
    for name in DISAGREEMENT:
        if points := of_run(series, name):
            return name, points
    return "", []


Link = tuple[str, str, str]
"""sender, channel, receiver"""
COUNTS = ("messages", "bytes", "lost", "duplicated", "reordered", "corrupted")


def traffic(directory: Path) -> dict[Link, dict[str, float]]:
    """What each node sent on each link: messages and bytes (`summary.json`), and what became of them (the nodes' fault logs)."""
    found: dict[Link, dict[str, float]] = {}
    for link in runs.read_json(directory / "summary.json").get("links") or []:
        key = (str(link.get("node")), str(link.get("channel")), str(link.get("peer")))
        found[key] = {"messages": float(link.get("sent_messages") or 0), "bytes": float(link.get("sent_bytes") or 0)}
    for path in sorted(directory.glob("nodes/*/faults.jsonl")):
        node = path.parent.name
        for line in read_lines(path):
            if line.get("what") != "links":
                continue
            for name, counts in (line.get("links") or {}).items():
                channel, _, peer = name.partition(" ")
                if (node, channel, peer) in found:
                    _add(found[node, channel, peer], counts, COUNTS[2:])
    return found


def _add(total: dict[str, float], counts: Mapping[str, Any], names: Collection[str]) -> None:
    for name in names:
        total[name] = total.get(name, 0.0) + float(counts.get(name) or 0)
