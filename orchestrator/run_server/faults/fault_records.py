"""The faults of a run, one by one, from its files: when each began and ended, when it was noticed, who was away meanwhile.

Under the wall clock all times are unix seconds: nodes and run server write down what they do, and events what the run server noticed. Under
the logical clock they are virtual seconds since training began, and come from the nodes alone: all nodes have the schedule, so nothing has
to be noticed, and the times of day at which processes came and went have no meaning for the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.results.recorded_run import FaultRecord
from orchestrator.run_server.faults.fault_plan import SUSPENDING
from protocols.faults.node_faults.node_fault import LETHAL
from protocols.faults.schedule.fault_schedule import LINK_KINDS

_NOTICED = ("node.suspect", "node.dead", "node.left", "node.stuck", "node.lost", "node.restart")
Spans = dict[str, list[tuple[float, float]]]
"""by node: (begin, end), apart and ascending"""


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
            spans[record.node].append((record.begin, min(stopped, record.end if record.end is not None else stopped)))
    return {node: _union(found) for node, found in spans.items()}


def planned_absences(records: Sequence[FaultRecord], stopped: float) -> Spans:
    """`away_of` under the logical clock: deaths and departures last as long as in the schedule."""
    spans: Spans = defaultdict(list)
    for record in records:
        if record.kind in LETHAL or record.kind.startswith("membership"):
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


def unix(t: object) -> float:
    """Seconds since 1970 of an event's time, which may be such a number already."""
    return t if isinstance(t, float) else datetime.fromisoformat(str(t)).timestamp()
