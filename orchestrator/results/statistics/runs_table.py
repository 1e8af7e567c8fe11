"""Rows of an experiment, and what is asked of them: the metrics of a group of runs, or their curves.

A run is one combination of factors with one seed. A run of which a figure is wanted and not there is never left out in silence: it is named
in `missing` of whatever is made of its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A figure over time: `steps` (or seconds; finite, strictly ascending) and the `values` there (finite), arrays of one length >= 1."""

    steps: Floats
    values: Floats

    def __post_init__(self) -> None:
        steps, values = np.asarray(self.steps, float), np.asarray(self.values, float)
        if steps.ndim != 1 or steps.shape != values.shape or not steps.size:
            raise ValueError(f"a curve needs as many values as steps, at least one: got shapes {steps.shape} and {values.shape}")
        if not (np.isfinite(steps).all() and np.isfinite(values).all()):
            raise ValueError("a curve has steps or values that are not finite: leave such points out, or report the run as failed")
        if (np.diff(steps) <= 0).any():
            raise ValueError("steps of a curve must ascend without repetition: sort them, and keep one value for each step")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "values", values)

    @property
    def end(self) -> float:
        """The last step."""
        return float(self.steps[-1])


@dataclass(frozen=True)
class RunRow:
    """One figure of one run. `factors`: its group (`{"delay": "50ms", "method": "gossip"}`). Without `value` (and `curve`) the
    run has failed, or, with `to_come`, not ended; `failure` has the reason. An infinite value is one (what never came about took infinitely
    long); one that is no number is none."""

    factors: Mapping[str, str]
    seed: int
    metric: str
    value: float | None = None
    curve: Curve | None = None
    failure: str = ""
    to_come: bool = False

    @property
    def run(self) -> tuple[tuple[tuple[str, str], ...], int]:
        """What identifies a run: sorted factors, and the seed."""
        return tuple(sorted(self.factors.items())), self.seed

    @property
    def why_not(self) -> str:
        """The reason why the run has no value, as text."""
        return self.failure or ("no figure" if self.value is None else f"the figure is {self.value}")


class PendingValue(str):
    """Why a run has no figure, where it may still get one: it has not ended."""


def _lacking(row: RunRow, why: str) -> str:
    """The entry of a run without a value in `missing`."""
    reason = f"{describe(row)}: {why}"
    return PendingValue(reason) if row.to_come else reason


@dataclass(frozen=True, eq=False)
class ScoreSample:
    """One figure of a group of runs: by task (stratum) the values of its runs, ascending, and the runs that have none, with the reason."""

    tasks: Mapping[str, Floats]
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Sorted, so that whatever is drawn from it does not depend on the order in which runs ended.
        tasks = {name: np.sort(np.asarray(values, float)) for name, values in sorted(self.tasks.items()) if np.size(values)}
        if any(values.ndim != 1 or np.isnan(values).any() for values in tasks.values()):
            raise ValueError("values of a sample must be numbers and one array a task: report a run without a figure as missing")
        object.__setattr__(self, "tasks", tasks)

    @classmethod
    def of(cls, values: ArrayLike, missing: Sequence[str] = ()) -> ScoreSample:
        """A sample of runs of a single task (stratum), with the reasons of runs that have no value."""
        return cls({"": np.asarray(values, float)}, tuple(missing))

    @property
    def strata(self) -> list[Floats]:
        """The values of each task, in an order that depends on the values alone."""
        return sorted(self.tasks.values(), key=lambda values: (values.size, *values.tolist()))

    @property
    def n(self) -> int:
        """Runs with a figure, over all tasks."""
        return sum(values.size for values in self.tasks.values())

    @property
    def fewest(self) -> int:
        """Runs with a figure in the task that has the fewest."""
        return min((values.size for values in self.tasks.values()), default=0)

    @property
    def points(self) -> tuple[float, ...]:
        """All values, ascending."""
        return tuple(sorted(float(value) for values in self.tasks.values() for value in values))


@dataclass(frozen=True, eq=False)
class RunCurves:
    """Curves of a group of runs, by a name for each, and the runs that have none."""

    curves: Mapping[str, Curve]
    missing: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Runs with a curve."""
        return len(self.curves)


@dataclass(frozen=True)
class RunsTable:
    """All rows of an experiment; at most one for each run and metric."""

    rows: tuple[RunRow, ...]
    _found: dict[tuple[object, str], RunRow] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if self._found.setdefault((row.run, row.metric), row) is not row:
                raise ValueError(
                    f"two rows for {describe(row)}, {row.metric}: results of different code or configurations must not be mixed"
                )

    @classmethod
    def of(cls, rows: Iterable[RunRow]) -> RunsTable:
        """A table of these rows. `ValueError` for two rows of one run and metric."""
        return cls(tuple(rows))

    def levels(self, factor: str) -> list[str]:
        """Values of a factor, in the order in which they come."""
        return list(dict.fromkeys(row.factors[factor] for row in self.rows if factor in row.factors))

    def runs(self, where: Mapping[str, str] | None = None) -> list[RunRow]:
        """One row for each run whose factors are those given, sorted by factors and seed."""
        wanted = dict(where or {}).items()
        found = {row.run: row for row in self.rows if wanted <= dict(row.factors).items()}
        return [found[run] for run in sorted(found)]

    def sample(self, metric: str, where: Mapping[str, str] | None = None) -> ScoreSample:
        """Values of `metric` of the runs whose factors are those of `where`, as one task."""
        values: list[float] = []
        missing: list[str] = []
        for run in self.runs(where):
            row = self._found.get((run.run, metric)) or RunRow(run.factors, run.seed, metric, failure=run.failure, to_come=run.to_come)
            if row.value is None or isnan(row.value):
                missing.append(_lacking(row, row.why_not))
            else:
                values.append(row.value)
        return ScoreSample.of(values, missing)

    def curves(self, metric: str, where: Mapping[str, str] | None = None) -> RunCurves:
        """Curves of `metric` of the runs whose factors are those of `where`. A failed run's curve counts as far as it goes."""
        curves: dict[str, Curve] = {}
        missing: list[str] = []
        for run in self.runs(where):
            row = self._found.get((run.run, metric))
            if row is None or row.curve is None:
                missing.append(_lacking(row or run, (row or run).failure or "no curve"))
            else:
                curves[describe(run)] = row.curve
        return RunCurves(curves, tuple(missing))


def describe(row: RunRow) -> str:
    """`delay=50ms method=gossip seed 3`."""
    return " ".join([*(f"{name}={value}" for name, value in sorted(row.factors.items())), f"seed {row.seed}"])
