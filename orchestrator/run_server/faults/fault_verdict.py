"""The verdict of a run: whether what `faults.expect` asks for has come true, and how to see it again.

`verdict.json`: {"passed", "expectations": [{metric, op, value, measured, passed}], "repeat", "seed", "fault_seed", "config_digest",
"code_version", "versions", "by_hand", "figures"}. `by_hand`: faults that were asked for while the run went on, as `faults.events` has them,
which the command that repeats the run does not do. An expectation whose figure was not measured has failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.results.comparison_operators import OPERATORS
from protocols.faults.settings import FaultExpectation
from protocols.runtime.suggestions import nearest


@dataclass(frozen=True)
class JudgedExpectation:
    """One expectation against what was measured; None: nothing was."""

    metric: str
    op: str
    value: float
    measured: float | None
    passed: bool
    hint: str = ""

    def text(self) -> str:
        """`recovery_time.max < 20: measured 31.2, failed`."""
        measured = "not measured" if self.measured is None else f"measured {self.measured:g}"
        return f"{self.metric} {self.op} {self.value:g}: {measured}, {'passed' if self.passed else 'failed'}{self.hint}"


def judge(expectations: Sequence[FaultExpectation], figures: Mapping[str, float]) -> list[JudgedExpectation]:
    """Every expectation, in order."""
    judged = []
    for expected in expectations:
        measured = figures.get(expected.metric)
        passed = measured is not None and OPERATORS[expected.op](measured, expected.value)
        hint = ""
        if measured is None and (near := nearest(expected.metric, figures)):
            hint = f" (measured is {near})"
        judged.append(JudgedExpectation(expected.metric, expected.op, expected.value, measured, passed, hint))
    return judged


def verdict(judged: Sequence[JudgedExpectation], figures: Mapping[str, float], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of `verdict.json`; `facts`: seeds, digest, versions, and the command that repeats the run."""
    expectations = [{**asdict(one), "measured": _json(one.measured)} for one in judged]
    return {
        "passed": all(one.passed for one in judged),
        "expectations": expectations,
        **facts,
        "figures": {name: _json(value) for name, value in sorted(figures.items())},
    }


def _json(value: float | None) -> float | str | None:
    """JSON has no infinity: an event that never came is `never`."""
    return "never" if value is not None and math.isinf(value) else value
