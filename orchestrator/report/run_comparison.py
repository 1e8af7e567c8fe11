"""Runs beside each other: the keys in which their configurations differ, then the metrics in which they differ.

Runs whose configurations differ in nothing but the seed (and in what cannot change results: names, engines, places) are one side, and
their metrics get an interval. A metric of a run is the mean of its values in the final tenth of its steps, as the environment server, the
run server, or the agents in the mean wrote it; of an evaluation it is the newest value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.config.resolved_configuration import OUTSIDE_DIGEST
from orchestrator.results.metric_series import EVALUATION, GOAL
from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.statistics.estimate import Estimate, estimate
from orchestrator.results.statistics.runs_table import ScoreSample
from protocols.runtime.errors import UsageError
from protocols.runtime.suggestions import hint

_BESIDES = (("seed",), *OUTSIDE_DIGEST)
_USUAL = (
    "return", "return.normalised", "success.individual", "success.cooperative", "aligned", "length", "convention.accuracy",
    "consensus.disagreement", "statistics.disagreement", "world_model.error", "steps_per_second",
)  # fmt: skip
"""metrics that are compared where none is named, besides those of evaluations and faults"""
_NEAR = 3


class _Absent:
    def __str__(self) -> str:
        return "-"


ABSENT = _Absent()
"""in the place of a key that a side has not"""


@dataclass(frozen=True)
class ComparedRuns:
    """Runs of one configuration. `seeds` and `codes` in the order of the runs."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True)
class RunComparison:
    """`keys`: those that differ, with a value for each side (`ABSENT` where a side has no such key); `metrics`: likewise."""

    sides: tuple[ComparedRuns, ...]
    keys: Mapping[str, tuple[Any, ...]]
    metrics: Mapping[str, tuple[Estimate, ...]]
    equal: tuple[str, ...] = ()
    """metrics that are the same on all sides"""

    def record(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "sides": [
                {"name": side.name, "runs": list(side.runs), "seeds": list(side.seeds), "codes": sorted(set(side.codes))}
                for side in self.sides
            ],
            "keys": {key: [None if value is ABSENT else value for value in values] for key, values in self.keys.items()},
            "figures": {name: [found.record() for found in estimates] for name, estimates in self.metrics.items()},
            "equal": list(self.equal),
        }


def compare(directories: Sequence[Path], metric: str | None = None) -> RunComparison:
    """Compare these runs. `UsageError` for a run without a configuration, for fewer than two runs, and for a `metric` that a run lacks."""
    unique = list(dict.fromkeys(directory.resolve() for directory in directories))
    if len(unique) < 2:
        raise UsageError("compare needs at least two different runs; orchestrate ps -a lists them")
    sides: dict[str, list[Path]] = {}
    configurations: dict[str, dict[str, Any]] = {}
    for directory in unique:
        configuration = RecordedRun(directory).configuration
        if not configuration:
            raise UsageError(f"{directory.name} has no config.json: it is no run, or its start failed; leave it out")
        rest = without(configuration, _BESIDES)
        key = json.dumps(rest, sort_keys=True)
        sides.setdefault(key, []).append(directory)
        configurations[key] = rest
    found = {directory: metrics_of(directory) for directory in unique}
    made = tuple(_side(members) for members in sides.values())
    names = [metric] if metric is not None else list(dict.fromkeys(name for metrics in found.values() for name in usual(metrics)))
    if metric is not None:
        _must_have(metric, found)
    estimates = {name: tuple(_estimate(name, members, found) for members in sides.values()) for name in names}
    equal = tuple(name for name, both in estimates.items() if metric is None and _alike(both))
    kept = {name: both for name, both in estimates.items() if name not in equal}
    return RunComparison(made, differing(list(configurations.values())), kept, equal)


def _side(members: Sequence[Path]) -> ComparedRuns:
    recorded = [RecordedRun(directory) for directory in members]
    seeds = tuple(run.configuration.get("seed") for run in recorded)
    codes = tuple(str(run.record.get("code_version") or "unknown") for run in recorded)
    name = members[0].name + (f" +{len(members) - 1}" if len(members) > 1 else "")
    return ComparedRuns(name, tuple(directory.name for directory in members), seeds, codes)


def without(configuration: Mapping[str, Any], ways: Iterable[Sequence[str]]) -> dict[str, Any]:
    """A deep copy of a configuration without the keys at these paths."""
    copy: dict[str, Any] = json.loads(json.dumps(configuration))
    for *way, last in ways:
        holder: Any = copy
        for part in way:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder.pop(last, None)
    return copy


def differing(values: Sequence[Any], path: str = "") -> dict[str, tuple[Any, ...]]:
    """Dotted key -> the value of each side, for keys that are not the same on all; ABSENT where a side has no such key.

    Entries of a list that have names of their own (`id`, `metric`) are matched by these, so one that was put in first does not make the
    others differ; what only some sides have is one key, however much is in it.
    """
    maps = [named for value in values if isinstance(named := _named(value), dict)]
    if len(maps) == len(values):
        names = sorted({name for side in maps for name in side})
        inner = [differing([side.get(name, ABSENT) for side in maps], f"{path}.{name}" if path else str(name)) for name in names]
        return {key: row for one in inner for key, row in one.items()}
    return {} if all(value == values[0] for value in values) else {path: tuple(values)}


def _named(value: Any) -> Any:
    """A list of maps as a map from their names; lists in which names are missing or not unique stay."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        names = [item.get("id") or item.get("name") for item in value]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(zip(names, value, strict=True))
    return value


def metrics_of(directory: Path) -> dict[str, float]:
    """All metrics of a run: those that its nodes wrote, those of its faults, and what it cost."""
    recorded = RecordedRun(directory)
    found = {name: value for name in sorted(recorded.series) if (value := recorded.final(name)) is not None}
    summary = recorded.summary
    for name, value in recorded.fault_metrics.items():
        if value is not None:
            found.setdefault(name, value)
    for name in ("episodes", "steps", "training_seconds", "wall_seconds"):
        if isinstance(summary.get(name), (int, float)):
            found[name] = float(summary[name])
    used = [((node or {}).get("usage") or {}).get("cpu_seconds") for node in (summary.get("nodes") or {}).values()]
    if any(value is not None for value in used):
        found["cpu_seconds"] = float(sum(value or 0.0 for value in used))
    links = [link for link in summary.get("links") or [] if link.get("channel") == "peer"]
    if links:
        found["peer.bytes"] = float(sum(link.get("sent_bytes") or 0 for link in links))
    return found


def usual(metrics: Mapping[str, float]) -> list[str]:
    """Names of the metrics that are compared by default: evaluations, usual ones, faults and costs, as far as the runs have them."""
    faults = ("faults.", "episodes.", "recovery_time.", "detection_time.", "unavailable_time.", "node.restarts")
    costs = ("episodes", "steps", "training_seconds", "wall_seconds", "cpu_seconds", "peer.bytes")
    evaluations = [name for name in metrics if name.startswith(EVALUATION) and GOAL not in name]
    return [
        *evaluations, *(name for name in _USUAL if name in metrics), *(name for name in metrics if name.startswith(faults)),
        *(name for name in costs if name in metrics),
    ]  # fmt: skip


def _must_have(metric: str, found: Mapping[Path, Mapping[str, float]]) -> None:
    lacking = [directory.name for directory, metrics in found.items() if metric not in metrics]
    if not lacking:
        return
    names = sorted({name for metrics in found.values() for name in metrics})
    cure = hint(metric, names, "orchestrate show RUN --json lists the metrics of a run", _NEAR)
    raise UsageError(f'{", ".join(lacking)} {"has" if len(lacking) == 1 else "have"} no metric "{metric}"; {cure}')


def _estimate(name: str, members: Sequence[Path], found: Mapping[Path, Mapping[str, float]]) -> Estimate:
    values = [found[directory][name] for directory in members if name in found[directory] and isfinite(found[directory][name])]
    missing = [f"{directory.name}: no figure" for directory in members if not isfinite(found[directory].get(name, float("nan")))]
    return estimate(ScoreSample.of(values, missing))


def _alike(estimates: Sequence[Estimate]) -> bool:
    return all(set(found.points) == set(estimates[0].points) and not found.failed for found in estimates)
