"""The files of one run in memory, read as they grow: metrics, events, faults, traffic of links. A live run and a finished one
are read alike.

All times are seconds since the run first started. Under the logical clock metrics have virtual times; they are placed where the usage
lines, which have times of day, have the same node and step. Where a run went back to a checkpoint, what was written after it is replaced.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.page.history.goal_history import GoalHistory
from orchestrator.page.history.growing_files import GrowingFile
from orchestrator.page.history.link_history import Edge, LinkHistory
from orchestrator.page.history.metric_history import MetricHistory, MetricLine
from orchestrator.results.metric_series import VIRTUAL
from orchestrator.results.run_directories import FINAL, parse_time, read
from orchestrator.results.run_files import read_json

TIME = "time."
_WINDOW = 0.01
"""seconds by which lines of one window of time differ at most"""
_MOST_EVENTS = 20_000
_PER_MESSAGE = b'"what":"message"'
_FILES = ("metrics.jsonl", "usage.jsonl", "faults.jsonl", "links.jsonl")
_OTHER_STEPS = ".round"
"""end of the names of metrics whose lines count updates or rounds as steps, in place of what the reports count"""


@dataclass(frozen=True)
class NodeUsage:
    """Processor and memory of a node: share of a core, bytes."""

    cpu: float | None = None
    memory: int | None = None


@dataclass
class FaultInterval:
    """One fault of the run. Times are seconds of the run; `until` is None while it lasts."""

    id: str
    kind: str
    t: float
    text: str
    target: str = ""
    node: str = ""
    until: float | None = None
    event: dict[str, Any] = field(default_factory=dict)
    """the rule as in a configuration, where it is known"""

    def lasts(self, at: float) -> bool:
        """Whether it is on at this time."""
        return self.t <= at and (self.until is None or at < self.until)


@dataclass
class NodeChange:
    """A node's membership state from a time on."""

    t: float
    state: str
    text: str
    incarnation: int


class RunHistory:
    """The history of the run in `directory`; `refresh` reads what is new."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = read_json(directory / "config.json")
        self.record: dict[str, Any] = {}
        """`run.json`"""
        self.started = 0.0
        """Unix time of the first start; 0 where it is unknown"""
        self.state = "STARTING"
        """state of the run: that of `run.json`, or LOST where its run server is gone"""
        self.metrics = MetricHistory()
        self.links = LinkHistory(self.configuration)
        self.events: list[dict[str, Any]] = []
        """{"t", "kind", "node", "text"}, in order"""
        self.milestones: list[tuple[float, str]] = []
        """time and kind of the events of the run as a whole"""
        self.changes: dict[str, list[NodeChange]] = {}
        self.faults: list[FaultInterval] = []
        self._listed_at = -inf
        self.last = 0.0
        """newest time that any file has"""
        self._events_file = GrowingFile(directory / "events.jsonl")
        self._files: dict[str, tuple[GrowingFile, ...]] = {}
        """node -> `_FILES`"""
        self.goals = GoalHistory()
        self._goals_file = GrowingFile(directory / "nodes" / "env-0" / "goals.jsonl")
        self._anchors: dict[str, tuple[list[float], list[float]]] = {}
        """node -> virtual times and the seconds of the run at which they were written"""
        self._last_steps: dict[str, int] = {}
        """node -> step of its newest line of usage (logical clock)"""
        self._rules = _rules(self.configuration)
        self._shares: dict[str, tuple[float, dict[str, float]]] = {}
        self._usage: dict[str, NodeUsage] = {}
        self._lines = msgspec.json.Decoder(MetricLine)

    @property
    def agents(self) -> list[str]:
        """Names of the agents, by the configuration."""
        return [f"agent-{i}" for i in range(int((self.configuration.get("agents") or {}).get("count") or 0))]

    @property
    def edges(self) -> list[Edge]:
        """Pairs of agents that exchange messages."""
        return self.links.edges

    def components(self, name: str) -> str:
        """What a node is made of, in words: learner and world model, or environment and copies."""
        if name == "env-0":
            environment = self.configuration.get("environment") or {}
            return f"{environment.get('id', '')} x{environment.get('copies', 1)}"
        agents = self.configuration.get("agents") or {}
        chosen = {**agents, **((agents.get("overrides") or {}).get(name) or {})}
        kinds = [str((chosen.get(part) or {}).get("kind") or "") for part in ("learner", "world_model")]
        return " + ".join(kind for kind in kinds if kind)

    def time_shares(self, node: str, at: float) -> dict[str, float]:
        """Activity -> share of the node's newest window of time; empty without any. What the window lacks is absent."""
        by_name = self.metrics.of_node(node)
        other = by_name.get(f"{TIME}other")
        index = other.index(at) if other is not None else -1
        if other is None or index < 0:
            return {}
        known = self._shares.get(node)
        if known is None or known[0] != other.t[index]:
            end = other.t[index]
            shares = {}
            for name, metric in by_name.items():
                if name.startswith(TIME) and abs(metric.t[here := metric.index(end + _WINDOW)] - end) <= _WINDOW and here >= 0:
                    shares[name.removeprefix(TIME)] = round(metric.v[here], 3)
            known = self._shares[node] = (end, shares)
        return known[1]

    def final_usage(self, name: str) -> NodeUsage | None:
        """Mean processor share and peak memory of a node of an ended run, as its summary has them."""
        return self._usage.get(name)

    @property
    def logical(self) -> bool:
        """Whether metrics have virtual times."""
        return self.configuration.get("clock") == "logical"

    def seconds(self, stamp: Any) -> float | None:
        """Seconds of the run at a time as files hold it; None where it is none."""
        if isinstance(stamp, (int, float)) and stamp < VIRTUAL:
            return self._placed(float(stamp), "env-0")
        parsed = parse_time(stamp)
        return parsed.timestamp() - self.started if parsed is not None else None

    def refresh(self) -> bool:
        """Read what the files have more than before. True where a file has more than one call reads: call again."""
        run = read(self.directory)
        self.record, self.state = run.record or self.record, run.state
        begun = parse_time(self.record.get("first_started") or self.record.get("started"))
        self.started = begun.timestamp() if begun is not None else 0.0
        if self.state in FINAL and not self._usage:
            self._usage = _usage(read_json(self.directory / "summary.json"))
        if not self.configuration:
            self.configuration = read_json(self.directory / "config.json")
            self._rules = _rules(self.configuration)
            self.links = LinkHistory(self.configuration)
        self._read_events()
        behind = self._events_file.behind
        self._list_nodes()
        for name, (metrics_file, usage_file, faults_file, links_file) in self._files.items():
            usage, metrics, faults = usage_file.read(), metrics_file.read(), faults_file.read()
            if metrics_file.restarted or usage_file.restarted or self._went_back(name, usage):
                self.metrics.forget(name)
                self._anchors.pop(name, None)
                metrics_file.rewind()
                usage_file.rewind()
                usage, metrics = usage_file.read(), metrics_file.read()
            if metrics or usage:
                self._take_metrics(name, metrics, usage)
            if faults:
                self._take_faults(name, faults)
            for line in _objects(links_file.read()):
                with suppress(KeyError, TypeError, ValueError, AttributeError):  # a damaged line
                    t = float(line["t"]) - self.started
                    self.links.totalled(name, t, int(line["incarnation"]), line["links"])
                    self.last = max(self.last, t)
            behind = behind or any(file.behind for file in self._files[name])
        goals = self._goals_file.read()
        if self._goals_file.restarted:
            self.goals.forget()
        if goals:
            self.goals.extend(goals, lambda stamp: self.seconds(stamp) or 0.0)
        return behind or self._goals_file.behind

    def _list_nodes(self) -> None:
        """Look for directories of nodes, at most every second."""
        if time.monotonic() < self._listed_at + 1.0:
            return
        self._listed_at = time.monotonic()
        nodes = self.directory / "nodes"
        with suppress(OSError):
            for entry in os.scandir(nodes):
                if entry.name not in self._files and entry.is_dir():
                    self._files[entry.name] = tuple(GrowingFile(nodes / entry.name / file) for file in _FILES)

    # --- metrics ------------------------------------------------------------------------------------------------------------------

    def _take_metrics(self, node: str, metrics: bytes, usage: bytes) -> None:
        usage_lines = self._decoded(usage)
        metric_lines = self._decoded(metrics)
        if self.logical:
            self._anchor(node, metric_lines, usage_lines)
            if usage_lines:
                self._last_steps[node] = usage_lines[-1].step
        for lines in (metric_lines, usage_lines):
            if self.logical:
                for line in lines:
                    line.t = self._placed(line.t, node) + self.started if line.t < VIRTUAL else line.t
            if lines:
                self.metrics.extend(node, lines, self.started)
                self.last = max(self.last, lines[-1].t - self.started)

    def _went_back(self, node: str, usage: bytes) -> bool:
        """Whether, under the logical clock, these lines show that the node goes on from an earlier step than it had reached: its metrics
        have been cut, and may have been written again with the same bytes."""
        last = self._last_steps.get(node)
        if last is None or not usage or not self.logical:
            return False
        steps = [last, *(line.step for line in self._decoded(usage))]
        return any(later < earlier for earlier, later in pairwise(steps))

    def _decoded(self, data: bytes) -> list[MetricLine]:
        if not data:
            return []
        try:
            return self._lines.decode_lines(data)
        except msgspec.DecodeError:  # a damaged line: leave it out
            found = []
            for line in data.splitlines():
                try:
                    found.append(self._lines.decode(line))
                except msgspec.DecodeError:
                    continue
            return found

    def _anchor(self, node: str, metrics: list[MetricLine], usage: list[MetricLine]) -> None:
        """Learn which time of day belongs to a virtual time: metrics and usage of one node and step were written together. A virtual time
        that comes again, since the run went back, replaces the later ones."""
        virtual = {line.step: line.t for line in metrics if line.t < VIRTUAL and not line.name.endswith(_OTHER_STEPS)}
        times, seconds = self._anchors.setdefault(node, ([], []))
        for line in usage:
            t = virtual.get(line.step)
            if t is None or (times and t == times[-1]):
                continue
            if times and t < times[-1]:
                first = bisect_left(times, t)
                del times[first:], seconds[first:]
            times.append(t)
            seconds.append(line.t - self.started)

    def _placed(self, t: float, node: str) -> float:
        """Seconds of the run at a virtual time, between the two nearest anchors of the node, or of another where it has none."""
        times, seconds = self._anchors.get(node) or ([], [])
        if not times:
            times, seconds = next((one for one in self._anchors.values() if one[0]), ([], []))
        if not times:
            return t
        index = bisect_right(times, t)
        if index == 0:
            return max(0.0, seconds[0] - (times[0] - t))
        if index == len(times):
            return seconds[-1] + min(t - times[-1], 1.0)
        share = (t - times[index - 1]) / (times[index] - times[index - 1])
        return seconds[index - 1] + share * (seconds[index] - seconds[index - 1])

    # --- events and faults --------------------------------------------------------------------------------------------------------

    def _read_events(self) -> None:
        for line in _objects(self._events_file.read()):
            t = self.seconds(line.get("t"))
            if t is None:
                continue
            code, node, text = str(line.get("code", "")), str(line.get("node", "run")), str(line.get("text", ""))
            self.last = max(self.last, t)
            self.events.append({"t": round(t, 3), "kind": code, "node": node, "text": text})
            if code.startswith("run."):
                self.milestones.append((t, code))
            if code.startswith("node.") and code.removeprefix("node.") in _STATES:
                change = NodeChange(t, code.removeprefix("node."), text, int(line.get("incarnation") or 0))
                self.changes.setdefault(node, []).append(change)
            elif code in ("fault.begin", "fault.end"):
                self._fault_event(code == "fault.begin", t, node, text, line.get("fields") or {})
        del self.events[:-_MOST_EVENTS]

    def _fault_event(self, begins: bool, t: float, node: str, text: str, about: dict[str, Any]) -> None:
        name = str(about.get("fault", ""))
        if begins:
            kind, target = str(about.get("kind", "")), text.rpartition(" at ")[2]
            self.faults.append(FaultInterval(name, kind, t, text, target, "" if node == "run" else node, event=self._rules.get(name, {})))
            return
        for fault in reversed(self.faults):
            if fault.id == name and fault.until is None and (node in ("run", fault.node) or not fault.node):
                fault.until = t
                return

    def _take_faults(self, node: str, data: bytes) -> None:
        for raw in data.splitlines():
            if _PER_MESSAGE in raw[:60]:
                continue
            for line in _objects(raw):
                if line.get("what") == "links":
                    t = self.seconds(line.get("t"))
                    with suppress(KeyError, TypeError, ValueError, AttributeError):  # a damaged line
                        if t is not None:
                            self.links.counted(node, t, line["links"])
                elif (rule := line.get("event")) is not None and isinstance(rule, dict):
                    name = str(line.get("id", ""))
                    self._rules[name] = rule
                    for fault in self.faults:
                        if fault.id == name:
                            fault.event = rule


def _usage(summary: dict[str, Any]) -> dict[str, NodeUsage]:
    wall = float(summary.get("wall_seconds") or 0.0)
    found = {}
    for name, node in (summary.get("nodes") or {}).items():
        usage = (node or {}).get("usage") or {}
        cpu, memory = usage.get("cpu_seconds"), usage.get("peak_resident")
        found[name] = NodeUsage(float(cpu) / wall if cpu is not None and wall > 0 else None, int(memory) if memory else None)
    return found


_STATES = frozenset({"joining", "alive", "stuck", "suspect", "dead", "left", "lost"})


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _rules(configuration: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Id -> rule of the configured faults: events as they stand there, rules of links as `{"link": rule}`."""
    faults = configuration.get("faults") or {}
    found = {str(one.get("id")): one for one in faults.get("events") or [] if isinstance(one, dict)}
    return found | {str(one.get("id")): {"link": one} for one in faults.get("links") or [] if isinstance(one, dict)}
