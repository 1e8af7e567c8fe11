"""Groups over equal conditions, and factors that change nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from orchestrator.results.statistics.equal_conditions import balanced, without_effect
from orchestrator.results.statistics.runs_table import Curve, RunRow, RunsTable


def table(useless: float = 0.0) -> RunsTable:
    """Loss by size by a third factor, of which each figure has `useless` times its value."""
    return RunsTable.of(
        RunRow({"loss": loss, "size": size, "horizon": horizon}, seed, "rounds", len(loss) + 10 * int(size) + seed + useless * int(horizon))
        for loss, size, horizon, seed in product(("none", "half lost"), ("4", "8"), ("20", "30"), range(2))
    )


LOSSES = ({"loss": "half lost"}, {"loss": "none"})


def test_a_task_for_each_condition_that_both_have() -> None:
    rows = table(0.1).rows
    whole = balanced(RunsTable.of(rows), "rounds", LOSSES, ("size", "horizon"))
    assert [list(sample.tasks) for sample in whole.samples] == [
        ["size=4, horizon=20", "size=4, horizon=30", "size=8, horizon=20", "size=8, horizon=30"]
    ] * 2
    assert whole.samples[1].tasks["size=8, horizon=30"].tolist() == [87.0, 88.0] and whole.left_out == ()
    failed = {("half lost", "4", "20"), ("none", "8", "30")}
    some = RunsTable.of(replace(row, value=None) if tuple(row.factors.values()) in failed else row for row in rows)
    found = balanced(some, "rounds", LOSSES, ("size", "horizon"))
    assert list(found.samples[0].tasks) == list(found.samples[1].tasks) == ["size=4, horizon=30", "size=8, horizon=20"]
    assert found.left_out == ("size=4, horizon=20", "size=8, horizon=30") and found.runs == (6, 6)
    assert [len(sample.missing) for sample in found.samples] == [2, 2], "failed runs are named all the same"
    assert found.text.startswith("over 2 combinations of size, horizon; left out: size=4, horizon=20; size=8, horizon=30 (not both")


def test_of_copies_the_value_with_the_most_runs_counts() -> None:
    rows = [replace(row, value=None) if row.factors["horizon"] == "20" and row.seed else row for row in table().rows]
    found = balanced(RunsTable.of(rows), "rounds", LOSSES, ("size", "horizon"), ("horizon",))
    assert list(found.samples[0].tasks) == ["size=4, horizon=30", "size=8, horizon=30"] and found.samples[0].n == 4
    assert found.copied == ("horizon",)


def test_factors_that_change_no_figure() -> None:
    assert without_effect(table()) == ("horizon",)
    assert without_effect(table(1e-12)) == (), "however little"
    curves = [replace(row, curve=Curve(np.array([0.0, 1.0]), np.array([float(row.factors["horizon"]), 1.0]))) for row in table().rows]
    assert without_effect(RunsTable.of(curves)) == (), "curves are measures, too"
    other = [replace(row, metric="seconds", value=float(row.factors["horizon"])) for row in table().rows]
    assert without_effect(RunsTable.of([*table().rows, *other])) == (), "every figure counts"


def test_where_nothing_is_compared_nothing_is_said() -> None:
    rows = table().rows
    assert without_effect(RunsTable.of(replace(row, value=1.0) for row in rows)) == (), "no factor changes anything, nor does a seed"
    assert without_effect(RunsTable.of(row for row in rows if row.factors["horizon"] == "20")) == ()
    to_come = [row if row.factors["horizon"] == "20" else replace(row, value=None, to_come=True) for row in rows]
    assert without_effect(RunsTable.of(to_come)) == ()
    third = RunRow({"loss": "none", "size": "16", "horizon": "40"}, 0, "rounds", 3.0)
    assert without_effect(RunsTable.of([*rows, third])) == (), "40 has been compared with nothing"
