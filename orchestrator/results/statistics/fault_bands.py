"""Before, during and after: what a fault did to a metric, from bands of time around its window.

A run is the unit: its values within a band make one mean, its change is the difference of two of its own means, and intervals are over
runs. So what differs between seeds permanently falls out of the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST, REPEATS, SEED, Aggregate, Estimate, estimate, mean
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


def band_means(curve: Curve, window: FaultWindow, windows: Sequence[FaultWindow], span: float) -> Means:
    """Means of a run's values within [start - span, start), [start, end) and [end, end + span). The bands before and after are cut where
    another of `windows` reaches into them: what that one did must not count as this one's before or after."""
    others = [other for other in windows if other != window]
    floor = max((other.end for other in others if other.start < window.start), default=float("-inf"))
    ceiling = min((other.start for other in others if other.end > window.end), default=float("inf"))
    edges = (
        (max(window.start - span, floor), window.start),
        (window.start, window.end),
        (window.end, min(window.end + span, ceiling)),
    )
    found: list[float | None] = []
    for low, high in edges:
        inside = (curve.steps >= low) & (curve.steps < high)
        found.append(float(curve.values[inside].mean()) if inside.any() else None)
    return found[0], found[1], found[2]


def around(
    runs: RunCurves,
    windows: Mapping[str, Sequence[FaultWindow]] | Sequence[FaultWindow],
    span: float,
    aggregate: Aggregate = mean,
    *,
    repeats: int = REPEATS,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    least: int = LEAST,
) -> list[FaultEffect]:
    """A figure around each window, in the order of the windows' names as they come.

    `windows`: the same for all runs, or by run where they began at different times; windows of one name belong together. `span`: length of
    the bands before and after. In each result a run without values in a band (it had died) is named as missing.
    """
    by_run = windows if isinstance(windows, Mapping) else dict.fromkeys(runs.curves, windows)
    names = list(dict.fromkeys(window.name for name in runs.curves for window in by_run.get(name, ())))

    def judged(found: Mapping[str, float | None], lack: str) -> Estimate:
        sample = ScoreSample.of(
            [value for value in found.values() if value is not None],
            (*runs.missing, *(f"{run}: {lack}" for run, value in found.items() if value is None)),
        )
        return estimate(sample, aggregate, repeats=repeats, confidence=confidence, seed=seed, least=least)

    results = []
    for name in names:
        means: dict[str, Means] = {}
        for run, curve in runs.curves.items():
            own = by_run.get(run, ())
            here = [window for window in own if window.name == name]
            if len(here) > 1:
                raise ValueError(f"{run} has {len(here)} windows called {name}: give each a name of its own")
            means[run] = band_means(curve, here[0], own, span) if here else (None, None, None)
        before, during, after = ({run: found[number] for run, found in means.items()} for number in range(3))
        results.append(
            FaultEffect(
                name,
                judged(before, "no values before"),
                judged(during, "no values during"),
                judged(after, "no values after"),
                judged(_changes(before, during), "no values before or during"),
                judged(_changes(before, after), "no values before or after"),
            )
        )
    return results


def _changes(before: Mapping[str, float | None], later: Mapping[str, float | None]) -> dict[str, float | None]:
    changes: dict[str, float | None] = {}
    for run, first in before.items():
        second = later[run]
        changes[run] = None if first is None or second is None else second - first
    return changes
