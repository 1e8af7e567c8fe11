"""Expectations against tables of known numbers."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest

from orchestrator.experiments.design.experiment_design import ExperimentDesign
from orchestrator.experiments.results.experiment_verdicts import ExpectationVerdict, judge
from orchestrator.results.statistics.runs_table import RunRow, RunsTable


def verdict(values: dict[str, list[float | None]], measure: dict[str, Any] | None = None, **expected: Any) -> ExpectationVerdict:
    """Values by delay; None: the run has failed."""
    table = RunsTable.of(
        RunRow({"delay": delay}, seed, "return", value, failure="" if value is not None else "it crashed")
        for delay, runs in values.items()
        for seed, value in enumerate(runs)
    )
    design = ExperimentDesign.model_validate(
        {
            "version": 1, "name": "x", "base": "y", "measure": [{"metric": "return", **(measure or {})}],
            "expect": [{"metric": "return", "op": ">=", "value": 0.95, **expected}],
        }
    )  # fmt: skip
    (found,) = judge(design, table)
    return found


FEW: dict[str, list[float | None]] = {"0ms": [1.0, 3.0, 5.0, 7.0], "50ms": [2.0, 4.0, 4.0, 50.0]}
MANY: dict[str, list[float | None]] = {"0ms": [float(n) for n in range(20)], "50ms": [float(n) + 100 for n in range(20)]}


@pytest.mark.parametrize(
    ("expected", "measured"),
    [
        ({"statistic": "mean", "where": {"delay": "50ms"}}, 15.0),
        ({"statistic": "median", "where": {"delay": "50ms"}}, 4.0),
        ({"statistic": "iqm", "where": {"delay": "50ms"}}, 4.0),
        ({"statistic": "mean", "where": {"delay": "50ms"}, "relative_to": {"delay": "0ms"}}, 3.75),
        ({"statistic": "mean", "where": {"delay": "50ms"}, "relative_to": {"delay": "0ms"}, "by": "difference"}, 11.0),
        # Of 16 pairs 50ms is ahead in 4 (50) + 1 (2) + 2 + 2 (4, 4).
        ({"statistic": "probability_of_improvement", "where": {"delay": "50ms"}, "relative_to": {"delay": "0ms"}}, 9 / 16),
        ({"statistic": "mean"}, 9.5),
    ],
)
def test_statistics_by_hand(expected: dict[str, Any], measured: float) -> None:
    for op, holds in (("==", True), (">=", True), (">", False), ("!=", False), ("<", False), ("<=", True)):
        found = verdict(FEW, value=measured, op=op, **expected)
        assert found.measured == pytest.approx(measured) and found.holds is holds


def test_less_is_better_turns_the_probability_of_improvement_round() -> None:
    groups = {"where": {"delay": "50ms"}, "relative_to": {"delay": "0ms"}, "statistic": "probability_of_improvement"}
    assert verdict(FEW, {"higher": "worse"}, **groups).measured == pytest.approx(7 / 16)


def test_ends_of_intervals() -> None:
    lower, upper = (verdict(MANY, where={"delay": "0ms"}, statistic=end) for end in ("lower", "upper"))
    assert lower.group.interval == (lower.measured, upper.measured)
    assert lower.measured is not None and upper.measured is not None and lower.measured < 9.5 < upper.measured
    few = verdict(FEW, where={"delay": "0ms"}, statistic="lower")
    assert few.holds is None and "too few for an interval" in few.text


def test_failed_runs_are_counted_and_named() -> None:
    found = verdict({"0ms": [1.0, None, 3.0]}, statistic="mean")
    assert found.measured == 2.0 and "n=2 of 3" in found.text
    assert found.record()["group"]["missing"] == ["delay=0ms seed 1: it crashed"]


def test_what_cannot_be_judged() -> None:
    none = verdict({"0ms": [None, None], "50ms": [1.0, 1.0]}, where={"delay": "50ms"}, relative_to={"delay": "0ms"})
    assert none.holds is None and none.measured is None and "no run of the group it is held against has a figure" in none.text
    zero = verdict({"0ms": [0.0, 0.0], "50ms": [1.0, 1.0]}, where={"delay": "50ms"}, relative_to={"delay": "0ms"})
    assert zero.holds is None and "by: difference" in zero.text


NEVER = {"0ms": [1.0, 2.0, 3.0, 4.0, 5.0], "50ms": [1.0, 2.0, inf, 3.0, 4.0], "500ms": [1.0, inf, inf, inf, inf]}


@pytest.mark.parametrize(
    ("expected", "measured", "holds"),
    [
        ({"statistic": "mean", "where": {"delay": "50ms"}}, inf, False),
        ({"statistic": "median", "where": {"delay": "50ms"}}, 3.0, True),
        ({"statistic": "iqm", "where": {"delay": "50ms"}}, 3.0, True),  # of 2, 3, 4
        ({"statistic": "iqm", "where": {"delay": "500ms"}}, inf, False),
        ({"statistic": "upper", "where": {"delay": "50ms"}}, inf, False),
        ({"statistic": "iqm", "where": {"delay": "500ms"}, "relative_to": {"delay": "0ms"}}, inf, False),
        ({"statistic": "mean", "where": {"delay": "500ms"}, "relative_to": {"delay": "50ms"}}, None, None),
        # 50ms is ahead in 10 of 25 pairs, and even in 4.
        ({"statistic": "probability_of_improvement", "where": {"delay": "50ms"}, "relative_to": {"delay": "0ms"}}, 12 / 25, True),
        ({"statistic": "probability_of_improvement", "where": {"delay": "500ms"}, "relative_to": {"delay": "50ms"}}, 6.5 / 25, True),
    ],
)
def test_what_never_came_about_took_infinitely_long(expected: dict[str, Any], measured: float | None, holds: bool | None) -> None:
    found = verdict(NEVER, {"higher": "worse"}, op="<=", value=10.0, **expected)  # type: ignore[arg-type]
    assert (found.measured, found.holds) == (None if measured is None else pytest.approx(measured), holds)
    if measured is not None:
        assert "of the runs: never)" in found.text and "inf n" not in found.text
    json.dumps(found.record(), allow_nan=False)


@pytest.mark.parametrize(("values", "baseline"), [([-10.0, -10.0], "-10"), ([0.0, 0.0], "0")])
@pytest.mark.parametrize("statistic", ["iqm", "lower", "upper"])
def test_a_ratio_to_what_is_not_positive_is_no_verdict(values: list[float | None], baseline: str, statistic: str) -> None:
    groups = {"where": {"delay": "50ms"}, "relative_to": {"delay": "0ms"}}
    runs: dict[str, list[float | None]] = {"0ms": values * 3, "50ms": [-20.0] * 6}
    found = verdict(runs, statistic=statistic, **groups)
    assert (found.holds, found.measured) == (None, None)
    assert f"a ratio to {baseline}, which is not positive, has no meaning; write by: difference" in found.text
    assert verdict(runs, by="difference", value=-5.0, statistic=statistic, **groups).holds is False
    assert verdict(runs, statistic="probability_of_improvement", **groups).measured == 0.0


def over_sizes(values: dict[tuple[str, str], list[float | None]], **expected: Any) -> ExpectationVerdict:
    """Values by loss and size; half the loss against none."""
    table = RunsTable.of(
        RunRow({"loss": loss, "size": size}, seed, "rounds", value, failure="" if value is not None else "it crashed")
        for (loss, size), runs in values.items()
        for seed, value in enumerate(runs)
    )
    groups = {"where": {"loss": "half"}, "relative_to": {"loss": "none"}}
    design = ExperimentDesign.model_validate(
        {
            "version": 1, "name": "x", "base": "y", "measure": [{"metric": "rounds", "higher": "worse"}],
            "expect": [{"metric": "rounds", "op": ">", "value": 1.0, **groups, **expected}],
        }
    )  # fmt: skip
    (found,) = judge(design, table)
    return found


def test_groups_are_compared_over_what_both_have() -> None:
    found = over_sizes({("none", "4"): [13.0, 13.0], ("none", "8"): [60.0, 60.0], ("half", "8"): [60.0, 60.0]})
    assert (found.measured, found.holds) == (1.0, False), "4 is among one group alone"
    assert found.text.endswith("measured 1 n=4 over 1 combination of size; left out: size=4 (not both groups have runs)")
    assert found.record()["left_out"] == ["size=4"] and found.record()["conditions"] == 1
    nothing = over_sizes({("none", "4"): [13.0, 13.0], ("half", "8"): [60.0, 60.0]})
    assert (nothing.measured, nothing.holds) == (None, None)
    assert nothing.text.endswith("there is no combination of size of which both groups have runs")


def test_combinations_count_equally_however_many_of_their_runs_failed() -> None:
    values: dict[tuple[str, str], list[float | None]] = {
        ("none", "4"): [10.0] * 5,
        ("none", "8"): [100.0] * 5,
        ("half", "4"): [20.0, None, None, None, None],
        ("half", "8"): [200.0] * 5,
    }
    for statistic in ("iqm", "mean", "median"):
        found = over_sizes(values, statistic=statistic)
        assert found.measured == 2.0, "the mean over both sizes, 110, against 55"
        assert (found.group.value, found.group.failed) == (110.0, 4)
    assert over_sizes(values, by="difference").measured == 55.0


def test_improvement_is_that_within_combinations() -> None:
    values: dict[tuple[str, str], list[float | None]] = {
        ("none", "4"): [1.0, 3.0],
        ("none", "8"): [11.0, 13.0],
        ("half", "4"): [2.0, 4.0],
        ("half", "8"): [12.0, 14.0],
    }
    found = over_sizes(values, statistic="probability_of_improvement")
    assert found.measured == 0.25, "of all runs together it would be 0.375"
    assert "measured 0.25 n=8 over 2 combinations of size" in found.text, "combinations are no points"


def test_intervals_take_enough_runs_in_each_combination() -> None:
    def judged(runs: int, **expected: Any) -> ExpectationVerdict:
        sizes = range(4, 9)
        return over_sizes(
            {(loss, str(size)): [float(size + seed) for seed in range(runs)] for loss in ("none", "half") for size in sizes}, **expected
        )

    few, enough = judged(2), judged(5)
    assert few.group.n == 10 and few.group.interval is None and few.compared is not None and few.compared.interval is None
    assert enough.group.interval is not None and enough.compared is not None and enough.compared.interval is not None
    lower = judged(2, statistic="lower", relative_to=None)
    assert lower.holds is None and "which takes 5 of each group in each combination" in lower.text


def test_copies_of_runs_make_no_interval_narrower() -> None:
    alone = over_sizes({("half", "4"): [1.0, 2.0, 4.0, 7.0, 11.0]}, statistic="lower", relative_to=None)
    copied = over_sizes({("half", size): [1.0, 2.0, 4.0, 7.0, 11.0] for size in ("4", "8", "16")}, statistic="lower", relative_to=None)
    assert alone.measured == copied.measured and alone.group.n == copied.group.n == 5
    assert "over 1 combination of size; one value of size counts, since its runs are copies of each other" in copied.text


def test_in_words() -> None:
    found = verdict(FEW, where={"delay": "50ms"}, relative_to={"delay": "0ms"}, statistic="mean")
    assert found.text == "holds: return mean where delay=50ms relative to that where delay=0ms >= 0.95: measured 3.75 n=8"
