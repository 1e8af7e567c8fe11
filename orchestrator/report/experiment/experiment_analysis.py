"""The analysis of an experiment's cells, computed once: all that tables, sentences and charts of its report are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Any, TypeVar

from orchestrator.experiments.design.experiment_design import Measure
from orchestrator.experiments.results.experiment_results import CellResult, ExperimentResults
from orchestrator.results.statistics.curve_statistics import Band, Profile, band, profile, stretch
from orchestrator.results.statistics.equal_conditions import balanced, without_effect
from orchestrator.results.statistics.estimate import Estimate, estimate, median, plain
from orchestrator.results.statistics.group_comparison import SIGNIFICANCE, contrast, holm, least_p, probability_of_improvement, rank_test
from orchestrator.results.statistics.runs_table import Curve, RunsTable
from orchestrator.results.statistics.time_to_threshold import ThresholdSummary, time_to_threshold
from orchestrator.results.statistics.tolerance import tolerance

Part = TypeVar("Part")
LINES = 8
"""lines in one panel"""
POINTS = 120
"""of a curve that is drawn"""
FEWEST = 0.5
"""of the runs that have curves must have got so far, for the group's curve to go on: the last one alone is no group"""
WHOLE = 0.8
"""of such a curve is what all runs must have, for it to end where the first of them does: beyond, it jumps from one lot to another
(both stand in words in `How to read this`)"""


@dataclass(frozen=True)
class Group:
    """The runs of one combination of factors, with all its seeds."""

    factors: Mapping[str, str]
    cells: tuple[CellResult, ...]

    @property
    def label(self) -> str:
        """The factors as text, for example `delay=50ms, topology=ring`."""
        return label(self.factors)

    @property
    def short(self) -> str:
        """The values without the names of factors, for example `50ms · ring`; `all runs` without factors."""
        return " · ".join(self.factors.values()) or "all runs"

    @property
    def to_come(self) -> int:
        """Cells that have not ended yet."""
        return sum(cell.state in ("WAITING", "RUNNING") for cell in self.cells)


def label(factors: Mapping[str, str]) -> str:
    """`delay=50ms, topology=ring`; `all runs` without any factor."""
    return ", ".join(f"{name}={value}" for name, value in factors.items()) or "all runs"


@dataclass(frozen=True)
class GroupResult:
    """Estimate of one measure for the runs of one group."""

    group: Group
    estimate: Estimate
    median: float | None
    band: Band | None = None
    """None where no run has a curve"""
    profile: Profile | None = None
    """None where no run has a finite figure"""
    improvement: Estimate | None = None
    """over the baseline; None for the baseline itself"""
    contrast: Estimate | None = None
    """difference from the baseline, or ratio to it, where that is asked for"""
    waiting: ThresholdSummary | None = None
    """steps until the measure's threshold"""

    def record(self) -> dict[str, Any]:
        """The estimate as JSON values, with the factors of the group."""
        record: dict[str, Any] = {
            "factors": dict(self.group.factors), **self.estimate.record(), "median": plain(self.median), "never": self.estimate.never,
        }  # fmt: skip
        if self.improvement is not None:
            record["improvement"] = self.improvement.record()
        if self.contrast is not None:
            record["contrast"] = self.contrast.record()
        if self.waiting is not None:
            record["threshold"] = {"median": self.waiting.median.record(), "reached": self.waiting.reached, "horizon": self.waiting.horizon}
        if self.band is not None:
            columns = {"steps": self.band.steps, "value": self.band.value, "low": self.band.low, "high": self.band.high, "n": self.band.n}
            record["curve"] = {name: [float(f"{value:.5g}") for value in values.tolist()] for name, values in columns.items()}
        return record


@dataclass(frozen=True)
class MeasureResult:
    """One measure of all groups, in the order of the grid."""

    measure: Measure
    groups: tuple[GroupResult, ...]
    simulated: bool = False
    against: tuple[BaselineComparison, ...] = ()
    """with the baseline, over all values of the other factors"""

    @property
    def title(self) -> str:
        """Name in tables."""
        return self.measure.title

    @property
    def higher(self) -> bool:
        """Whether higher values are better."""
        return self.measure.higher == "better"

    @property
    def words(self) -> str:
        """`return, mean of the final 10% (higher is better)`; of a simulation `rounds, at the end (lower is better)`."""
        over = {"all": f", {self.measure.of} of the whole run", "last": ", last value"}.get(
            self.measure.over, f", {self.measure.of} of the {self.measure.over}"
        )
        # The file's `over` counts only where there are several numbers over time.
        if self.simulated:
            over = ", at the end"
        elif self.measure.node in ("summary", "faults"):
            over = ""
        return f"{self.title}{over} ({'higher' if self.higher else 'lower'} is better)"

    @cached_property
    def ranked(self) -> list[GroupResult]:
        """Groups with a figure, the best first."""
        known = [found for found in self.groups if found.estimate.value is not None]
        return sorted(known, key=lambda found: found.estimate.value or 0.0, reverse=self.higher)

    def tied(self, found: GroupResult) -> list[GroupResult]:
        """Other groups that have the same value: it would be chance which of them is called the best."""
        return [one for one in self.ranked if one is not found and one.estimate.value == found.estimate.value]


@dataclass(frozen=True)
class Tolerance:
    """The amount of a factor at which a share of the first measure is lost, with these values of the other factors."""

    factors: Mapping[str, str]
    amount: Estimate
    """`inf`: no amount that has runs costs so much"""
    without: tuple[str, ...] = ()
    """labels of amounts of which no run has a figure"""
    largest: str = ""
    """label of the largest amount that has one"""

    def record(self) -> dict[str, Any]:
        """The tolerance as JSON values, with the values of the other factors."""
        return {"factors": dict(self.factors), **self.amount.record(), "without": list(self.without), "largest": self.largest}


@dataclass(frozen=True)
class ExperimentAnalysis:
    """Estimates and comparisons of all measures of an experiment, from which its report is written."""

    results: ExperimentResults
    groups: tuple[Group, ...]
    measures: tuple[MeasureResult, ...]
    baseline: Mapping[str, str] = field(default_factory=dict)
    tolerances: tuple[Tolerance, ...] = ()
    """of the first measure, where `compare` asks for it"""
    copies: tuple[str, ...] = ()
    """factors that change no figure"""

    @property
    def factors(self) -> dict[str, list[str]]:
        """Factor -> the labels of its values, in the order of the file."""
        return self.results.design.labels()

    def is_baseline(self, group: Group) -> bool:
        """Whether the others are compared with this one."""
        return bool(self.baseline) and self.baseline.items() <= dict(group.factors).items()


def analyse(results: ExperimentResults) -> ExperimentAnalysis:
    """Group the cells, and estimate every measure of every group."""
    design = results.design
    by_factors: dict[tuple[tuple[str, str], ...], list[CellResult]] = {}
    for cell in results.cells:
        by_factors.setdefault(tuple(cell.factors.items()), []).append(cell)
    groups = tuple(Group(dict(factors), tuple(cells)) for factors, cells in by_factors.items())
    baseline = dict(design.compare.baseline) if design.compare is not None else {}
    test = design.compare.test if design.compare is not None else ""
    copies = without_effect(results.table)
    measures = tuple(
        MeasureResult(
            measure,
            tuple(_found(results, measure, group, baseline, test) for group in groups),
            design.with_ == "simulate",
            against_baseline(results.table, measure, [group.factors for group in groups], baseline, copies),
        )
        for measure in design.measure
    )
    return ExperimentAnalysis(results, groups, measures, baseline, _tolerances(results, groups), copies)


def _tolerances(results: ExperimentResults, groups: Sequence[Group]) -> tuple[Tolerance, ...]:
    design, amounts = results.design, results.design.tolerated()
    if amounts is None or design.compare is None or design.compare.tolerance is None:
        return ()
    measure = design.measure[0]
    others = dict.fromkeys(tuple((name, group.factors[name]) for name in group.factors if name != amounts.factor) for group in groups)
    found = []
    for rest in map(dict, others):
        samples = [results.table.sample(measure.title, {**rest, amounts.factor: label}) for label in amounts.labels]
        amount = tolerance(amounts.values, samples, design.compare.tolerance, higher=measure.higher == "better")
        known = {label: sample.n > 0 for label, sample in zip(amounts.labels, samples, strict=True)}
        largest = [label for label, there in known.items() if there][-1:]
        found.append(Tolerance(rest, amount, tuple(label for label, there in known.items() if not there), "".join(largest)))
    return tuple(found)


def _found(results: ExperimentResults, measure: Measure, group: Group, baseline: Mapping[str, str], test: str) -> GroupResult:
    table, title, higher = results.table, measure.title, measure.higher == "better"
    sample = table.sample(title, group.factors)
    runs = table.curves(title, group.factors)
    against, difference = None, None
    if baseline and not baseline.items() <= dict(group.factors).items():
        reference = table.sample(title, {**group.factors, **baseline})
        against = probability_of_improvement(sample, reference, higher=higher)
        if test in ("difference", "ratio"):
            difference = contrast(sample, reference, kind="ratio" if test == "ratio" else "difference")
    waiting = None
    if measure.threshold is not None and runs.n:
        waiting = time_to_threshold(runs, measure.threshold, higher=higher)
    return GroupResult(
        group,
        estimate(sample),
        float(median(sample.strata)) if sample.n else None,
        band(runs, points=POINTS, share=_share(list(runs.curves.values()))) if runs.n else None,
        profile(sample) if any(map(isfinite, sample.points)) else None,
        against,
        difference,
        waiting,
    )


def _share(curves: Sequence[Curve]) -> float:
    """Of the runs that a group's curve needs."""
    every, most = stretch(curves, 1.0), stretch(curves, FEWEST)
    if most is None:
        return 0.0
    return 1.0 if every is not None and every[1] - every[0] >= WHOLE * (most[1] - most[0]) else FEWEST


def arranged(parts: Iterable[tuple[Group, Part | None]], factors: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Part]]:
    """How parts of groups (bands, profiles) are arranged in one chart: panel -> line -> part; None is left out. The first factor that has
    few enough labels makes the lines, the others together the panels."""
    names = list(factors)
    line = next((name for name in names if len(factors[name]) <= LINES), names[0] if names else "")
    panels: dict[str, dict[str, Part]] = {}
    for group, part in parts:
        if part is not None:
            rest = {name: value for name, value in group.factors.items() if name != line}
            panels.setdefault(label(rest) if rest else "", {})[f"{line}={group.factors[line]}" if line else ""] = part
    return panels


@dataclass(frozen=True)
class BaselineComparison:
    """Runs with these values of the baseline's factors, against those of the baseline."""

    factors: Mapping[str, str]
    improvement: Estimate
    """how probably a run is better than one of the baseline with the same other factors, mean over these"""
    p_value: float
    """of the rank test within the other factors, with Holm's correction for all values that are compared"""
    has_power: bool
    """whether there are runs enough for the test to find anything"""
    conditions: int = 1
    """combinations of the other factors of which both have runs"""

    @property
    def differs(self) -> bool:
        """Whether the difference is significant: p <= `SIGNIFICANCE`."""
        return self.p_value <= SIGNIFICANCE

    def record(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {"factors": dict(self.factors), **self.improvement.record(), "p_value": self.p_value, "conditions": self.conditions}


def against_baseline(
    table: RunsTable, measure: Measure, groups: Sequence[Mapping[str, str]], baseline: Mapping[str, str], copies: Collection[str] = ()
) -> tuple[BaselineComparison, ...]:
    """`groups`: factors of all combinations; `copies`: factors that change no figure. Values without any run to compare are left out."""
    if not baseline:
        return ()
    chosen = dict.fromkeys(tuple((name, group[name]) for name in baseline) for group in groups)
    others = dict.fromkeys(name for group in groups for name in group if name not in baseline)
    found = {
        values: balanced(table, measure.title, [dict(values), baseline], others, copies)
        for values in chosen
        if dict(values) != dict(baseline)
    }
    pairs = [(dict(values), over.samples[0], over.samples[1]) for values, over in found.items() if over.conditions]
    p_values = holm([rank_test(sample, reference) for _, sample, reference in pairs])
    higher = measure.higher == "better"
    return tuple(
        BaselineComparison(
            values,
            # With the points of single combinations left out: they are no runs.
            replace(probability_of_improvement(sample, reference, higher=higher), points=()),
            p_value,
            least_p(sample, reference) * len(pairs) <= SIGNIFICANCE,
            len(sample.tasks),
        )
        for (values, sample, reference), p_value in zip(pairs, p_values, strict=True)
    )
