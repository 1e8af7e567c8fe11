"""Whether the expectations of an experiment file hold, and the numbers that this rests on.

Factors that an expectation does not name make conditions (`orchestrator.results.statistics.equal_conditions`). Its figure is the mean over
the conditions
of the statistic within each, so that each counts equally; with `relative_to` over those conditions of which both groups have runs, and the
ratio or difference is that of the two means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from orchestrator.experiments.design.experiment_design import ExperimentDesign, ExperimentExpectation
from orchestrator.results.metric_names import OPERATORS
from orchestrator.results.statistics.equal_conditions import EqualConditions, balanced, without_effect
from orchestrator.results.statistics.estimate import (
    LEAST,
    Aggregate,
    Estimate,
    estimate,
    interquartile_mean,
    mean,
    median,
    plain,
    within_tasks,
)
from orchestrator.results.statistics.group_comparison import contrast, probability_of_improvement
from orchestrator.results.statistics.runs_table import RunsTable

_AGGREGATES: Mapping[str, Aggregate] = {"mean": mean, "median": within_tasks(median)}
_INTERQUARTILE_MEAN = within_tasks(interquartile_mean)


@dataclass(frozen=True)
class ExpectationVerdict:
    """One expectation against what was measured.

    `group` is the estimate of the group, `baseline` that of the group it is held against (None without `relative_to`), `compared` the
    ratio, difference or probability of both; all over the same conditions, those of `over`. `measured` is the number that was compared with
    `expectation.value`; None where it cannot be known, and then `holds` is None, and `why` has the reason.
    """

    expectation: ExperimentExpectation
    over: EqualConditions
    holds: bool | None
    measured: float | None
    group: Estimate
    baseline: Estimate | None = None
    compared: Estimate | None = None
    why: str = ""

    @property
    def text(self) -> str:
        """`holds: return iqm where topology=complete, delay=100ms relative to delay=0ms >= 0.95: measured 0.97 [0.94, 1.00] n=10`."""
        word = {True: "holds", False: "FAILS", None: "cannot be judged"}[self.holds]
        shown = self.compared or self.group
        if self.over.conditions > 1:
            # Points of several conditions, or one for each of them, are no runs of one group.
            shown = replace(shown, points=())
        said = f"measured {shown.text('.4g')}" if self.measured is not None else self.why
        if self.measured is not None and self.expectation.statistic in ("lower", "upper"):
            said = f"measured {'never' if self.measured == inf else f'{self.measured:.4g}'}, of {shown.text('.4g')}"
        if never := self.group.never + (self.baseline.never if self.baseline is not None else 0):
            said += f" ({never} of the runs: never)"
        if self.over.conditions and self.over.text:
            said += f"{'' if self.measured is not None else ';'} {self.over.text}"
        return f"{word}: {claim(self.expectation)}: {said}"

    def record(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return {
            **self.expectation.model_dump(mode="json"),
            "holds": self.holds,
            "measured": plain(self.measured),
            "text": self.text,
            "group": self.group.record(),
            "baseline": self.baseline.record() if self.baseline is not None else None,
            "compared": self.compared.record() if self.compared is not None else None,
            "conditions": self.over.conditions,
            "left_out": list(self.over.left_out),
        }


def claim(expected: ExperimentExpectation) -> str:
    """`return iqm where topology=complete, delay=100ms relative to delay=0ms >= 0.95`."""
    text = f"{expected.metric} {expected.statistic}"
    if expected.where:
        text += f" where {_labels(expected.where)}"
    if expected.relative_to is not None:
        how = " minus that" if expected.by == "difference" and expected.statistic != "probability_of_improvement" else " relative to that"
        text += f"{how} where {_labels(expected.relative_to) or 'any'}"
    return f"{text} {expected.op} {expected.value:g}"


def _labels(chosen: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={label}" for name, label in chosen.items())


def judge(design: ExperimentDesign, table: RunsTable) -> tuple[ExpectationVerdict, ...]:
    """Every expectation, in the order of the file."""
    copies = without_effect(table) if design.expect else ()
    return tuple(_judge(design, table, expected, copies) for expected in design.expect)


def _judge(design: ExperimentDesign, table: RunsTable, expected: ExperimentExpectation, copies: Sequence[str]) -> ExpectationVerdict:
    higher = design.measure_named(expected.metric).higher == "better"
    aggregate = _AGGREGATES.get(expected.statistic, _INTERQUARTILE_MEAN)
    named = {*expected.where, *(expected.relative_to or {})}
    others = [name for name in dict.fromkeys(name for row in table.rows for name in row.factors) if name not in named]
    groups = [expected.where] if expected.relative_to is None else [expected.where, {**expected.where, **expected.relative_to}]
    over = balanced(table, expected.metric, groups, others, copies)
    sample = over.samples[0]
    group = estimate(sample, aggregate)
    baseline, compared = None, None
    if expected.relative_to is not None:
        reference = over.samples[1]
        baseline = estimate(reference, aggregate)
        if expected.statistic == "probability_of_improvement":
            compared = probability_of_improvement(sample, reference, higher=higher)
        else:
            compared = contrast(sample, reference, aggregate, expected.by)
    shown = compared or group
    measured, why = shown.value, ""
    ratio = expected.by == "ratio" and expected.statistic != "probability_of_improvement"
    if expected.statistic in ("lower", "upper"):
        measured = None if shown.interval is None else shown.interval[expected.statistic == "upper"]
        why = f"{shown.n} runs are too few for an interval, or it has none"
        if over.conditions > 1:
            why = f"{shown.n} runs are too few for an interval, which takes {LEAST} of each group in each combination, or it has none"
    if not all(over.runs):
        measured, why = None, f"no run of {'the group' if not over.runs[0] else 'the group it is held against'} has a figure"
    elif not over.conditions:
        measured, why = None, f"there is no combination of {', '.join(over.factors)} of which both groups have runs"
    elif ratio and baseline is not None and (baseline.value or 0.0) <= 0:
        # Over a negative figure a better one is a smaller ratio: the claim would be turned round.
        measured, why = None, f"a ratio to {baseline.value:.4g}, which is not positive, has no meaning; write by: difference"
    elif shown.value is None:
        measured, why = None, "both groups are “never” (infinite), which cannot be compared; write statistic: probability_of_improvement"
    holds = None if measured is None else OPERATORS[expected.op](measured, expected.value)
    return ExpectationVerdict(expected, over, holds, measured, group, baseline, compared, "" if measured is not None else why)
