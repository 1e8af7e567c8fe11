"""A finished run and a `measure:` entry: a value and a curve.

The curve has a point for each step at which the figure was written. Steps are those of the figure's own axis (environment steps at `env-0`
and agents, rounds for `consensus.*` of `run`). Where steps fall, a node has gone on from a checkpoint: what it had written of later steps
belongs to a lost segment, and does not count. The value is made of the points in the last `over` of the steps: those with
step > (1 - share) * last step. A figure of several agents is the mean over them: of their values, and of their curves where all have points
(linear in between). With `curves_over: time` the same points make a curve over seconds of training; the value stays what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.experiments.design.experiment_design import Measure
from orchestrator.results.metric_series import ENVIRONMENT, RUN, MetricPoint, NodeSeries, without_lost_segments
from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.statistics.curve_statistics import at_steps, common_steps
from orchestrator.results.statistics.runs_table import Curve, Floats, RunRow
from protocols.runtime.suggestions import hint

_SIMULATED_CURVES = ("disagreement", "error")
_UNTIL_AGREED = ("rounds", "seconds")
"""metrics of a simulation at the time of agreement"""
_OF: Mapping[str, Callable[[Floats], Any]] = {"mean": np.mean, "max": np.max, "min": np.min, "last": lambda values: values[-1]}


class NotMeasured(Exception):
    """The run has no such figure; the text names what is missing."""


@dataclass(frozen=True)
class MeasuredRun:
    """The measures of one finished run. `by_time`: curves over seconds of training instead of steps."""

    recorded: RecordedRun
    by_time: bool = False

    def value(self, measure: Measure) -> tuple[float, Curve | None]:
        """The figure, and its curve where it has one. `NotMeasured` where it is missing."""
        if measure.node == "summary":
            return number_at(self.recorded.summary, measure.metric, measure.of), None
        if measure.node == "faults":
            return self._fault(measure.metric), None
        # Of one step the last value counts; over time all do: a run without progress writes values, too.
        kept = [without_lost_segments(points) for points in self._of(measure).values()]
        curves = [_over_steps(points) for points in kept]
        value = float(np.mean([part_of(curve, measure) for curve in curves]))
        drawn: list[Curve | None] = [*curves]
        if self.by_time:
            drawn = [self.recorded.over_time(points, self.recorded.end_of_training) for points in kept]
        known = [curve for curve in drawn if curve is not None]
        if len(known) < len(drawn):
            return value, None
        return value, known[0] if len(known) == 1 else _mean(known, thin=not self.by_time)

    def _of(self, measure: Measure) -> NodeSeries:
        by_node = self.recorded.series.get(measure.metric, {})
        if not by_node:
            meant = hint(measure.metric, self.recorded.series)
            raise NotMeasured(f"no node has written {measure.metric}" + (f"; {meant}" if meant else ""))
        if measure.node is None:
            first = next((node for node in (ENVIRONMENT, RUN) if node in by_node), None)
            return {first: by_node[first]} if first is not None else by_node
        chosen = {node: points for node, points in by_node.items() if fnmatchcase(node, measure.node)}
        if not chosen:
            raise NotMeasured(f"{measure.node} has not written {measure.metric}; {', '.join(by_node)} has")
        return chosen

    def _fault(self, metric: str) -> float:
        recorded = self.recorded
        metrics = recorded.verdict.get("figures") or (recorded.summary.get("faults") or {}).get("figures") or {}
        if metric not in metrics:
            raise NotMeasured(f"the report of the faults has no {metric}" + (f"; {meant}" if (meant := hint(metric, metrics)) else ""))
        value = metrics[metric]
        return inf if value in (None, "never") else float(value)


def _over_steps(points: Sequence[MetricPoint]) -> Curve:
    values = {point.step: point.value for point in points}
    return Curve(np.array(list(values), float), np.array(list(values.values())))


def number_at(record: Mapping[str, Any], path: str, of: str = "mean") -> float:
    """The number at a dotted path; keys may have dots themselves (nodes.agent-0.metrics.loss.policy.last), and lists have indices. Where a
    part is a pattern (nodes.agent-*.restarts), `of` (mean, max, min, last) the numbers of all matches."""
    return float(_OF[of](np.array(_numbers_at(record, path.split("."), path))))


def _numbers_at(here: Any, parts: Sequence[str], path: str) -> list[float]:
    if not parts:
        if not isinstance(here, (bool, int, float)):
            raise NotMeasured(f"{path} of the summary is {json.dumps(here)[:60]}, no number")
        return [float(here)]
    if isinstance(here, (list, dict)) and "*" in parts[0]:
        below = list(here) if isinstance(here, list) else [one for name, one in here.items() if fnmatchcase(name, parts[0])]
        if not below:
            raise NotMeasured(f"the summary has no {path}: nothing there is like {parts[0]}")
        return [number for one in below for number in _numbers_at(one, parts[1:], path)]
    if isinstance(here, list) and parts[0].isdigit() and int(parts[0]) < len(here):
        return _numbers_at(here[int(parts[0])], parts[1:], path)
    length = next((n for n in range(len(parts), 0, -1) if isinstance(here, dict) and ".".join(parts[:n]) in here), 0)
    if not length:
        raise NotMeasured(f"the summary has no {path}: nothing is called {parts[0]} there")
    return _numbers_at(here[".".join(parts[:length])], parts[length:], path)


def part_of(curve: Curve, measure: Measure) -> float:
    """What `over` and `of` make of a curve; at least its last point counts."""
    share = measure.final_share
    if share >= 1.0:
        return float(_OF[measure.of](curve.values))
    inside = curve.values[curve.steps > (1.0 - share) * curve.end] if share > 0 else curve.values[-1:]
    return float(_OF[measure.of](inside if inside.size else curve.values[-1:]))


def _mean(curves: Sequence[Curve], thin: bool) -> Curve | None:
    # Over time nothing is thinned: what surrounds a fault may be a few points of thousands.
    steps = common_steps(curves) if thin else common_steps(curves, sum(curve.steps.size for curve in curves))
    values = np.mean([at_steps(curve, steps) for curve in curves], axis=0)
    known = np.isfinite(values)
    return Curve(steps[known], values[known]) if known.any() else None


def rows(
    directory: Path, measures: Sequence[Measure], factors: Mapping[str, str], seed: int, simulated: bool, by_time: bool = False
) -> list[RunRow]:
    """One row for each measure of a finished cell; a figure that is not there is a row with its reason."""
    if not (directory / "summary.json").is_file():
        return failed_rows(measures, factors, seed, f"its directory {directory} is gone, or has no summary.json")
    recorded = RecordedRun(directory)
    run = MeasuredRun(recorded, by_time)
    found = []
    for measure in measures:
        try:
            value, curve = simulated_value(recorded.summary, measure) if simulated else run.value(measure)
            found.append(RunRow(dict(factors), seed, measure.title, value, curve))
        except NotMeasured as missing:
            found.append(RunRow(dict(factors), seed, measure.title, failure=str(missing)))
    return found


def failed_rows(measures: Sequence[Measure], factors: Mapping[str, str], seed: int, failure: str, to_come: bool = False) -> list[RunRow]:
    """One row for each measure of a cell that has none, or has none yet."""
    return [RunRow(dict(factors), seed, measure.title, failure=failure, to_come=to_come) for measure in measures]


def simulated_value(outcome: Mapping[str, Any], measure: Measure) -> tuple[float, Curve | None]:
    """A figure of a simulation: that of its outcome at the end; `disagreement` and `error` have curves over rounds. What it took to agree
    is infinite where they did not: the outcome has the rounds and seconds after which it gave up. So is what was `predicted`, where that
    is never."""
    if measure.metric in _UNTIL_AGREED and outcome.get("agreed") is False:
        return inf, None
    if measure.metric == "predicted" and outcome.get("predicted", inf) is None:
        return inf, None
    value = number_at({name: one for name, one in outcome.items() if name != "curve"}, measure.metric)
    curve = outcome.get("curve") or {}
    if measure.metric not in _SIMULATED_CURVES or not curve.get("rounds"):
        return value, None
    points = {float(step): float(one) for step, one in zip(curve["rounds"], curve[measure.metric], strict=True) if isfinite(one)}
    steps = sorted(points)
    return value, Curve(np.array(steps), np.array([points[step] for step in steps])) if steps else None
