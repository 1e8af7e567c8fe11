"""What faults did to a run, read from its files: when they were noticed, how long recovery took, what was lost meanwhile.

Metrics (all times in seconds, virtual ones under the logical clock; `docs/reference/metrics.md` lists them for `faults.expect`):

- detection: from the begin of a fault to the first suspicion, death or departure of its node that the run server notes; none under the
  logical clock;
- end of a fault: its line `end`; for a death the begin plus `restart_after` (or `return_after`), since until then the fault holds the node
  back, and the return itself where that is earlier (all is healed) or given in steps or episodes;
- recovery: from the end of a fault until all nodes are alive and the rate of environment steps in a whole window of metrics is at least
  90 % of its mean over the 10 s before the fault (aliveness alone, where nothing was measured before);
- unavailable: union of the times in which a node was dead, away or paused.

Under the wall clock all times are unix seconds: nodes and run server write down what they do, and events what the run server noticed. Under
the logical clock they are virtual seconds since training began, and come from the nodes alone: all nodes have the schedule, so nothing has
to be noticed, and the times of day at which processes came and went have no meaning for the run.
"""

from __future__ import annotations

import heapq
import json
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from orchestrator.results.metric_series import ENVIRONMENT, RUN
from orchestrator.results.recorded_run import FaultRecord, RecordedRun
from orchestrator.results.run_files import read_lines
from orchestrator.run_server.faults.fault_plan import SUSPENDING
from protocols.faults.fault_schedule import LINK_KINDS
from protocols.faults.node_faults.fault_log import FILE
from protocols.faults.node_faults.scheduled_faults import LETHAL

RECOVERED = 0.9
"""share of the rate before a fault from which on the run counts as recovered"""
BEFORE = 10.0
"""seconds before a fault and after its end over which rates are compared"""

NodeValues = Mapping[tuple[str, str], Sequence[tuple[float, float]]]
"""(node, metric) -> (time, value) in order of writing"""
Rate = list[tuple[float, float, float]]
"""windows (begin, end, events per second)"""
Spans = dict[str, list[tuple[float, float]]]
"""by node: (begin, end), apart and ascending"""
_NOTICED = ("node.suspect", "node.dead", "node.left", "node.stuck", "node.lost", "node.restart")


@dataclass
class FaultReport:
    """All faults of a run, and what `faults.expect` may name: `fault_metrics`, and those of any metric."""

    faults: list[FaultRecord]
    unavailable: dict[str, float]
    fault_metrics: dict[str, float]
    metrics: dict[str, float] = field(default_factory=dict, repr=False)
    """NAME.final, .max, .min, .mean of every metric of the nodes; final is the mean over the nodes that have it"""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, without `metrics`; what never came is None."""
        fields = asdict(self)
        del fields["metrics"], fields["fault_metrics"]
        fields["figures"] = {name: None if value == inf else value for name, value in self.fault_metrics.items()}
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


def report(
    directory: Path, restart_after: Mapping[str, float | None], counted: Mapping[str, float], virtual: Collection[str] | None = None
) -> FaultReport:
    """`restart_after`: seconds by fault id, None where the return itself ends it.
    `counted`: metrics that only the run server has (`episodes.lost`, `node.restarts`, ...).
    `virtual`: ids of the faults of a run under the logical clock, without rules of its links, None under the wall clock."""
    recorded = RecordedRun(directory)
    time = recorded.training_time  # interruptions of the run don't count, until the metrics are computed
    series: NodeValues = {
        (node, name): [(time.without_gaps(point.time), point.value) for point in points]
        for name, nodes in recorded.series.items()
        for node, points in nodes.items()
    }
    rounds = _rounds(series)
    lines = list(read_lines(directory / FILE))
    if virtual is not None:
        steps = _increases(series.get((ENVIRONMENT, "steps"), []))
        stopped = max((end for _, end, _ in steps), default=0.0)
        records = sorted([*records_of(lines, restart_after), *links_of(lines, virtual)], key=lambda record: record.begin)
        end_by_return(records, _own_metrics(series, stopped))
        away = planned_absences(records, stopped)
    else:
        steps = _rate(series.get((ENVIRONMENT, "steps_per_second"), []), counts=False)
        events = [{**event, "t": time.without_gaps(unix(event["t"]))} for event in recorded.events if "t" in event]
        stopped = max((event["t"] for event in events if event.get("code") == "run.stopping"), default=inf)
        records = records_of([{**line, "t": time.without_gaps(float(line["t"]))} for line in lines if "t" in line], restart_after)
        end_by_return(records, _came_alive(events))
        running = any(event.get("code") == "run.running" for event in events)
        away = away_of(events, records, stopped) if running else {}
        for record in records:
            record.detection = detection_of(record, events)
    for record in records:
        until = record.end if record.end is not None else stopped
        record.steps_per_second = _around(steps, record.begin, until)
        record.rounds_per_second = _around(rounds, record.begin, until)
        record.recovery = _recovery(until, record.steps_per_second.get("before"), steps, away, stopped)
    for record in records:
        record.begin, record.end = time.with_gaps(record.begin), None if record.end is None else time.with_gaps(record.end)
    unavailable = {node: sum(b - a for a, b in spans) for node, spans in away.items()}
    return FaultReport(records, unavailable, {**_fault_metrics(records, unavailable, series), **counted}, _metrics(series))


def _came_alive(events: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """By node, when the run server noted that it is alive (again)."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("code") == "node.alive":
            times[str(event.get("node"))].append(unix(event["t"]))
    return times


def _own_metrics(series: NodeValues, stopped: float) -> dict[str, list[float]]:
    """By node, the virtual times of its metrics, which it writes again at most `metrics.every` after its return. Times of day, which
    metrics of the machine have, are beyond the end of the run."""
    times: dict[str, set[float]] = defaultdict(set)
    for (node, _), points in series.items():
        times[node].update(t for t, _ in points if t <= stopped)
    return {node: sorted(found) for node, found in times.items()}


def _recovery(
    end: float, before: float | None, rate: Rate, away: Mapping[str, Sequence[tuple[float, float]]], stopped: float
) -> float | None:
    """Seconds from `end` until no node is away and the rate is what it was."""
    moments = [end, *(b for spans in away.values() for _, b in spans if b > end)]
    if before is not None:
        moments = [w_end for w_begin, w_end, value in rate if w_begin >= end - 1e-3 and value >= RECOVERED * before]
    for moment in sorted(moments):
        if moment < stopped and not any(a <= moment < b for spans in away.values() for a, b in spans):
            return moment - end
    return None


# --- faults one by one --------------------------------------------------------------------------------------------------------------


def records_of(lines: Iterable[Mapping[str, Any]], restart_after: Mapping[str, float | None]) -> list[FaultRecord]:
    """From `faults.jsonl`; `restart_after`: seconds by fault id, None where the end has to be found (`end_by_return`)."""
    records: list[FaultRecord] = []
    for line in lines:
        what, fault, node = line.get("what"), str(line.get("id")), str(line.get("target") or line.get("node"))
        if line.get("kind") in LINK_KINDS and line.get("node") != "run":
            continue  # what a node notes of its links, which the run server notes once
        if what == "begin":
            record = FaultRecord(fault, str(line.get("kind")), node, float(line["t"]))
            if record.kind in LETHAL or (record.kind.startswith("storage.") and record.kind not in ("storage.full", "storage.slow")):
                held = restart_after.get(fault, 0.0)
                record.end = None if held is None else record.begin + held
            records.append(record)
        elif what == "end":
            found = next((r for r in reversed(records) if (r.id, r.node) == (fault, node)), None)
            if found is not None:
                found.end = float(line["t"])
    return records


def end_by_return(records: Iterable[FaultRecord], returns: Mapping[str, Sequence[float]]) -> None:
    """Set the end of each lethal fault to the first sign of its node after its begin, where the record has no end or a later one.
    `returns`: node -> times in seconds of its heartbeats and metrics, ascending. The end stays None for a node that never returned."""
    for record in records:
        if record.kind in LETHAL:
            back = next((t for t in returns.get(record.node, ()) if t > record.begin), None)
            if record.end is None or (back is not None and back < record.end):
                record.end = back


def links_of(lines: Iterable[Mapping[str, Any]], events: Collection[str]) -> list[FaultRecord]:
    """Faults of the links under the logical clock, where only the nodes note them (lines `on` and `off`): those of `events`, from the
    first node that has one to the last that has it no more."""
    found: dict[str, FaultRecord] = {}
    since: dict[tuple[str, str], float] = {}
    for line in lines:
        fault, time, at = str(line.get("id")), line.get("time"), (str(line.get("id")), str(line.get("node")))
        if fault not in events or line.get("kind") not in LINK_KINDS or not isinstance(time, (int, float)):
            continue
        if line.get("what") == "on":
            since[at] = float(time)
            record = found.setdefault(fault, FaultRecord(fault, str(line["kind"]), "run", float(time)))
            record.begin = min(record.begin, float(time))
        # A node that was away at its end has begin and end in the moment of its return.
        elif line.get("what") == "off" and since.get(at, time) < time:
            found[fault].end = max(found[fault].end or 0.0, float(time))
    return list(found.values())


def detection_of(record: FaultRecord, events: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds until the run server noticed it, by its events; None where it did not while it lasted."""
    for event in events:
        if event.get("node") == record.node and event.get("code") in _NOTICED:
            after = unix(event["t"]) - record.begin
            if after >= -0.001 and (record.kind in LETHAL or record.end is None or after <= record.end - record.begin):
                return max(0.0, after)
    return None


def away_of(events: Sequence[Mapping[str, Any]], records: Sequence[FaultRecord], stopped: float) -> Spans:
    """By node, when it was dead, away or stood still while the run went on."""
    spans: Spans = defaultdict(list)
    since: dict[str, float] = {}
    for event in events:
        node, code, t = str(event.get("node")), event.get("code"), unix(event["t"])
        if t >= stopped:
            break
        if code in ("node.dead", "node.left", "node.lost"):
            since.setdefault(node, t)
        elif code == "node.alive" and node in since:
            spans[node].append((since.pop(node), t))
    for node, begun in since.items():
        spans[node].append((begun, stopped))
    for record in records:
        if record.kind in SUSPENDING:
            spans[record.node].append(_span(record, stopped))
    return {node: _union(found) for node, found in spans.items()}


def planned_absences(records: Sequence[FaultRecord], stopped: float) -> Spans:
    """`away_of` under the logical clock: deaths and departures last as long as in the schedule."""
    spans: Spans = defaultdict(list)
    for record in records:
        if record.kind in LETHAL or record.kind.startswith("membership"):
            spans[record.node].append(_span(record, stopped))
    return {node: _union(found) for node, found in spans.items()}


def _span(record: FaultRecord, stopped: float) -> tuple[float, float]:
    return record.begin, min(stopped, record.end if record.end is not None else stopped)


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def unix(t: object) -> float:
    """Seconds since 1970 of an event's time, which may be such a number already."""
    return t if isinstance(t, float) else datetime.fromisoformat(str(t)).timestamp()


# --- rates --------------------------------------------------------------------------------------------------------------------------


def _rate(points: Sequence[tuple[float, float]], counts: bool) -> Rate:
    """Windows from the points at their ends; `counts`: values are events of the window, else they are rates already."""
    return [(a, b, value / (b - a) if counts else value) for (a, _), (b, value) in pairwise(points) if b > a]


def _increases(points: Sequence[tuple[float, float]]) -> Rate:
    """Windows of a figure that counts on."""
    return [(a, b, (after - before) / (b - a)) for (a, before), (b, after) in pairwise(points) if b > a and after >= before]


def _rounds(series: NodeValues) -> Rate:
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


# --- metrics ------------------------------------------------------------------------------------------------------------------------


def _fault_metrics(records: Sequence[FaultRecord], unavailable: Mapping[str, float], series: NodeValues) -> dict[str, float]:
    found: dict[str, float] = {"faults.count": float(len(records))}
    detections = [record.detection for record in records if record.detection is not None]
    recoveries = [inf if record.recovery is None else record.recovery for record in records]
    for name, values in (("detection_time", detections), ("recovery_time", recoveries)):
        if values:
            found |= {f"{name}.max": max(values), f"{name}.mean": statistics.fmean(values)}
    found |= {"unavailable_time.sum": sum(unavailable.values()), "unavailable_time.max": max(unavailable.values(), default=0.0)}
    for name in ("steps_per_second", "rounds_per_second"):
        for part in ("before", "during", "after"):
            there = [getattr(record, name)[part] for record in records if part in getattr(record, name)]
            if there:
                found[f"{name}.{part}"] = statistics.fmean(there)
    finals = {
        "consensus.error": (RUN, "consensus.disagreement"),
        "alignment.final": (ENVIRONMENT, "eval.own.aligned"),
        "episodes.substituted": (ENVIRONMENT, "episodes.substituted"),
        "episodes.discarded": (ENVIRONMENT, "episodes.peer_lost"),
    }
    for figure, key in finals.items():
        if series.get(key):
            values = [value for _, value in series[key]]
            # After a crash of its machine a server counts on from its last save, which may be older than its last metrics.
            found[figure] = max(values) if figure.startswith("episodes.") else values[-1]
    return found


def _metrics(series: NodeValues) -> dict[str, float]:
    found: dict[str, float] = {}
    by_name: dict[str, list[Sequence[tuple[float, float]]]] = defaultdict(list)
    for (_, name), points in series.items():
        if points:
            by_name[name].append(points)
    for name, nodes in by_name.items():
        values = [value for points in nodes for _, value in points]
        summary = {"final": statistics.fmean(points[-1][1] for points in nodes), "max": max(values), "min": min(values)}
        for part, value in {**summary, "mean": statistics.fmean(values)}.items():
            found[f"{name}.{part}"] = value
    return found


def _ordered(lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(lines, key=_time)


def _time(line: Mapping[str, Any]) -> float:
    t = line.get("t", line.get("time"))
    return float(t) if isinstance(t, (int, float)) else 0.0
