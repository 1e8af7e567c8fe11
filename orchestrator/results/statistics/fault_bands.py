"""Before, during and after: what a fault did to a metric, from bands of time around its window.

A run is the unit: its values within a band make one mean, its change is the difference of two of its own means, and intervals are over
runs. So what differs between seeds permanently falls out of the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from orchestrator.results.statistics.estimate import Estimate, estimate, mean
from orchestrator.results.statistics.runs_table import Curve, RunCurves, ScoreSample


@dataclass(frozen=True)
class FaultWindow:
    """A fault, from `start` (inclusive) to `end` (exclusive), in the unit of the curves' steps."""

    name: str
    start: float
    end: float

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"window {self.name}: it must end after it starts, and {self.end:g} is not after {self.start:g}")


@dataclass(frozen=True)
class FaultEffect:
    """A figure around one window, over the runs: means of the bands, and changes against before (None: no run has values in both)."""

    window: str
    before: Estimate
    during: Estimate
    after: Estimate
    change_during: Estimate
    change_after: Estimate


Means = tuple[float | None, float | None, float | None]
"""of one run: before, during, after; None where it has no value there"""
_BANDS = ("before", "during", "after")


def band_means(curve: Curve, window: FaultWindow, windows: Sequence[FaultWindow], span: float) -> Means:
    """Means of a run's values within [start - span, start), [start, end) and [end, end + span). The bands before and after are cut where
    another of `windows` reaches into them: what that one did must not count as this one's before or after. Others that contain this one, or
    begin with it and last longer, cut nothing: what is there all along is no other state."""
    others = [other for other in windows if other != window and not (other.start <= window.start and other.end >= window.end)]
    floor = max((other.end for other in others if other.start < window.start), default=-inf)
    ceiling = min((other.start for other in others if other.end > window.end), default=inf)
    edges = (max(window.start - span, floor), window.start), (window.start, window.end), (window.end, min(window.end + span, ceiling))
    inside = [(curve.steps >= low) & (curve.steps < high) for low, high in edges]
    before, during, after = (float(curve.values[there].mean()) if there.any() else None for there in inside)
    return before, during, after


def around(runs: RunCurves, windows: Mapping[str, Sequence[FaultWindow]], span: float) -> list[FaultEffect]:
    """A figure around each window, in the order of the windows' names as they come.

    `windows`: by run; windows of one name belong together. `span`: length of the bands before and after. In each result a run without
    values in a band (it had died) is named as missing.
    """
    results = []
    for name in dict.fromkeys(window.name for run in runs.curves for window in windows.get(run, ())):
        means: dict[str, Means] = {}
        for run, curve in runs.curves.items():
            own = windows.get(run, ())
            here = [window for window in own if window.name == name]
            if len(here) > 1:
                raise ValueError(f"{run} has {len(here)} windows called {name}: give each a name of its own")
            means[run] = band_means(curve, here[0], own, span) if here else (None, None, None)
        before, during, after = (_level(runs, means, band) for band in range(3))
        results.append(FaultEffect(name, before, during, after, _change(runs, means, 1), _change(runs, means, 2)))
    return results


def _level(runs: RunCurves, means: Mapping[str, Means], band: int) -> Estimate:
    return _estimate(runs, {run: found[band] for run, found in means.items()}, f"no values {_BANDS[band]}")


def _change(runs: RunCurves, means: Mapping[str, Means], band: int) -> Estimate:
    changes = {
        run: None if (first := found[0]) is None or (later := found[band]) is None else later - first for run, found in means.items()
    }
    return _estimate(runs, changes, f"no values before or {_BANDS[band]}")


def _estimate(runs: RunCurves, found: Mapping[str, float | None], lack: str) -> Estimate:
    missing = (*runs.missing, *(f"{run}: {lack}" for run, value in found.items() if value is None))
    return estimate(ScoreSample.of([value for value in found.values() if value is not None], missing), mean)
