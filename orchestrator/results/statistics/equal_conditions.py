"""Groups of runs under equal conditions.

A condition is one combination of the factors in which the groups don't differ. Groups that are compared over several conditions are
compared within each of them, and over those alone of which every group has runs: else what differs might be the conditions that a group
happens to have. And a factor that changes no figure makes copies of runs, not runs: of its values one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from orchestrator.results.statistics.runs_table import RunRow, RunsTable, ScoreSample

Condition = tuple[tuple[str, str], ...]
_NAMED = 3
"""conditions that are named in a sentence"""


@dataclass(frozen=True, eq=False)
class EqualConditions:
    """One sample for each group, all with the same tasks: a task for each condition of which every group has runs. What runs of the others
    lack is named in `missing` all the same."""

    samples: tuple[ScoreSample, ...]
    factors: tuple[str, ...]
    """that make the conditions: those that have several values"""
    left_out: tuple[str, ...]
    """conditions that not every group has runs of: `size=4, delay=0ms`"""
    copied: tuple[str, ...]
    """those of the factors of which one value counts, since they change no figure"""
    runs: tuple[int, ...]
    """of each group in all its conditions, with a figure"""

    @property
    def conditions(self) -> int:
        """Number of combinations of the other factors over which groups are compared."""
        return len(self.samples[0].tasks)

    @property
    def text(self) -> str:
        """`over 2 combinations of size, delay; left out: size=4, delay=0ms (only one group has runs)`; empty without factors."""
        if not self.factors:
            return ""
        words = f"over {self.conditions} combination{'' if self.conditions == 1 else 's'} of {', '.join(self.factors)}"
        if self.left_out:
            more = f" and {len(self.left_out) - _NAMED} more" if len(self.left_out) > _NAMED else ""
            why = "no run has a figure" if len(self.samples) == 1 else "not both groups have runs"
            words += f"; left out: {'; '.join(self.left_out[:_NAMED])}{more} ({why})"
        if self.copied:
            words += f"; one value of {' and '.join(self.copied)} counts, since its runs are copies of each other"
        return words


def balanced(
    table: RunsTable, metric: str, groups: Sequence[Mapping[str, str]], factors: Collection[str], copies: Collection[str] = ()
) -> EqualConditions:
    """The runs of each of the `groups` (values of factors) by the conditions that the other `factors` make.

    `copies`: factors that change no figure (`without_effect`). Of conditions that differ in these alone, the one with the most runs counts.
    """
    several = tuple(name for name in factors if len(table.levels(name)) > 1)
    sides = [_by_condition(table, metric, where, several) for where in groups]
    every = dict.fromkeys(condition for side in sides for condition in side)
    common = [condition for condition in every if all(condition in side and side[condition].n for side in sides)]
    kept: dict[Condition, Condition] = {}
    for condition in common:
        alike = tuple((name, value) for name, value in condition if name not in copies)
        best = kept.setdefault(alike, condition)
        if sum(side[condition].n for side in sides) > sum(side[best].n for side in sides):
            kept[alike] = condition
    samples = tuple(
        ScoreSample(
            {_label(condition): side[condition].strata[0] for condition in kept.values()},
            tuple(reason for sample in side.values() for reason in sample.missing),
        )
        for side in sides
    )
    left_out = tuple(_label(condition) for condition in every if several and condition not in common)
    runs = tuple(sum(sample.n for sample in side.values()) for side in sides)
    return EqualConditions(samples, several, left_out, tuple(name for name in several if name in copies), runs)


def _by_condition(table: RunsTable, metric: str, where: Mapping[str, str], factors: Sequence[str]) -> dict[Condition, ScoreSample]:
    conditions = dict.fromkeys(tuple((name, row.factors[name]) for name in factors) for row in table.runs(where))
    return {condition: table.sample(metric, {**where, **dict(condition)}) for condition in conditions}


def _label(condition: Condition) -> str:
    return ", ".join(f"{name}={value}" for name, value in condition)


def without_effect(table: RunsTable) -> tuple[str, ...]:
    """Factors that change no metric: runs that differ in nothing but this factor have equal metrics and curves, to the last bit, wherever
    two of them have any; and each of its values has been compared so.

    None where every figure is the same in all runs: that shows nothing of a single factor.
    """
    rows = [row for row in table.rows if row.value is not None and not isnan(row.value)]
    if all(len({row.value for row in rows if row.metric == metric}) < 2 for metric in {row.metric for row in rows}):
        return ()
    names = dict.fromkeys(name for row in table.rows for name in row.factors)
    return tuple(name for name in names if _changes_nothing(name, set(table.levels(name)), rows))


def _changes_nothing(factor: str, values: set[str], rows: Sequence[RunRow]) -> bool:
    twins: dict[object, list[RunRow]] = {}
    for row in rows:
        rest = tuple(sorted((name, value) for name, value in row.factors.items() if name != factor))
        twins.setdefault((rest, row.seed, row.metric), []).append(row)
    compared = [found for found in twins.values() if len(found) > 1]
    if len(values) < 2 or {row.factors.get(factor) for found in compared for row in found} != values:
        return False
    return all(_same(found[0], row) for found in compared for row in found[1:])


def _same(one: RunRow, other: RunRow) -> bool:
    if one.value != other.value or one.curve is None or other.curve is None:
        return one.value == other.value and one.curve is other.curve
    same_steps = np.array_equal(one.curve.steps, other.curve.steps)
    return same_steps and np.array_equal(one.curve.values, other.curve.values)
