"""What faults did to a run, read from its files: when they were noticed, how long recovery took, what was lost meanwhile.

Figures (all times in seconds; `docs/metrics.md` lists them for `faults.expect`):

- detection: from the begin of a fault to the first suspicion, death or departure of its node that the run server notes;
- end of a fault: its line `end`; for a death the begin plus `restart_after`, since until then the fault holds the node back;
- recovery: from the end of a fault until all nodes are alive and the rate of environment steps in a whole window of figures is at least
  90 % of its mean over the 10 s before the fault (aliveness alone, where nothing was measured before);
- unavailable: union of the times in which a node was dead, away or paused.
"""

from __future__ import annotations

import heapq
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from orchestrator.run_files import figure_files, read_lines
from protocols.faults.deed import LETHAL
from protocols.faults.log import FILE
from protocols.faults.schedule import LINK_KINDS

RECOVERED = 0.9
"""share of the rate before a fault from which on the run counts as recovered"""
BEFORE = 10.0
"""seconds before a fault and after its end over which rates are compared"""
_STILL = ("process.pause", "process.hang")
_NOTICED = ("node.suspect", "node.dead", "node.left", "node.stuck", "node.lost", "node.restart")

Rate = list[tuple[float, float, float]]
"""windows (begin, end, events per second)"""


@dataclass
class FaultRecord:
    """One fault at one node, or of the links; times in unix seconds, None where there was none."""

    id: str
    kind: str
    node: str
    begin: float
    end: float | None = None
    detection: float | None = None
    """seconds after the begin"""
    recovery: float | None = None
    """seconds after the end; None: never within the run"""
    steps_per_second: dict[str, float] = field(default_factory=dict)
    """before, during, after"""
    rounds_per_second: dict[str, float] = field(default_factory=dict)
    """before, during, after; averaging rounds of all agents"""


@dataclass
class FaultReport:
    """All faults of a run, and what `faults.expect` may name: `figures` of the faults, and those of any metric."""

    faults: list[FaultRecord]
    unavailable: dict[str, float]
    figures: dict[str, float]
    metrics: dict[str, float] = field(default_factory=dict, repr=False)
    """NAME.final, .max, .min, .mean of every metric of the nodes; final is the mean over the nodes that have it"""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, without `metrics`; what never came is None."""
        fields = asdict(self)
        del fields["metrics"]
        fields["figures"] = {name: None if value == inf else value for name, value in self.figures.items()}
        return fields


def merge_logs(directory: Path) -> int:
    """Write `faults.jsonl`: the lines of all nodes and of the run server in order of time; the number of lines."""
    logs = [read_lines(path) for path in sorted(directory.glob(f"nodes/*/{FILE}"))]
    count = 0
    with (directory / FILE).open("w", encoding="utf-8") as out:
        for line in heapq.merge(*map(_ordered, logs), key=_time):
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
            count += 1
    return count


def report(directory: Path, restart_after: Mapping[str, float], counted: Mapping[str, float]) -> FaultReport:
    """`restart_after`: seconds by fault id. `counted`: figures that only the run server knows (`episodes.lost`, `node.restarts`, ...)."""
    events = [event for event in read_lines(directory / "events.jsonl") if "t" in event]
    running = next((_unix(event["t"]) for event in events if event.get("code") == "run.running"), None)
    stopped = next((_unix(event["t"]) for event in events if event.get("code") == "run.stopping"), inf)
    records = _records(read_lines(directory / FILE), restart_after)
    series = _series(directory)
    steps, rounds = _rate(series.get(("env-0", "steps_per_second"), []), counts=False), _rounds(series)
    away = _away(events, records, stopped)
    for record in records:
        record.detection = _detection(record, events)
        until = record.end if record.end is not None else stopped
        record.steps_per_second = _around(steps, record.begin, until)
        record.rounds_per_second = _around(rounds, record.begin, until)
        record.recovery = _recovery(until, record.steps_per_second.get("before"), steps, away, stopped)
    unavailable = {node: sum(b - a for a, b in spans) for node, spans in away.items()} if running is not None else {}
    return FaultReport(records, unavailable, {**_figures(records, unavailable, series), **counted}, _metrics(series))


# --- records ------------------------------------------------------------------------------------------------------------------------


def _records(lines: Iterable[Mapping[str, Any]], restart_after: Mapping[str, float]) -> list[FaultRecord]:
    records: list[FaultRecord] = []
    for line in lines:
        what, fault, node = line.get("what"), str(line.get("id")), str(line.get("target") or line.get("node"))
        if line.get("kind") in LINK_KINDS and line.get("node") != "run":
            continue  # what a node notes of its links, which the run server notes once
        if what == "begin":
            record = FaultRecord(fault, str(line.get("kind")), node, float(line["t"]))
            if record.kind in LETHAL or (record.kind.startswith("storage.") and record.kind not in ("storage.full", "storage.slow")):
                record.end = record.begin + restart_after.get(fault, 0.0)
            records.append(record)
        elif what == "end":
            found = next((r for r in reversed(records) if (r.id, r.node) == (fault, node)), None)
            if found is not None:
                found.end = float(line["t"])
    return records


def _detection(record: FaultRecord, events: Sequence[Mapping[str, Any]]) -> float | None:
    for event in events:
        if event.get("node") == record.node and event.get("code") in _NOTICED:
            after = _unix(event["t"]) - record.begin
            if after >= -0.001 and (record.kind in LETHAL or record.end is None or after <= record.end - record.begin):
                return max(0.0, after)
    return None


def _away(events: Sequence[Mapping[str, Any]], records: Sequence[FaultRecord], stopped: float) -> dict[str, list[tuple[float, float]]]:
    """By node, when it was dead, away or stood still while the run went on."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    since: dict[str, float] = {}
    for event in events:
        node, code, t = str(event.get("node")), event.get("code"), _unix(event["t"])
        if t >= stopped:
            break
        if code in ("node.dead", "node.left", "node.lost"):
            since.setdefault(node, t)
        elif code == "node.alive" and node in since:
            spans[node].append((since.pop(node), t))
    for node, begun in since.items():
        spans[node].append((begun, stopped))
    for record in records:
        if record.kind in _STILL:
            spans[record.node].append((record.begin, min(stopped, record.end if record.end is not None else stopped)))
    return {node: _union(found) for node, found in spans.items()}


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _recovery(
    end: float, before: float | None, rate: Rate, away: Mapping[str, Sequence[tuple[float, float]]], stopped: float
) -> float | None:
    """Seconds from `end` until nobody is away and the rate is what it was."""
    moments = [end, *(b for spans in away.values() for _, b in spans if b > end)]
    if before is not None:
        moments = [w_end for w_begin, w_end, value in rate if w_begin >= end - 1e-3 and value >= RECOVERED * before]
    for moment in sorted(moments):
        if moment < stopped and not any(a <= moment < b for spans in away.values() for a, b in spans):
            return moment - end
    return None


# --- rates --------------------------------------------------------------------------------------------------------------------------


def _series(directory: Path) -> dict[tuple[str, str], list[tuple[float, float]]]:
    series: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for path in figure_files(directory):
        for line in read_lines(path):
            value = line.get("value")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                series[path.parent.name, str(line.get("name"))].append((float(line.get("t") or 0), float(value)))
    return dict(series)


def _rate(points: Sequence[tuple[float, float]], counts: bool) -> Rate:
    """Windows from the points at their ends; `counts`: values are events of the window, else they are rates already."""
    return [(a, b, value / (b - a) if counts else value) for (a, _), (b, value) in pairwise(points) if b > a]


def _rounds(series: Mapping[tuple[str, str], Sequence[tuple[float, float]]]) -> Rate:
    windows = [w for (_, name), points in series.items() if name == "consensus.rounds" for w in _rate(points, counts=True)]
    return sorted(windows)


def _around(rate: Rate, begin: float, end: float) -> dict[str, float]:
    """Means over windows that lie before, within and after [begin, end]; what was not measured is left out."""
    parts = {
        "before": [value for a, b, value in rate if begin - BEFORE <= a and b <= begin],
        "during": [value for a, b, value in rate if begin <= a and b <= end],
        "after": [value for a, b, value in rate if end <= a and b <= end + BEFORE],
    }
    return {name: statistics.fmean(values) for name, values in parts.items() if values}


# --- figures ------------------------------------------------------------------------------------------------------------------------


def _figures(
    records: Sequence[FaultRecord], unavailable: Mapping[str, float], series: Mapping[tuple[str, str], Sequence[tuple[float, float]]]
) -> dict[str, float]:
    figures: dict[str, float] = {"faults.count": float(len(records))}
    detections = [record.detection for record in records if record.detection is not None]
    recoveries = [inf if record.recovery is None else record.recovery for record in records]
    for name, values in (("detection_time", detections), ("recovery_time", recoveries)):
        if values:
            figures |= {f"{name}.max": max(values), f"{name}.mean": statistics.fmean(values)}
    figures |= {"unavailable_time.sum": sum(unavailable.values()), "unavailable_time.max": max(unavailable.values(), default=0.0)}
    for name in ("steps_per_second", "rounds_per_second"):
        for part in ("before", "during", "after"):
            there = [getattr(record, name)[part] for record in records if part in getattr(record, name)]
            if there:
                figures[f"{name}.{part}"] = statistics.fmean(there)
    finals = {
        "consensus.error": ("run", "consensus.disagreement"),
        "alignment.final": ("env-0", "eval.own.aligned"),
        "episodes.substituted": ("env-0", "episodes.substituted"),
        "episodes.discarded": ("env-0", "episodes.peer_lost"),
    }
    for figure, key in finals.items():
        if series.get(key):
            figures[figure] = _total(series[key]) if figure.startswith("episodes.") else series[key][-1][1]
    return figures


def _total(points: Sequence[tuple[float, float]]) -> float:
    """What a counter has counted that begins again at zero whenever its node does."""
    values = [value for _, value in points]
    return values[-1] + sum(old for old, new in pairwise(values) if new < old)


def _metrics(series: Mapping[tuple[str, str], Sequence[tuple[float, float]]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    by_name: dict[str, list[Sequence[tuple[float, float]]]] = defaultdict(list)
    for (_, name), points in series.items():
        if points:
            by_name[name].append(points)
    for name, nodes in by_name.items():
        values = [value for points in nodes for _, value in points]
        summary = {"final": statistics.fmean(points[-1][1] for points in nodes), "max": max(values), "min": min(values)}
        for part, value in {**summary, "mean": statistics.fmean(values)}.items():
            figures[f"{name}.{part}"] = value
    return figures


def _ordered(lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(lines, key=_time)


def _time(line: Mapping[str, Any]) -> float:
    t = line.get("t")
    return float(t) if isinstance(t, (int, float)) else 0.0


def _unix(t: object) -> float:
    return datetime.fromisoformat(str(t)).timestamp()
