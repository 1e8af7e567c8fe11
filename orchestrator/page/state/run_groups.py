"""Several runs beside each other: runs that differ in nothing but the seed are one group, with a curve and a value at the end."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.report.run_comparison import ABSENT, compare
from orchestrator.results.metric_series import read_series, run_points, without_lost_segments
from orchestrator.results.statistics.curve_statistics import band
from orchestrator.results.statistics.estimate import estimate
from orchestrator.results.statistics.runs_table import Curve, RunCurves, ScoreSample
from protocols.runtime.errors import UsageError

_POINTS = 60
_REPEATS = 400
_LONGEST = 24
"""characters of a value in a label"""
MOST_RUNS = 200


def grouped(directories: Sequence[Path], name: str) -> dict[str, Any]:
    """The metric `name` of these runs: `{name, groups, table}`. Values are interquartile means over the runs of a group; intervals
    (95 %) only from five runs. `UsageError` where no run has the metric."""
    if len(directories) > MOST_RUNS:
        raise UsageError(f"at most {MOST_RUNS} runs are compared, not {len(directories)}; choose fewer")
    curves = {directory.name: _curve(directory, name) for directory in directories}
    if not any(curves.values()):
        raise UsageError(f'none of these runs has the metric "{name}"')
    groups, table = [], []
    for label, runs in _groups(directories).items():
        here = {run: curve for run in runs if (curve := curves[run]) is not None}
        found = band(RunCurves(here, tuple(run for run in runs if run not in here)), points=_POINTS, repeats=_REPEATS)
        groups.append(
            {
                "label": label,
                "runs": runs,
                "step": [float(step) for step in found.steps],
                "median": _plain(found.value),
                "low": _plain(found.low) if _measured(found.low) else None,
                "high": _plain(found.high) if _measured(found.high) else None,
            }
        )
        last = estimate(ScoreSample.of([_final(curve) for curve in here.values()])) if here else None
        low, high = last.interval if last is not None and last.interval is not None else (None, None)
        table.append({"label": label, "runs": runs, "value": None if last is None else last.value, "low": low, "high": high})
    return {"name": name, "groups": groups, "table": table}


def _groups(directories: Sequence[Path]) -> dict[str, list[str]]:
    """Label -> names of runs. A label names the keys in which a group differs from the others."""
    if len({directory.resolve() for directory in directories}) < 2:
        return {directory.name: [directory.name] for directory in directories}
    comparison = compare(directories)
    labels: dict[str, list[str]] = {}
    for number, side in enumerate(comparison.sides):
        keys = list(comparison.keys.items())[:3]
        text = ", ".join(f"{key}={_short(values[number])}" for key, values in keys)
        label = f"{side.name} ({text})" if text else side.name
        labels[label] = list(side.runs)
    return labels


def _short(value: Any) -> str:
    text = "-" if value is ABSENT else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _curve(directory: Path, name: str) -> Curve | None:
    points = without_lost_segments(run_points(read_series(directory).get(name, {})))
    values = {float(point.step): point.value for point in points}
    return Curve(list(values), list(values.values())) if values else None  # type: ignore[arg-type]


def _final(curve: Curve) -> float:
    """Mean over the last tenth of the steps."""
    first = 0.9 * float(curve.end)
    values = [float(value) for step, value in zip(curve.steps, curve.values, strict=True) if float(step) >= first]
    return sum(values) / len(values)


def _measured(values: Any) -> bool:
    return any(isfinite(value) for value in values)


def _plain(values: Any) -> list[float | None]:
    return [float(value) if isfinite(value) else None for value in values]
