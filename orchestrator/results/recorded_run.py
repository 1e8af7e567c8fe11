"""A run as its directory records it: configuration, metrics over time, events, faults, traffic, and where its time went.

This is the one reader of a run's results. `show`, `compare`, reports, experiments and `summary.json` are functions of it.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.results import metric_series
from orchestrator.results.metric_series import FINAL, RUN, VIRTUAL, MetricPoint, Series, TrainingTime, run_points, training_time
from orchestrator.results.run_directories import parse_time
from orchestrator.results.run_files import read_json, read_lines
from protocols.runtime.settings_types import parse_duration

if TYPE_CHECKING:
    from orchestrator.results.statistics.fault_bands import FaultWindow
    from orchestrator.results.statistics.runs_table import Curve

DISAGREEMENT = ("models.disagreement", "consensus.disagreement", "statistics.disagreement")
"""metrics of how far the agents' parameters are apart; the first that a run has counts"""
TIME = "time."
"""prefix of metrics of how a node's time is divided; the rest of the name is the activity"""
IDLE = ("wait", "other")
"""activities that are not work"""
Link = tuple[str, str, str]
"""sender, channel, receiver"""
COUNTS = ("messages", "bytes", "lost", "duplicated", "reordered", "corrupted")


@dataclass
class FaultRecord:
    """One fault at one node, or of the links, from its begin to the recovery of the run. Times are Unix seconds (virtual seconds under the
    logical clock) in `summary.json`, and seconds since training began in `RecordedRun.faults`. None: it never came."""

    id: str
    kind: str
    node: str
    begin: float
    end: float | None = None
    detection: float | None = None
    """seconds after the begin"""
    recovery: float | None = None
    """seconds after the end until the run had recovered; None: not before the end of the run"""
    steps_per_second: dict[str, float] = field(default_factory=dict)
    """before, during, after"""
    rounds_per_second: dict[str, float] = field(default_factory=dict)
    """before, during, after; averaging rounds of all agents"""

    def window(self, last: float) -> FaultWindow:
        """From its begin to its end; until `last` where it did not end. A fault without length counts as a millisecond."""
        from orchestrator.results.statistics.fault_bands import FaultWindow

        return FaultWindow(self.id, self.begin, max(self.begin + 1e-3, last if self.end is None else self.end))


class RecordedRun:
    """The results of the run in `directory`, finished or not. Every file is read once, when it is first needed; files that are absent are
    empty."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def name(self) -> str:
        """Name of the run: that of its directory."""
        return self.directory.name

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The resolved configuration, `config.json`."""
        return read_json(self.directory / "config.json")

    @cached_property
    def record(self) -> dict[str, Any]:
        """State, engine and versions of the run, `run.json`."""
        return read_json(self.directory / "run.json")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run server computed at the end, `summary.json`."""
        return read_json(self.directory / "summary.json")

    @cached_property
    def verdict(self) -> dict[str, Any]:
        """Whether the expectations of `faults.expect` hold, `verdict.json`."""
        return read_json(self.directory / "verdict.json")

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Events of the run in order, `events.jsonl`."""
        return list(read_lines(self.directory / "events.jsonl"))

    @cached_property
    def cut_evaluation(self) -> dict[str, float] | None:
        """Of the newest last evaluation, if it was cut short: `episodes` it has, `planned` ones, and `seconds` of its bound."""
        for event in reversed(self.events):
            if event.get("code") == "run.evaluation":
                return None
            if event.get("code") == "evaluation.cut":
                fields = event.get("fields") or {}
                found = {name: float(fields.get(name, 0)) for name in ("episodes", "planned", "seconds")}
                return {**found, "episodes": int(found["episodes"]), "planned": int(found["planned"])}
        return None

    @cached_property
    def series(self) -> Series:
        """Metric -> node -> points."""
        return metric_series.read_series(self.directory)

    @cached_property
    def incarnations(self) -> dict[str, list[dict[str, Any]]]:
        """Node -> one record for each process that was started for it."""
        return {path.parent.name: list(read_lines(path)) for path in sorted(self.directory.glob("nodes/*/incarnations.jsonl"))}

    # --- time ---------------------------------------------------------------------------------------------------------------------

    @property
    def logical(self) -> bool:
        """Whether the run used the logical clock."""
        return self.configuration.get("clock") == "logical"

    @property
    def seconds(self) -> str:
        """What its seconds are called."""
        return "virtual seconds" if self.logical else "seconds"

    @cached_property
    def training_time(self) -> TrainingTime:
        """From the times of its metrics and events to seconds since training began."""
        return TrainingTime() if self.logical else training_time(self.events)

    @cached_property
    def end_of_training(self) -> float:
        """Seconds of training when it was over; infinite where that is not recorded: under the logical clock, where steps or episodes
        ended it."""
        if self.logical:
            until = (self.configuration.get("until") or {}).get("time")
            return inf if until is None else parse_duration(until)
        ends = [parse_time(event.get("t")) for event in self.events if event.get("code") == "run.evaluation"]
        return self.training_time.of(ends[-1].timestamp()) if ends and ends[-1] is not None else inf

    def over_time(self, points: Sequence[MetricPoint], end: float = inf) -> Curve | None:
        """Values over seconds of training; None without any. Points before training are left out, under the logical clock also points
        without a virtual time. Points after `end` (the last evaluation) are moved there: they measure what had been learnt by then."""
        from orchestrator.results.statistics.runs_table import Curve

        time, until = self.training_time, inf if self.training_time.zero else VIRTUAL
        ordered = sorted((point for point in points if time.zero <= point.time < until), key=lambda one: one.time)
        values = {min(time.of(point.time), end): point.value for point in ordered}
        return Curve(list(values), list(values.values())) if values else None  # type: ignore[arg-type]

    @cached_property
    def time_shares(self) -> dict[str, dict[str, float]]:
        """Node -> activity -> share of the time that the node accounts for.

        Nodes write shares of windows of time. With w_k the length of window k, share(a) = sum_k w_k share_k(a) over the sum of this over
        all activities: windows are not equally long.
        """
        parts: dict[str, dict[str, list[MetricPoint]]] = defaultdict(dict)
        for name, nodes in self.series.items():
            if name.startswith(TIME):
                for node, points in nodes.items():
                    parts[node][name.removeprefix(TIME)] = points
        found = {}
        for node, activities in sorted(parts.items()):
            windows = self._windows(node, sorted({point.time for points in activities.values() for point in points}))
            seconds = {name: sum(windows[point.time] * point.value for point in points) for name, points in sorted(activities.items())}
            if (whole := sum(seconds.values())) > 0:
                found[node] = {name: spent / whole for name, spent in seconds.items()}
        return found

    def _windows(self, node: str, ends: Sequence[float]) -> dict[float, float]:
        """Length of the window that ends at each of these times: since the one before it, or since the process began; where neither is
        known, the median of the others."""
        started = [begun.timestamp() for line in self.incarnations.get(node, []) if (begun := parse_time(line.get("t"))) is not None]
        usual = statistics.median([after - before for before, after in pairwise(ends)] or [1.0])
        windows: dict[float, float] = {}
        for before, end in zip((None, *ends), ends, strict=False):
            begins = [begin for begin in started if begin < end] + ([] if before is None else [before])
            windows[end] = end - max(begins) if begins else usual
        return windows

    @property
    def slowest(self) -> tuple[float, str, str] | None:
        """(share, node, activity): the largest share of any node's time that an activity takes; waiting does not count."""
        shares = ((share, node, name) for node, parts in self.time_shares.items() for name, share in parts.items() if name not in IDLE)
        return max((one for one in shares if one[0] > 0), default=None)

    # --- metrics ------------------------------------------------------------------------------------------------------------------

    def final(self, name: str, share: float = FINAL) -> float | None:
        """A metric at the end of the run: `metric_series.final_value`."""
        return metric_series.final_value(name, self.series.get(name, {}), share)

    def points(self, name: str) -> Sequence[MetricPoint]:
        """A metric of the run as a whole: `metric_series.run_points`."""
        return run_points(self.series.get(name, {}))

    @property
    def disagreement(self) -> tuple[str, Sequence[MetricPoint]]:
        """Name and values of how far the agents are apart, of the run as a whole where that was measured; empty without any."""
        for name in DISAGREEMENT:
            if of_run := self.series.get(name, {}).get(RUN):
                return name, of_run
        return next(((name, points) for name in DISAGREEMENT if (points := self.points(name))), ("", []))

    # --- faults and traffic -------------------------------------------------------------------------------------------------------

    @cached_property
    def faults(self) -> list[FaultRecord]:
        """In order of their beginning, each with an id of its own; of a run that has not ended, from its events."""
        stored = (self.summary.get("faults") or {}).get("faults")
        records = stored if isinstance(stored, list) else self._faults_so_far()
        names = {field.name for field in fields(FaultRecord)}
        found = [FaultRecord(**{name: value for name, value in record.items() if name in names}) for record in records]
        times, used, time = Counter(record.id for record in found), Counter[str](), self.training_time
        for record in sorted(found, key=lambda one: one.begin):
            used[record.id] += 1
            if times[record.id] > 1:
                record.id = f"{record.id} {used[record.id]}"
            record.begin, record.end = time.of(record.begin), None if record.end is None else time.of(record.end)
        return sorted(found, key=lambda one: one.begin)

    def _faults_so_far(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for event in self.events:
            about, time = event.get("fields") or {}, parse_time(event.get("t"))
            if time is None or "fault" not in about:
                continue
            if event.get("code") == "fault.begin":
                begun = {"id": about["fault"], "kind": about.get("kind", ""), "node": event.get("node", ""), "begin": time.timestamp()}
                records.append(begun)
            elif event.get("code") == "fault.end":
                open_ = (record for record in reversed(records) if record["id"] == about["fault"] and "end" not in record)
                if (record := next(open_, None)) is not None:
                    record["end"] = time.timestamp()
        return records

    @cached_property
    def fault_metrics(self) -> dict[str, float | None]:
        """Metrics of the faults; None: never."""
        stored = (self.summary.get("faults") or {}).get("figures") or {}
        return {
            name: None if value is None else float(value)
            for name, value in stored.items()
            if value is None or isinstance(value, (int, float))
        }

    @cached_property
    def traffic(self) -> dict[Link, dict[str, float]]:
        """Link -> messages and bytes sent over it (`summary.json`), and how many were lost, repeated, ... (the nodes' fault logs)."""
        found: dict[Link, dict[str, float]] = {}
        for link in self.summary.get("links") or []:
            key = (str(link.get("node")), str(link.get("channel")), str(link.get("peer")))
            found[key] = {"messages": float(link.get("sent_messages") or 0), "bytes": float(link.get("sent_bytes") or 0)}
        for path in sorted(self.directory.glob("nodes/*/faults.jsonl")):
            for line in read_lines(path):
                for name, counts in (line.get("links") or {}).items() if line.get("what") == "links" else ():
                    channel, _, peer = name.partition(" ")
                    total = found.get((path.parent.name, channel, peer))
                    for count in COUNTS[2:] if total is not None else ():
                        total[count] = total.get(count, 0.0) + float(counts.get(count) or 0)  # type: ignore[union-attr,index]
        return found
