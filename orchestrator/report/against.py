"""What differs from the baseline: each other value of its factors, over all values of the factors beside them.

Single groups have few runs, and are many: a test that is fair to all of them together can hardly find anything. The runs of all
combinations of the other factors together, compared within each combination, can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.experiments.design import Measure
from orchestrator.statistics.comparison import SIGNIFICANCE, holm, least_p, probability_of_improvement, rank_test
from orchestrator.statistics.estimate import Estimate
from orchestrator.statistics.table import Sample, Table


@dataclass(frozen=True)
class Against:
    """Runs with these values of the baseline's factors, against those of the baseline."""

    factors: Mapping[str, str]
    improvement: Estimate
    """how probably a run is better than one of the baseline with the same other factors, mean over these"""
    p_value: float
    """of the rank test within the other factors, with Holm's correction for all values that are compared"""
    could_be_told: bool
    """whether there are runs enough for the test to find anything"""

    @property
    def differs(self) -> bool:
        """Significantly."""
        return self.p_value <= SIGNIFICANCE

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"factors": dict(self.factors), **self.improvement.record(), "p_value": self.p_value}


def against_baseline(
    table: Table, measure: Measure, groups: Sequence[Mapping[str, str]], baseline: Mapping[str, str]
) -> tuple[Against, ...]:
    """`groups`: factors of all combinations. Values without any run to compare are left out."""
    if not baseline:
        return ()
    chosen = dict.fromkeys(tuple((name, group[name]) for name in baseline) for group in groups)
    rests = [dict(rest) for rest in dict.fromkeys(tuple((k, v) for k, v in group.items() if k not in baseline) for group in groups)]
    reference = _sample(table, measure, baseline, rests)
    pairs = [
        (dict(values), sample)
        for values in chosen
        if dict(values) != dict(baseline) and (sample := _sample(table, measure, dict(values), rests)).tasks.keys() & reference.tasks.keys()
    ]
    p_values = holm([rank_test(sample, reference) for _, sample in pairs])
    higher = measure.higher == "better"
    return tuple(
        Against(
            values,
            # With the points of single combinations left out: they are no runs.
            replace(probability_of_improvement(sample, reference, higher=higher), points=()),
            p_value,
            least_p(sample, reference) * len(pairs) <= SIGNIFICANCE,
        )
        for (values, sample), p_value in zip(pairs, p_values, strict=True)
    )


def _sample(table: Table, measure: Measure, values: Mapping[str, str], rests: Sequence[Mapping[str, str]]) -> Sample:
    """The runs with these values, a task for each combination of the other factors."""
    tasks = {str(sorted(rest.items())): table.sample(measure.title, {**rest, **values}) for rest in rests}
    return Sample(
        {name: sample.strata[0] for name, sample in tasks.items() if sample.n},
        tuple(reason for sample in tasks.values() for reason in sample.missing),
    )
