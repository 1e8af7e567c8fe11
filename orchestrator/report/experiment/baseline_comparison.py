"""What differs from the baseline: each other value of its factors, over all values of the factors beside them.

Single groups have few runs, and are many: a test that is fair to all of them together can hardly find anything. The runs of all
combinations of the other factors together, compared within each combination, can. A factor that changes no figure only makes copies of
runs: of its values one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.experiments.design.experiment_design import Measure
from orchestrator.results.statistics.equal_conditions import balanced
from orchestrator.results.statistics.estimate import Estimate
from orchestrator.results.statistics.group_comparison import SIGNIFICANCE, holm, least_p, probability_of_improvement, rank_test
from orchestrator.results.statistics.runs_table import RunsTable


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
